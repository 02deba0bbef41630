"""export/serving/: files that TensorFlow Serving and Docker Compose accept, and what they say."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from xgacmn_tf.serve import config_files

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
SERVING = REPOSITORY / "export" / "serving"
sys.path += [str(HERE.parent / "serve"), str(REPOSITORY / "export")]
client, running = map(importlib.import_module, ("client", "running"))


@pytest.fixture(scope="module")
def compose():
    yaml = pytest.importorskip("yaml", reason="reads compose.yaml")
    return yaml.safe_load((SERVING / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def serving(compose):
    return compose["services"]["serving"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of models with version 1 of a very small one."""
    module = tf.Module()
    module.double = tf.function(
        lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None, 1], tf.float32, "x")]
    )
    base = tmp_path_factory.mktemp("models")
    signatures = {"serving_default": module.double.get_concrete_function()}
    tf.saved_model.save(module, str(base / "xgacmn" / "1"), signatures)
    return base


def test_models_config_by_the_official_message():
    config = text_format.Parse(
        (SERVING / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("xgacmn", "/models/xgacmn")
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.WhichOneof("policy_choice") == "all"
    # Of the first start, when there is one version only, both labels must be answered.
    assert dict(model.version_labels) == {"stable": 1, "canary": 1}


def test_batching_config():
    batching = config_files.read_batching(SERVING / "batching.config")
    # The benchmark's and the load generator's largest batches must fit.
    assert batching.max_batch_size == 64 and batching.allowed_batch_sizes == ()
    assert 0 < batching.batch_timeout <= 0.002, "requests take milliseconds"
    assert batching.max_enqueued_batches == 16


def test_monitoring_config_and_prometheus_name_one_page(compose):
    yaml = pytest.importorskip("yaml")
    page = config_files.read_monitoring(SERVING / "monitoring.config")
    (job,) = yaml.safe_load((SERVING / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == page == "/monitoring/prometheus/metrics"
    assert job["static_configs"] == [{"targets": ["serving:8501"]}]
    assert "serving" in compose["services"], "the target's host"


def test_only_this_host_reaches_the_ports(compose):
    for name, service in compose["services"].items():
        for port in service["ports"]:
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), (name, port)


def test_images_are_pinned(compose):
    for service in compose["services"].values():
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    # An older server may not read what a newer TensorFlow writes.
    release = compose["services"]["serving"]["image"].partition(":")[2]
    bounds = (REPOSITORY / "setup.cfg").read_text()
    assert f"tensorflow >={release.rpartition('.')[0]}," in bounds


def test_the_server_can_change_nothing(serving):
    assert serving["volumes"] and all(volume.endswith(":ro") for volume in serving["volumes"])
    assert "no-new-privileges:true" in serving["security_opt"]


def test_resources_are_limited(compose, serving):
    assert all("mem_limit" in service for service in compose["services"].values())
    threads = config_files.read_batching(SERVING / "batching.config").num_batch_threads
    assert serving["cpus"] == threads
    assert f"--tensorflow_intra_op_parallelism={threads}" in serving["command"]


@pytest.fixture(scope="module")
def started(serving, models, tmp_path_factory):
    """The development server with the flags of compose.yaml and the files that they name."""
    config = tmp_path_factory.mktemp("config")
    for file in SERVING.glob("*.config"):
        (config / file.name).write_text(file.read_text().replace("/models/", f"{models}/"))
    flags = [flag.replace("=/config/", f"={config}/") for flag in serving["command"]]
    # Sizes of thread pools are the one thing that the development server leaves to TensorFlow.
    flags.append("--undefok=tensorflow_intra_op_parallelism,tensorflow_inter_op_parallelism")
    with running.running_server(*flags) as server:
        yield server, config


def test_a_server_starts_with_them(started):
    server, _ = started
    with client.GrpcClient(server.grpc_address) as served:
        assert [v.version for v in served.status() if v.state == "AVAILABLE"] == [1]
        for label in (None, "stable", "canary"):
            answer = served.predict({"x": [[3.0]]}, label=label)
            np.testing.assert_array_equal(answer["y"], [[6]])


def test_its_metrics_are_where_prometheus_looks(started):
    import urllib3

    server, _ = started
    page = urllib3.request("GET", f"{server.rest_url}/monitoring/prometheus/metrics")
    assert page.status == 200 and b"# TYPE " in page.data


def test_healthcheck(serving, started):
    server, _ = started
    how, *check = serving["healthcheck"]["test"]
    assert how == "CMD"

    def healthy(port):
        command = [part.replace("/127.0.0.1/8501", f"/127.0.0.1/{port}") for part in check]
        assert command != check
        return subprocess.run(command, capture_output=True).returncode == 0

    port = server.rest_url.rpartition(":")[2]
    assert healthy(port)
    assert not healthy(1)
    check = [part.replace("models/xgacmn", "models/other") for part in check]
    assert not healthy(port), "another model's absence is not health"
