"""Exact search in TensorFlow, on a graphics processor where there is one.

The gallery stays on the device in double precision, 80 MB for 100,000 × 100, and a query is
compared as in evaluation (`xgacmn_tf.evaluation.ranking`), so that the order is the evaluated one.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from xgacmn_tf.evaluation.ranking import MATRIX, SIZE, inner_products
from xgacmn_tf.search.memory import MemoryIndex

# Similarities at once, 16 bytes each: 134 MB. More is no faster, except where the gallery is so
# large that few queries would make as many: reading it then takes longer than multiplying it.
CELLS = 2**23
MIN_AT_ONCE, MAX_AT_ONCE = 64, 256
# Rows that were added lie apart from the others up to this number: adding one copies only these.
MAX_RECENT = 4096


class Parts(NamedTuple):
    """Float64 vectors, of which (m, d) `recent` follow (n, d) `first`; m may be 0."""

    first: tf.Tensor
    recent: tf.Tensor


class ExactIndex(MemoryIndex):
    """Finds the most similar items, always; ties go to the item that was added earlier."""

    kind = "exact"
    file = "vectors.npy"

    def _build(self, vectors: np.ndarray) -> Parts:
        first = tf.cast(tf.constant(vectors), tf.float64)
        return Parts(first, first[:0])

    def _extend(self, structure: Parts, vectors: np.ndarray) -> Parts:
        recent = tf.concat([structure.recent, tf.cast(vectors, tf.float64)], axis=0)
        if len(recent) <= MAX_RECENT:
            return Parts(structure.first, recent)
        return Parts(tf.concat([structure.first, recent], axis=0), recent[:0])

    def _overwrite(self, structure: Parts, rows: np.ndarray, vectors: np.ndarray) -> bool:
        size = len(structure.first)
        for part, own, start in zip(structure, (rows < size, rows >= size), (0, size), strict=True):
            if own.any():
                values = tf.cast(vectors[own], tf.float64)
                # A variable would be copied by every search after its first `scatter_update`.
                tf.raw_ops.InplaceUpdate(x=part, i=(rows[own] - start).astype(np.int32), v=values)
        return True

    def _vectors(self, structure: Parts) -> np.ndarray:
        return np.concatenate([part.numpy().astype(np.float32) for part in structure])

    def _nearest(
        self, structure: Parts, queries: np.ndarray, k: int, rows: np.ndarray | None, all_rows: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        items = len(structure.first) + len(structure.recent)
        selected = tf.constant(np.ones(items, bool) if rows is None else rows)
        block = min(MAX_AT_ONCE, max(MIN_AT_ONCE, CELLS // items))
        parts = [
            _best_of_block(queries[start : start + block], *structure, selected, k)
            for start in range(0, len(queries), block)
        ]
        nearest, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        # Rows that are not selected come last, with −∞, beside any that overflow.
        return np.where(selected.numpy()[nearest], nearest, -1), scores

    def _write(self, structure: Parts, path: Path) -> None:
        np.save(path, self._vectors(structure), allow_pickle=False)

    def _read(self, path: Path) -> tuple[Parts, int, int]:
        vectors = np.load(path, allow_pickle=False)
        return self._build(vectors), *vectors.shape


@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        MATRIX,
        MATRIX,
        tf.TensorSpec([None], tf.bool),
        SIZE,
    ],
)
def _best_of_block(
    queries: tf.Tensor, first: tf.Tensor, recent: tf.Tensor, selected: tf.Tensor, k: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the k best of the selected rows and their scores, as `ranking.top` does."""
    queries = tf.cast(queries, tf.float64)
    scores = [inner_products(queries, part) for part in (first, recent)]
    scores, order = tf.math.top_k(tf.where(selected, tf.concat(scores, axis=1), -np.inf), k)
    return order, scores
