"""Checks of embeddings, queries, ids and categories, common to all engines."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError


def checked_embeddings(name: str, value: Any, dim: int | None = None) -> np.ndarray:
    """`value` as a C-ordered (n, d) float32 array, n and d at least 1, all finite.

    Args:
      name: what messages call it.
      value: what NumPy takes for a matrix of floating-point numbers.
      dim: the d that it must have, where it is settled.

    Raises:
      InputError: it is anything else.
    """
    array = np.asarray(value)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"{name} has shape {array.shape}; give (items, dimensions), at least one of each"
        )
    if array.dtype.kind != "f":
        raise InputError(f"{name} holds {array.dtype}; give floating-point embeddings")
    if dim is not None and array.shape[1] != dim:
        raise InputError(
            f"{name} has {array.shape[1]} dimensions and the index {dim}; both must come from the "
            "same encoder and similarity"
        )
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.argmin(finite.all(axis=1)))
        raise InputError(
            f"{name} holds {np.count_nonzero(~finite)} values of {array.size} that are NaN, "
            f"infinite or too large for single precision, the first in row {row}; look at the "
            "features and the encoder that made them"
        )
    return array


def checked_queries(value: Any, k: int, dim: int | None) -> np.ndarray:
    """Queries as `checked_embeddings` gives them; an `InputError` for them or a k below 1."""
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1")
    return checked_embeddings("the query", value, dim)


def checked_ids(ids: Sequence[str] | np.ndarray | None, rows: int) -> np.ndarray:
    """(rows,) str, distinct and none empty; the row numbers where `ids` is None."""
    if ids is None:
        return np.arange(rows).astype(str)
    array = strings("ids", ids, rows)
    unique, count = np.unique(array, return_counts=True)
    if "" in unique:
        raise InputError(f"ids: the one of row {int(np.argmax(array == ''))} is empty")
    if len(unique) < rows:
        twice = str(unique[count.argmax()])
        raise InputError(f"ids: {twice!r} occurs {count.max()} times; each item needs its own")
    return array


def checked_categories(categories: Sequence[str] | np.ndarray | None, rows: int) -> np.ndarray:
    """(rows,) str; empty strings where `categories` is None."""
    return np.full(rows, "") if categories is None else strings("categories", categories, rows)


def strings(name: str, values: Any, rows: int) -> np.ndarray:
    """(rows,) str of strings or whole numbers; an `InputError` for anything else."""
    array = np.asarray(values) if len(values) else np.empty(0, str)
    if array.shape != (rows,):
        raise InputError(f"{name} has shape {array.shape}; give one for each of {rows} items")
    if array.dtype.kind not in "Uiu":
        raise InputError(f"{name} holds {array.dtype}; give strings")
    return array.astype(str)


def category_names(category: str) -> list[str]:
    """What an item of a category is found by: the whole, and each of several joined by ", "."""
    return list(dict.fromkeys([category, *category.split(", ")]))
