"""export/client.py writes and reads what the official classes do, without loading TensorFlow."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

EXPORT = Path(__file__).parents[2] / "export"
sys.path.append(str(EXPORT))
client = importlib.import_module("client")

MESSAGES = client.api_messages()
OFFICIAL = [
    predict_pb2.PredictRequest,
    predict_pb2.PredictResponse,
    get_model_status_pb2.GetModelStatusRequest,
    get_model_status_pb2.GetModelStatusResponse,
    get_model_metadata_pb2.GetModelMetadataRequest,
    get_model_metadata_pb2.GetModelMetadataResponse,
    get_model_metadata_pb2.SignatureDefMap,
    model_management_pb2.ReloadConfigRequest,
    model_management_pb2.ReloadConfigResponse,
]
ARRAYS = [
    np.array([[1.5, -0.0], [np.nan, np.inf]], np.float32),
    np.array([np.pi, 1e-300]),
    np.array([[-(2**31)], [2**31 - 1]], np.int32),
    np.array([0, 255], np.uint8),
    np.array([-(2**63), 2**63 - 1], np.int64),
    np.array([[True, False]]),
    np.array([[b"a\0", "ä".encode()]], object),
    np.zeros((0, 3), np.float32),
    np.zeros((3, 1), np.float32),
    np.float32(2.5),
]
NAMES = [f"{np.asarray(a).dtype}{np.shape(a)}" for a in ARRAYS]


@pytest.mark.parametrize("official", OFFICIAL, ids=lambda message: message.__name__)
def test_fields_are_the_official_ones(official):
    assert_same(MESSAGES[official.__name__].DESCRIPTOR, official.DESCRIPTOR)


def assert_same(own, official):
    """Number, type and repetition of every field, and so on for the messages inside."""
    enum, int32 = 14, 5
    for field in own.fields:
        other = official.fields_by_name[field.name]
        assert field.number == other.number, field.full_name
        own_type, other_type = field.type, int32 if other.type == enum else other.type
        # A message inside another is sent as its bytes, which is how `config` is declared here.
        assert own_type == other_type or (own_type, other_type) == (12, 11), field.full_name
        assert field.is_repeated == other.is_repeated, field.full_name
        if field.message_type:
            assert_same(field.message_type, other.message_type)


@pytest.mark.parametrize("array", ARRAYS, ids=NAMES)
def test_tensors_that_are_sent(array):
    tensor = MESSAGES["TensorProto"]()
    client.fill_tensor(tensor, np.asarray(array))
    official = tensor_pb2.TensorProto.FromString(tensor.SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(official), array)
    assert official.dtype == tf.make_tensor_proto(array).dtype


@pytest.mark.parametrize("array", ARRAYS, ids=NAMES)
@pytest.mark.parametrize("packed", [True, False], ids=["as bytes", "as values"])
def test_tensors_that_are_received(array, packed):
    official = tf.make_tensor_proto(array)
    if not packed and official.tensor_content:  # as TensorFlow Serving answers
        official.tensor_content = b""
        field = {"float64": "double_val", "float32": "float_val", "bool": "bool_val"}
        field |= {"int32": "int_val", "uint8": "int_val", "int64": "int64_val"}
        getattr(official, field[array.dtype.name]).extend(array.ravel().tolist())
    tensor = MESSAGES["TensorProto"].FromString(official.SerializeToString())
    result = client.read_tensor("some_bytes", tensor)
    np.testing.assert_array_equal(result, array)
    assert result.dtype == np.asarray(array).dtype and result.shape == np.shape(array)


def test_values_that_repeat_are_sent_once():
    tensor = tensor_pb2.TensorProto(dtype=1, float_val=[3.0, 7.0])
    for size in (2, 2):
        tensor.tensor_shape.dim.add(size=size)
    own = MESSAGES["TensorProto"].FromString(tensor.SerializeToString())
    np.testing.assert_array_equal(client.read_tensor("x", own), [[3, 7], [7, 7]])


def test_strings_are_text_unless_their_name_says_bytes():
    proto = tf.make_tensor_proto(["grün".encode()]).SerializeToString()
    tensor = MESSAGES["TensorProto"].FromString(proto)
    assert client.read_tensor("titles", tensor).tolist() == ["grün"]
    assert client.read_tensor("title_bytes", tensor).tolist() == ["grün".encode()]


def test_a_dtype_that_it_does_not_know():
    proto = tf.make_tensor_proto(np.zeros(1, np.complex64)).SerializeToString()
    with pytest.raises(client.ServingError, match="UNIMPLEMENTED: output x has TensorFlow's dtype"):
        client.read_tensor("x", MESSAGES["TensorProto"].FromString(proto))


def rest_inputs(**inputs):
    with client.RestClient("http://localhost:1") as served:
        body = json.loads(served.encode(inputs, "s", client.Target("m", None, None)))
    assert body.keys() == {"signature_name", "inputs"} and body["signature_name"] == "s"
    return body["inputs"]


def test_every_float32_survives_rest():
    bits = np.random.default_rng(0).integers(0, 2**32, 10_000, np.uint32)
    bits[:4] = [0x80000000, 1, 0x7F7FFFFF, 0x7FC00000]  # -0, least, largest, not a number
    values = bits.view(np.float32)
    sent = np.array(rest_inputs(x=values)["x"], np.float32)
    np.testing.assert_array_equal(np.isnan(sent), np.isnan(values))
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(sent.view(np.uint32)[numbers], bits[numbers])


def test_strings_over_rest():
    sent = rest_inputs(text=["grün", b"gr\xc3\xbcn", b"\xff\0"])["text"]
    assert sent == ["grün", "grün", {"b64": "/wA="}]


@pytest.mark.parametrize(
    "values, dtype",
    [
        ([[1.0, 2]], "float32"),
        ([1, 2], "int32"),
        ([True], "bool"),
        (["a"], "object"),
        (np.array(["a"]), "object"),
        (np.ones(1), "float64"),
        ([np.float64(1)], "float32"),
    ],
)
def test_dtypes_of_lists_and_arrays(values, dtype):
    tensor = MESSAGES["TensorProto"]()
    with client.GrpcClient("localhost:1") as served:
        body = served.encode({"x": values}, "s", client.Target("m", None, None))
    tensor = predict_pb2.PredictRequest.FromString(body).inputs["x"]
    assert tf.make_ndarray(tensor).dtype == dtype
    assert tf.make_ndarray(tensor).tolist() == (
        [b"a"] if dtype == "object" else np.asarray(values).tolist()
    )


@pytest.mark.parametrize(
    "values, message",
    [
        ([[1.0], [1.0, 2.0]], "inhomogeneous"),
        ([2**40], "out of bounds for int32"),
        (["a", 1], "expected str or bytes throughout, not int"),
        ([["a"], ["b", "c"]], "expected str or bytes throughout, not list"),
        (["\ud800"], "surrogates not allowed"),
        ([None], "expected str or bytes throughout, not NoneType"),
        (np.zeros(1, np.complex64), "an array of complex64 cannot be sent"),
    ],
)
def test_what_is_no_array(values, message):
    with (
        client.GrpcClient("localhost:1") as served,
        pytest.raises(client.ServingError, match=f"INVALID_ARGUMENT: .*{message}"),
    ):
        served.predict({"x": values})


@pytest.mark.parametrize(
    "imported", ["client.GrpcClient('localhost:1')", "client.RestClient('http://localhost:1')"]
)
def test_tensorflow_is_not_loaded(imported):
    other = "grpc" if "Rest" in imported else "urllib3"
    code = f"import sys, client; {imported}; print({{'tensorflow', '{other}'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=EXPORT, capture_output=True, text=True)
    assert run.stdout == "set()\n", run.stderr
