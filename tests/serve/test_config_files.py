"""The configuration files of TensorFlow Serving."""

import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve.config_files import (
    DEFAULT_METRICS_PATH,
    Batching,
    VersionPolicy,
    read_batching,
    read_models,
    read_monitoring,
)


@pytest.fixture
def file(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "some.config"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def config(folder, more: str = "", platform: str = "tensorflow", name: str = "xgacmn") -> str:
    return f"config {{ name: '{name}' base_path: '{folder}' model_platform: '{platform}' {more} }}"


def test_models(file, tmp_path):
    models = read_models(
        file(
            "model_config_list {"
            + config(tmp_path)
            + config(
                tmp_path,
                "model_version_policy { specific { versions: 3 versions: 5 } }"
                "version_labels { key: 'stable' value: 3 }"
                "version_labels { key: 'canary' value: 5 }",
                name="two",
            )
            + config(tmp_path, "model_version_policy { all {} }", name="three")
            + config(tmp_path, "model_version_policy { latest { num_versions: 2 } }", name="four")
            + "}"
        )
    )
    assert list(models) == ["xgacmn", "two", "three", "four"]
    assert models["xgacmn"].base_path == tmp_path
    assert models["two"].labels == {"stable": 3, "canary": 5}
    assert {name: model.policy for name, model in models.items()} == {
        "xgacmn": VersionPolicy(latest=1),
        "two": VersionPolicy(specific=frozenset({3, 5})),
        "three": VersionPolicy(latest=None),
        "four": VersionPolicy(latest=2),
    }


def test_policies_choose():
    found = {1, 2, 10}
    assert VersionPolicy().choose(found) == {10}
    assert VersionPolicy(latest=2).choose(found) == {2, 10}
    assert VersionPolicy(latest=9).choose(found) == found
    assert VersionPolicy(latest=None).choose(found) == found
    assert VersionPolicy(specific=frozenset({2, 3})).choose(found) == {2}
    assert VersionPolicy().choose(set()) == set()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected a model_config_list"),
        ("model_config_list {}", "no models"),
        ("custom_model_config {}", "expected a model_config_list"),
        ("model_config_list { config { nam: 'a' } }", 'no field named "nam"'),
        ("model_config_list { " + config("FOLDER") * 2 + "}", "'xgacmn' is listed twice"),
        ("model_config_list { " + config("FOLDER", platform="") + "}", "expected 'tensorflow'"),
        ("model_config_list { " + config("FOLDER", name="a/b") + "}", "model name 'a/b'"),
        ("model_config_list { " + config("") + "}", "'' is not a folder"),
        ("model_config_list { " + config("FOLDER/none") + "}", "none' is not a folder"),
        (
            "model_config_list { " + config("FOLDER", "model_version_policy { specific {} }") + "}",
            "lists no versions",
        ),
        (b"\xff", "not a ModelServerConfig"),
        ("#" * 2**21, "is larger than 1,048,576 bytes"),
    ],
)
def test_models_that_cannot_be_served(file, tmp_path, text, message):
    text = text.replace("FOLDER", str(tmp_path)) if isinstance(text, str) else text
    with pytest.raises(InputError, match="some.config") as caught:
        read_models(file(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_batching(file):
    assert read_batching(file("")) == Batching()
    text = """
        max_batch_size { value: 64 }
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 32 }
        batch_timeout_micros { value: 2500 }
        max_enqueued_batches { value: 7 }
        num_batch_threads { value: 3 }
        thread_pool_name { value: 'pool' }
        allowed_batch_sizes: 8 allowed_batch_sizes: 32
        pad_variable_length_inputs: false
    """
    assert read_batching(file(text)) == Batching(
        max_batch_size=64,
        max_execution_batch_size=32,
        batch_timeout=0.0025,
        max_enqueued_batches=7,
        num_batch_threads=3,
        allowed_batch_sizes=(8, 32),
    )
    unsplit = read_batching(file("max_execution_batch_size { value: 2 }"))
    assert unsplit == Batching() and unsplit.full == 1000


@pytest.mark.parametrize(
    "text, message",
    [
        ("max_batch_size: 32", "not a BatchingParameters"),
        ("max_batch_rows { value: 32 }", 'no field named "max_batch_rows"'),
        ("max_batch_size { value: 0 }", "max_batch_size is 0; expected at least 1"),
        ("num_batch_threads { value: -1 }", "num_batch_threads is -1; expected at least 1"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches is 0; expected at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is negative"),
        ("allowed_batch_sizes: [4, 2]", "[4, 2]; TensorFlow Serving expects ascending"),
        ("allowed_batch_sizes: [0, 1000]", "[0, 1000]; TensorFlow Serving expects ascending"),
        ("allowed_batch_sizes: [2, 4]", "end with the largest batch, 1000"),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 2000 }",
            "max_execution_batch_size is 2000; expected at most max_batch_size, 1000",
        ),
        ("pad_variable_length_inputs: true", "this server does not pad"),
    ],
)
def test_batching_that_cannot_be(file, text, message):
    with pytest.raises(InputError) as caught:
        read_batching(file(text))
    assert message in str(caught.value)
    assert "some.config" in str(caught.value) and "\n" not in str(caught.value)


def test_monitoring(file):
    assert read_monitoring(file("prometheus_config { enable: true }")) == DEFAULT_METRICS_PATH
    assert (
        read_monitoring(file("prometheus_config { path: '/metrics' enable: true }")) == "/metrics"
    )
    assert read_monitoring(file("prometheus_config { path: '/metrics' }")) is None
    assert read_monitoring(file("")) is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("prometheus_config { enabled: true }", 'no field named "enabled"'),
        ("prometheus_config { enable: true path: 'metrics' }", "path 'metrics'"),
        ("prometheus_config { enable: true path: '/v1/models/metrics' }", "not below /v1/"),
        ("prometheus_config { enable: true path: '/{name}' }", "path '/{name}'"),
    ],
)
def test_monitoring_that_cannot_be(file, text, message):
    with pytest.raises(InputError) as caught:
        read_monitoring(file(text))
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    for read in (read_models, read_batching, read_monitoring):
        with pytest.raises(InputError, match="none.config cannot be read: No such file"):
            read(tmp_path / "none.config")
