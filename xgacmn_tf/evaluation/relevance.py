"""Labels of items, and the relevance of gallery items to queries that they define."""

from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from xgacmn_tf.datasets.paired import label_matrix
from xgacmn_tf.errors import InputError

# Labels of items: (n,) int64 of one each, or a sparse (n, c) bool matrix.
Labels: TypeAlias = np.ndarray | sparse.csr_array


class Relevance:
    """The items that are relevant to each query: those that share a label.

    Args:
      query: labels of the queries, see `checked_targets`.
      gallery: labels of the gallery.
    """

    def __init__(self, query: Labels, gallery: Labels):
        if not isinstance(query, np.ndarray) or not isinstance(gallery, np.ndarray):
            classes = max(_num_classes(query), _num_classes(gallery))
            query, gallery = _matrix(query, classes), _matrix(gallery, classes).T.tocsr()
        self._query, self._gallery = query, gallery

    def of(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return (b, n) bool, whether each gallery item is relevant to the queries at `rows`."""
        if isinstance(self._query, np.ndarray):
            return self._query[rows, np.newaxis] == self._gallery
        return np.asarray((self._query[rows] @ self._gallery).toarray())


def checked_targets(value: Any) -> Labels:
    """Return targets as labels (n,) int64 if every item has exactly one, otherwise as a matrix.

    Args:
      value: (n,) whole numbers from 0, or (n, c) one-hot or multi-hot, dense or sparse.

    Raises:
      InputError: another shape, negative labels, or a matrix of values other than 0 and 1.
    """
    if sparse.issparse(value):
        return _simplest(sparse.csr_array(value, dtype=bool))
    value = np.asarray(value)
    if value.ndim == 1 and value.size and value.dtype.kind in "iu":
        if value.min() < 0:
            raise InputError(
                f"targets holds the label {value.min()}; give whole numbers from 0, or (items, "
                "classes) zeros and ones where items may have no label"
            )
        return value.astype(np.int64)
    if value.ndim != 2 or 0 in value.shape:
        raise InputError(
            f"targets has shape {value.shape} and dtype {value.dtype}; give (items,) whole "
            "numbers, or (items, classes), at least one of each, one-hot or multi-hot"
        )
    if value.dtype == np.float64:
        value = value.astype(np.float32)
    bad = np.count_nonzero((value != 0) & (value != 1))
    if bad:
        raise InputError(
            f"targets holds {bad} values other than 0 and 1; give one-hot or multi-hot"
        )
    return _simplest(sparse.csr_array(value != 0))


def united(labels: Labels, place: np.ndarray, items: int) -> Labels:
    """Return the labels of items that stand for several rows each.

    Args:
      labels: of the rows.
      place: (rows,) the item that each row belongs to.
      items: number of items.
    """
    rows = sparse.csr_array((np.ones(len(place), bool), (place, np.arange(len(place)))))
    return _simplest(sparse.csr_array(rows @ _matrix(labels, _num_classes(labels))))


def _num_classes(labels: Labels) -> int:
    return int(labels.max()) + 1 if isinstance(labels, np.ndarray) else int(labels.shape[1])


def _matrix(labels: Labels, classes: int) -> sparse.csr_array:
    if isinstance(labels, np.ndarray):
        return label_matrix(labels, classes)
    return sparse.csr_array(
        (labels.data, labels.indices, labels.indptr), (labels.shape[0], classes)
    )


def _simplest(matrix: sparse.csr_array) -> Labels:
    """Return (n,) labels if each item has one, as comparing them needs no matrix product."""
    if (np.diff(matrix.indptr) == 1).all():
        return matrix.indices.astype(np.int64)
    return matrix
