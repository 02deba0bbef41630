"""What clients of gRPC get, errors as TensorFlow Serving's."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    regression_pb2,
)

Code = grpc.StatusCode
ROW = np.array([[1, 2, 3]], np.float32)


def refused(toy, request, timeout=60) -> tuple[Code, str]:
    with pytest.raises(grpc.RpcError) as caught:
        toy.predict(request, timeout)
    return caught.value.code(), caught.value.details()


def test_predict(toy):
    answer = toy.prediction.Predict(toy.request(x=ROW))
    assert list(answer.outputs) == ["y"]
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), [[5, 7, 9]])
    assert answer.outputs["y"].dtype == tf.float32.as_datatype_enum
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 3, "serving_default")


def test_a_version_by_number_and_by_label(toy):
    request = toy.request(x=ROW)
    request.model_spec.version.value = 1
    assert toy.predict(request)["y"][0, 0] == 3
    request.model_spec.version_label = "stable"
    answer = toy.prediction.Predict(request)
    assert tf.make_ndarray(answer.outputs["y"])[0, 0] == 4
    assert answer.model_spec.version.value == 2


def test_several_inputs_and_outputs_of_all_kinds(toy):
    picked = toy.predict(
        toy.request("pick", either=np.array([1, 2], np.int32), choose=[True, False])
    )
    assert picked["picked"].tolist() == [1, -2]
    shouted = toy.predict(toy.request("shout", text=["Zoë", ""]))
    assert shouted["upper"].tolist() == ["ZOë".encode(), b""]
    assert shouted["length"].tolist() == [4, 0]


def test_a_signature_without_rows(toy):
    number = np.array(2.5)
    assert toy.predict(toy.request("negate", number=number))["negative"] == -2.5


def test_a_request_as_large_as_allowed(toy):
    wide = np.ones((1, 2**18 - 1000), np.float32)  # 4 kB are left for the rest of the message
    assert toy.predict(toy.request("wide", x=wide))["y"].shape == wide.shape


def test_only_the_outputs_that_the_filter_names(toy):
    request = toy.request("shout", text=["a"])
    request.output_filter.append("length")
    assert list(toy.predict(request)) == ["length"]
    request.output_filter.append("length")
    assert refused(toy, request)[0] == Code.INVALID_ARGUMENT
    request.output_filter[:] = ["loudness"]
    code, message = refused(toy, request)
    assert code == Code.INVALID_ARGUMENT
    assert "'loudness'" in message and "length, upper" in message


def test_a_repeated_value_is_written_once(toy):
    ones = tf.make_tensor_proto(1.0, tf.float32, [2, 3])
    assert len(ones.float_val) == 1
    np.testing.assert_array_equal(toy.predict(toy.request(x=ones))["y"], np.full((2, 3), 5))


@pytest.mark.parametrize(
    "model, version, label, code, message",
    [
        ("", None, None, Code.INVALID_ARGUMENT, "names no model"),
        ("dog", None, None, Code.NOT_FOUND, "Servable not found for request: Latest(dog)"),
        ("toy", 7, None, Code.NOT_FOUND, "Servable not found for request: Specific(toy, 7)"),
        ("toy", None, "new", Code.INVALID_ARGUMENT, "Unrecognized servable version label: new"),
    ],
)
def test_what_is_not_served(toy, model, version, label, code, message):
    request = toy.request(model=model, x=ROW)
    if version:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    assert refused(toy, request)[0] == code
    assert message in refused(toy, request)[1]


def test_an_unknown_signature(toy):
    code, message = refused(toy, toy.request("decode", x=ROW))
    assert code == Code.FAILED_PRECONDITION
    assert "'decode'" in message and "negate, pick, serving_default" in message


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "'x': float32 (n, 3); given: none"),
        ({"z": ROW}, "'x': float32 (n, 3); given: 'z'"),
        ({"x": ROW, "z": ROW}, "'x': float32 (n, 3); given: 'x', 'z'"),
        ({"x": ROW.astype(np.float64)}, "'x' is float32 (n, 3); given: float64"),
        ({"x": np.array([["1", "2", "3"]])}, "'x' is float32 (n, 3); given: string"),
        ({"x": ROW[0]}, "'x' is float32 (n, 3); given: shape (3,)"),
        ({"x": ROW[:, :2]}, "'x' is float32 (n, 3); given: shape (1, 2)"),
        ({"x": ROW[:0]}, "1 to 64 rows; this one has 0"),
        ({"x": np.zeros((65, 3), np.float32)}, "1 to 64 rows; this one has 65"),
        ({"x": np.array([[0, np.nan, 0]], np.float32)}, "'x' holds NaN, infinity"),
        ({"x": np.array([[0, 0, -np.inf]], np.float32)}, "beyond float32 at [0, 2]"),
    ],
)
def test_inputs_that_the_signature_does_not_take(toy, inputs, message):
    code, given = refused(toy, toy.request(**inputs))
    assert code == Code.INVALID_ARGUMENT
    assert message in given


def test_inputs_of_different_lengths(toy):
    request = toy.request("pick", either=np.array([1, 2], np.int32), choose=[True])
    code, message = refused(toy, request)
    assert code == Code.INVALID_ARGUMENT
    assert "'choose': 1, 'either': 2" in message


def test_a_text_that_is_not_utf8(toy):
    code, message = refused(toy, toy.request("shout", text=[b"fine", b"\xff\xd8"]))
    assert code == Code.INVALID_ARGUMENT
    assert "'text' is a text, but at [1] it is not UTF-8" in message


def test_what_the_model_refuses_is_said_without_its_insides(toy):
    code, message = refused(toy, toy.request("measure", image_bytes=[b"not a picture"]))
    assert code == Code.INVALID_ARGUMENT
    assert "PNG" in message
    assert "node" not in message and "[Op" not in message and "Graph execution" not in message


@pytest.mark.parametrize("shape", [(2**40, 3), (-1, 3), (1, 2**62, 2**62)])
def test_shapes_that_a_tensor_only_declares(toy, shape):
    tensor = tf.make_tensor_proto(1.0, tf.float32, [1, 3])
    tensor.tensor_shape.CopyFrom(tf.compat.v1.TensorShape([]).as_proto())
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    assert refused(toy, toy.request(x=tensor))[0] == Code.INVALID_ARGUMENT
    assert toy.ask(1) == 5


def test_a_tensor_with_other_values_than_its_shape_has(toy):
    tensor = tf.make_tensor_proto(ROW)
    tensor.tensor_content = tensor.tensor_content[:-1]
    code, message = refused(toy, toy.request(x=tensor))
    assert code == Code.INVALID_ARGUMENT
    assert "does not hold the values of its shape [1, 3]" in message


def test_a_message_that_is_too_large(toy):
    code, message = refused(toy, toy.request("shout", text=["a" * 2**20]))
    assert code == Code.RESOURCE_EXHAUSTED
    assert "larger than max" in message


def test_a_message_that_is_broken(toy):
    send = toy.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    for message in (b"\xff", toy.request(x=ROW).SerializeToString()[:-1]):
        with pytest.raises(grpc.RpcError) as caught:
            send(message)
        assert caught.value.code() == Code.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as caught:
        toy.channel.unary_unary("/tensorflow.serving.PredictionService/Train")(b"")
    assert caught.value.code() == Code.UNIMPLEMENTED


def test_the_other_methods_are_not_served(toy):
    stub = toy.prediction
    for method, request in [
        (stub.Classify, classification_pb2.ClassificationRequest()),
        (stub.Regress, regression_pb2.RegressionRequest()),
        (stub.MultiInference, inference_pb2.MultiInferenceRequest()),
    ]:
        with pytest.raises(grpc.RpcError) as caught:
            method(request)
        assert caught.value.code() == Code.UNIMPLEMENTED


def test_metadata_describes_the_signatures(toy):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    request.model_spec.version_label = "stable"
    answer = toy.prediction.GetModelMetadata(request)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("toy", 2)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    x = signatures.signature_def["serving_default"].inputs["x"]
    assert x.dtype == tf.float32.as_datatype_enum
    assert [dim.size for dim in x.tensor_shape.dim] == [-1, 3]


@pytest.mark.parametrize("fields", [[], ["signature_def", "weights"]])
def test_metadata_that_there_is_not(toy, fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "toy"
    with pytest.raises(grpc.RpcError) as caught:
        toy.prediction.GetModelMetadata(request)
    assert caught.value.code() == Code.INVALID_ARGUMENT


def test_status_of_all_versions_and_of_one(toy):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    versions = toy.model.GetModelStatus(request).model_version_status
    assert [(v.version, v.state, v.status.error_code) for v in versions] == [
        (3, available, 0),
        (2, available, 0),
        (1, available, 0),
    ]
    request.model_spec.version.value = 2
    (version,) = toy.model.GetModelStatus(request).model_version_status
    assert version.version == 2
    request.model_spec.version.value = 4
    with pytest.raises(grpc.RpcError) as caught:
        toy.model.GetModelStatus(request)
    assert caught.value.code() == Code.NOT_FOUND
    assert caught.value.details() == "Could not find version 4 of model toy"


def test_a_client_that_does_not_wait(toy, gate):
    assert refused(toy, toy.request(x=ROW), timeout=0.2)[0] == Code.DEADLINE_EXCEEDED
    gate.open()
    assert toy.ask(1) == 5


def test_a_server_that_does_not_wait(publish, start, gate):
    publish(1)
    server = start(timeout=0.2)
    code, message = refused(server, server.request(x=ROW))
    assert code == Code.DEADLINE_EXCEEDED
    assert "0.2 s" in message
    response = server.post("/v1/models/toy:predict", json={"instances": ROW.tolist()})
    assert response.status_code == 504
    assert "0.2 s" in response.json()["error"]
    gate.open()
