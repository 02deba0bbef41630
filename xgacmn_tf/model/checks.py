"""Checks of the features and labels that `XGACMN.fit`, `evaluate` and `predict` receive.

Keras and TensorFlow would reject them without naming the cause, or train on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def check_pairs(x: Any, function: str) -> None:
    """Reject pairs in another form than a dict or batches.

    Raises:
        ValueError: naming the form that was received and the expected one.
    """
    name = type(x).__name__
    if hasattr(x, "batches"):
        raise ValueError(f"{function} received a {name}; give it in batches, {name}.batches(64)")
    if hasattr(x, "splits"):
        raise ValueError(
            f"{function} received a {name}; give the batches of a split, such as "
            "data.train.batches(64)"
        )
    if isinstance(x, np.ndarray | tf.Tensor | list | tuple):
        raise ValueError(
            f"{function} received features as {name}; XGACMN takes a dict of features, "
            "{'image': (n, d_v), 'text': (n, d_t)}, and labels as y or under 'label'"
        )


def check_numbers(modality: str, features: Any) -> None:
    """Reject features of a modality that are not numbers, such as texts.

    Raises:
        ValueError: naming the dtype.
    """
    dtype = getattr(features, "dtype", None)
    if dtype == tf.string or getattr(dtype, "kind", "f") not in "fiub":
        raise ValueError(
            f"{modality} features have dtype {dtype}; expected numbers, which an extractor makes "
            "from images or texts (docs/your_data.md)"
        )


def check_features(modality: str, features: Any, dim: int) -> None:
    """Reject features of a modality that are not (n, dim) numbers; unknown dimensions pass.

    Raises:
        ValueError: naming the dtype or the shape.
    """
    check_numbers(modality, features)
    shape = getattr(features, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return
    if len(shape) != 2 or shape[1] not in (dim, None):
        raise ValueError(
            f"{modality} features have shape {tuple(shape)}; expected (n, {dim}), raw features as "
            "the model was adapted to"
        )


def checked_labels(label: Any, num_classes: int, may_lack: bool) -> np.ndarray:
    """Return labels as (n,) int32 or (n, c) float32.

    Args:
        label: (n,) or (n, 1) whole numbers, or (n, c) one-hot or multi-hot.
        num_classes: c.
        may_lack: whether −1 or a row of zeros may stand for no category.

    Raises:
        ValueError: naming the dtype, the shape, or the first row with another value.
    """
    array = np.asarray(label)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"labels have dtype {array.dtype}; expected class numbers, as "
            "np.unique(labels, return_inverse=True)[1] makes from names"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != num_classes):
        raise ValueError(
            f"labels have shape {array.shape}; expected (n,) integers or (n, {num_classes}) "
            "one-hot or multi-hot"
        )
    if array.ndim == 2:
        bad = np.zeros(len(array), bool) if may_lack else ~array.any(axis=1)
    else:
        lowest = -1 if may_lack else 0
        bad = ~((array >= lowest) & (array < num_classes) & (array == np.floor(array)))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"labels hold {array[row]} in row {row}; expected class numbers from 0 to "
            f"{num_classes - 1}, or rows with at least one category; pairs without a category "
            "need has_label"
        )
    return array.astype(np.int32 if array.ndim == 1 else np.float32)
