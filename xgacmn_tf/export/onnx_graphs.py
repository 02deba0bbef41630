"""A run's two encoders as ONNX graphs, at three precisions.

Each takes features (n, d) float32 and gives what the SavedModel's `encode_image` and `encode_text`
give: `embedding`, with a class layer `posterior`, and with item embeddings `search`, all float32.
Input maps are inside. A row with NaN or infinite features, which the SavedModel rejects, gives NaN.

float32  TensorFlow's own numbers.
float16  the encoder networks hold and compute half precision, as under Keras' "mixed_float16".
         Input maps and class posteriors stay in single precision: features as they come may well
         pass 65,504, where half precision ends. ONNX Runtime widens many of these products on a
         CPU, so that a GPU may round more than what is measured here.
int8     matrix products of bytes; everything between them stays in single precision.

Needs the extra `onnx`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnxruntime import quantization

from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.runs.checkpoint import load_encoder

PRECISIONS = ("float32", "float16", "int8")
# Output of a graph → the similarity that its inner products are.
OUTPUTS = {"embedding": "cosine", "posterior": "posterior", "search": "item"}
# The newest operator set that tf2onnx writes.
OPSET = 18
# Training rows that show int8 how far the values between the layers go.
CALIBRATION_ROWS = 2000
CALIBRATION_BLOCK = 100

Graphs = dict[str, onnx.ModelProto]


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """The converters advise other libraries and faster products that half precision cannot have."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@_without_warnings()
def encoder_graphs(
    checkpoint: str | os.PathLike[str], precision: str, training: Mapping[str, np.ndarray]
) -> Graphs:
    """Return the ONNX models of the encoders by modality.

    Args:
      checkpoint: a run's `best.keras`.
      precision: one of `PRECISIONS`.
      training: {"image": (n, d_v), "text": (n, d_t)} float32 training rows; only int8 reads them.

    Raises:
      InputError: the encoders have an operation that cannot be written as ONNX.
    """
    encoder = load_encoder(checkpoint)
    if precision == "float16":
        networks = (encoder.image_encoder, encoder.text_encoder)
        items = (encoder.image_items, encoder.text_items) if encoder.has_items else ()
        for network in (*networks, *items):
            for layer in network._flatten_layers():
                layer.dtype_policy = "mixed_float16"
    graphs = {modality: _convert(encoder, modality) for modality in ("image", "text")}
    if precision == "int8":
        graphs = {m: _quantize(graph, training[m]) for m, graph in graphs.items()}
    return graphs


def represent(encoder: CommonSpaceEncoder, encodings: Any, modality: str) -> dict[str, Any]:
    """Return encodings (n, e) of a modality → what a graph gives for them, by output."""
    return {
        name: encoder.represent(encodings, similarity, modality)
        for name, similarity in OUTPUTS.items()
        if similarity in encoder.similarities()
    }


def _convert(encoder: CommonSpaceEncoder, modality: str) -> onnx.ModelProto:
    """Checked whole, because tf2onnx only logs the operations that it cannot translate."""
    input_map = encoder.image_map if modality == "image" else encoder.text_map
    spec = tf.TensorSpec([None, input_map.input_dim], tf.float32, f"{modality}_features")

    @tf.function(autograph=False, input_signature=[spec])
    def outputs(features: tf.Tensor) -> dict[str, tf.Tensor]:
        # ONNX has no assertions. Without this, int8 clips such features to ones that look sound.
        finite = tf.reduce_all(tf.math.is_finite(features), axis=1, keepdims=True)
        outputs = represent(encoder, encoder.encode(modality, features), modality)
        return {name: tf.where(finite, value, float("nan")) for name, value in outputs.items()}

    model, _ = tf2onnx.convert.from_function(outputs, [spec], opset=OPSET)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())  # comes in several lines
        raise InputError(
            f"the {modality} encoder cannot be written as ONNX ({reason}); export a SavedModel"
        ) from error
    return model


def _quantize(model: onnx.ModelProto, training: np.ndarray) -> onnx.ModelProto:
    """Return the same graph with products of 8-bit inputs and 7-bit weights, a scale to each unit.

    The inputs' ranges are fixed by training rows. Ranges taken from each batch would need none, but
    then what a row is encoded as depends on its neighbors. With 7 bits the sums do not saturate on
    processors without VNNI, so that all have the same results; mAP loses nothing to 8.
    """
    rows = np.linspace(0, len(training) - 1, min(len(training), CALIBRATION_ROWS)).astype(int)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            path,
            _Rows(model.graph.input[0].name, training[rows]),
            op_types_to_quantize=["MatMul"],
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        return onnx.load(path)


class _Rows(quantization.CalibrationDataReader):
    """Features (n, d), a block at a time."""

    def __init__(self, name: str, features: np.ndarray):
        starts = range(0, len(features), CALIBRATION_BLOCK)
        self._blocks = iter([{name: features[i : i + CALIBRATION_BLOCK]} for i in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._blocks, None)
