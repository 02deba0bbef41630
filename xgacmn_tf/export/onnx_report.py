"""Comparison of ONNX graphs with TensorFlow: differences, mAP, sizes and latency."""

from __future__ import annotations

import functools
import timeit
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from xgacmn_tf.blocks import in_blocks
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.export.onnx_graphs import OUTPUTS, Graphs, represent
from xgacmn_tf.model.encoders import CommonSpaceEncoder

# Batch sizes whose latency is measured, and how often; the fastest counts, being least disturbed.
LATENCY_ROWS = (1, 64)
LATENCY_REPEATS = 20

Outputs = dict[str, np.ndarray]


def compare(encoder: CommonSpaceEncoder, graphs: Graphs, test: Split) -> dict[str, Any]:
    """Return the differences of graphs from TensorFlow on a test split.

    Args:
      encoder: the encoders in TensorFlow, in single precision.
      graphs: their ONNX models, by modality.
      test: what is encoded and ranked.

    Returns:
      {"largest_difference": {signature: {output: …}}, "mAP": {similarity: {"tensorflow" and "onnx":
      {"i2t", "t2i", "avg"}}}}, ready for JSON.

    Raises:
      InputError: a graph gives values that are not finite.
    """
    features = {"image": test.image, "text": test.text}
    ours = {m: _onnx(graph, m, features[m]) for m, graph in graphs.items()}
    theirs = {m: _tensorflow(encoder, m, features[m]) for m in graphs}

    def scores(sides: Mapping[str, Outputs], name: str) -> dict[str, float]:
        return mean_average_precision(sides["image"][name], sides["text"][name], test.label)

    return {
        "largest_difference": {
            f"encode_{m}": {k: float(np.abs(x - theirs[m][k]).max()) for k, x in ours[m].items()}
            for m in graphs
        },
        "mAP": {
            OUTPUTS[name]: {"tensorflow": scores(theirs, name), "onnx": scores(ours, name)}
            for name in ours["image"]
        },
    }


def costs(graphs: Graphs, test: Split) -> dict[str, dict[str, Any]]:
    """Return signature → {"bytes": size of the file, "microseconds": {rows: time of a call}}."""
    results = {}
    for modality, graph in graphs.items():
        session, microseconds = _session(graph), {}
        for rows in LATENCY_ROWS:
            features = getattr(test, modality)
            batch = np.resize(features, (rows, features.shape[1]))
            run = functools.partial(_run, session, batch)
            seconds = min(timeit.repeat(run, number=1, repeat=LATENCY_REPEATS))
            microseconds[str(rows)] = round(seconds * 1e6, 1)
        results[f"encode_{modality}"] = {"bytes": graph.ByteSize(), "microseconds": microseconds}
    return results


def _onnx(graph: Any, modality: str, features: np.ndarray) -> Outputs:
    session = _session(graph)
    names = [output.name for output in session.get_outputs()]
    blocks = in_blocks(functools.partial(_run, session), features)
    outputs = {name: block.numpy() for name, block in zip(names, blocks, strict=True)}
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"encode_{modality}: numbers exceed the range of this --precision, so that {name}s "
                "of the test split are NaN or infinite; use --precision=float32"
            )
    return outputs


def _tensorflow(encoder: CommonSpaceEncoder, modality: str, features: np.ndarray) -> Outputs:
    outputs = represent(encoder, encoder.encodings_of(modality, features), modality)
    return {name: values.numpy() for name, values in outputs.items()}


def _session(graph: Any) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread compares processors and precisions, not schedulers.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _run(session: onnxruntime.InferenceSession, features: np.ndarray) -> list[np.ndarray]:
    return session.run(None, {session.get_inputs()[0].name: features})
