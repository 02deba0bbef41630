"""Warm-up requests that travel with a version."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve.servable import Servable


@pytest.fixture
def with_warmup(publish, base_path):
    """Publishes version 1 with these warm-up requests, (signature, inputs)."""

    def with_warmup(*requests):
        publish(1)
        extra = base_path / "1" / "assets.extra"
        extra.mkdir()
        with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as records:
            for signature, inputs in requests:
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                for name, value in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                records.write(log.SerializeToString())
        return base_path / "1"

    return with_warmup


def test_they_are_replayed_before_the_version_answers(with_warmup, gate):
    gate.open()
    x = np.ones((2, 3), np.float32)
    folder = with_warmup(("", {"x": x}), ("shout", {"text": [b"a"]}))
    servable = Servable("toy", folder)
    assert gate.rows == [(2,), (1,)]
    np.testing.assert_array_equal(servable.run("serving_default", {"x": x})["y"], 2 * x + 1)


@pytest.mark.parametrize(
    "request_, message",
    [
        (("decode", {"text": [b"a"]}), "decode"),
        (("measure", {"image_bytes": [b"no picture"]}), "PNG"),
        (("", {}), "serving_default|argument"),
    ],
)
def test_a_version_whose_warmup_fails_is_not_served(with_warmup, request_, message):
    with pytest.raises(InputError, match=f"tf_serving_warmup_requests: .*({message})"):
        Servable("toy", with_warmup(request_))


def test_a_broken_record(with_warmup):
    folder = with_warmup(("shout", {"text": [b"a"]}))
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="tf_serving_warmup_requests: "):
        Servable("toy", folder)


def test_signatures_are_described(toy_versions):
    signatures = Servable("toy", toy_versions / "1").signatures
    assert {name for name, each in signatures.items() if not each.is_batched} == {"negate"}
    assert str(signatures["wide"].inputs["x"]) == "float32 (n, n)"
    assert signatures["shout"].outputs == ("length", "upper")
    assert signatures["shout"].inputs["text"].is_text
    assert not signatures["measure"].inputs["image_bytes"].is_text
