"""Warm-up requests, which a server sends to a model before it serves clients.

TensorFlow Serving replays `assets.extra/tf_serving_warmup_requests`, a TFRecord of `PredictionLog`,
and does not load a model whose warm-up fails.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from xgacmn_tf.gallery import Gallery

FILE_NAME = "tf_serving_warmup_requests"
BATCHES = (1, 8)


def write_warmup_requests(
    folder: Path, name: str, signatures: Mapping[str, Any], gallery: Gallery
) -> None:
    """Write one request of each batch size for every signature.

    Args:
      folder: `assets.extra/` of the version.
      name: what clients call the model.
      signatures: the model's signatures, concrete functions of one input.
      gallery: gives the texts.
    """
    with tf.io.TFRecordWriter(str(folder / FILE_NAME)) as records:
        for signature, function in signatures.items():
            for batch in BATCHES:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                (spec,) = function.structured_input_signature[0]
                value = _example(spec, batch, str(gallery.title[0]))
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(value, spec.dtype))
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                records.write(log.SerializeToString())


def _example(spec: tf.TensorSpec, batch: int, text: str) -> Any:
    if spec.name == "image_bytes":
        white = tf.fill([64, 64, 3], tf.constant(255, tf.uint8))
        return [tf.io.encode_jpeg(white).numpy()] * batch
    if spec.dtype == tf.string:
        return [text.encode()] * batch
    return np.zeros((batch, *spec.shape[1:]), np.float32)
