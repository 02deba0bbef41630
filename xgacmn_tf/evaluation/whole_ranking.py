"""Where in a ranking of the whole gallery the relevant items stand.

Which item stands where is not wanted. So similarity and relevance are packed into 32 bits, and
NumPy sorts these with the processor's vector instructions. Only where relevant and irrelevant items
tie are their rows looked at. An argsort for each query takes three times as long
(`python benchmarks/evaluation.py`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.errors import InputError


class Relevance:
    """Which items are relevant to which: those that share a label.

    Args:
      targets: (n, c) one-hot or multi-hot, zeros and ones of any type.

    Attributes:
      items: n.

    Raises:
      InputError: another shape, or other values.
    """

    def __init__(self, targets: Any):
        self._targets = _checked_targets(targets)
        self.items = len(self._targets)
        # With one label each, comparing numbers takes the place of a product over all classes.
        single = (self._targets.sum(axis=1) == 1).all()
        self._labels = self._targets.argmax(axis=1) if single else None

    def of(self, rows: Sequence[int]) -> np.ndarray:
        """(q, n) bool: which of the n items are relevant to the items at `rows`."""
        index = np.asarray(rows)
        if self._labels is not None:
            return self._labels[index, np.newaxis] == self._labels
        return self._targets[index] @ self._targets.T > 0


class Ranking:
    """The whole gallery, ranked for a block of queries.

    Args:
      similarity: (q, n) float32, finite.
      relevant: (q, n) bool, of the items in the gallery's order.
      own: the gallery's row of the first query's pair; those of the others follow.

    Attributes:
      relevance: (q, n) bool in ranked order.
      num_relevant: (q,) relevant items.
    """

    def __init__(self, similarity: np.ndarray, relevant: np.ndarray, own: int):
        self._values, self._own = _ascending(similarity), own
        keys = self._values << 1
        keys |= relevant
        keys.sort(axis=1)
        self.relevance = (keys.astype(np.int8) & 1).view(bool)
        self.num_relevant = np.count_nonzero(relevant, axis=1)
        # Among items that tie, irrelevant ones came first. Where there are both, only the last bit
        # differs between neighbours.
        mixed = (keys[:, 1:] ^ keys[:, :-1]) == 1
        for query in map(int, np.flatnonzero(mixed.any(axis=1))):
            ranked = keys[query] >> 1
            self._settle(query, ranked, ranked[1:][mixed[query]], relevant[query])

    def _settle(
        self, query: int, ranked: np.ndarray, tied: np.ndarray, relevant: np.ndarray
    ) -> None:
        """Puts items that tie in the order of their rows.

        Args:
          query: whose ranking it is.
          ranked: (n,) its sorted values.
          tied: those of them at which relevant and irrelevant items tie.
          relevant: (n,) bool, in the gallery's order.
        """
        # Items whose last bits are those of a value in question: these, and a few that are sorted
        # along to where they stand already.
        marked = np.zeros(2**16, bool)
        marked[tied & 0xFFFF] = True
        row = np.flatnonzero(marked[self._values[query] & 0xFFFF])
        pairs = self._values[query, row].astype(np.int64) << 32 | row << 1 | relevant[row]
        pairs.sort()
        self.relevance[query, marked[ranked & 0xFFFF]] = pairs & 1

    def own_rank(self) -> np.ndarray:
        """(q,) int64 rank of each query's own pair, from 1."""
        query = np.arange(len(self._values))
        own = (query + self._own)[:, np.newaxis]
        value = np.take_along_axis(self._values, own, axis=1)
        ahead = self._values == value
        ahead &= np.arange(self._values.shape[1]) < own
        ahead |= self._values < value
        return 1 + np.count_nonzero(ahead, axis=1)


def _ascending(similarity: np.ndarray) -> np.ndarray:
    """(q, n) int32 of 31 bits that descend as the similarities ascend, and tie where they tie."""
    # The bits of a float, read as an integer, ascend with it from zero up and descend below.
    # Turned over below zero they ascend throughout. Adding 0 makes −0 equal to 0.
    values = (0.0 - similarity).view(np.int32)
    values ^= (values >> 31) & np.int32(0x7FFFFFFF)
    # Similarities below 2 have 31 bits. Larger ones have where those near zero are missing, as they
    # are among fewer than 2^127 times smaller than the largest; otherwise their order is taken.
    excess = max(int(values.max()), -1 - int(values.min())) - (2**30 - 1)
    if excess > 0:
        size = np.abs(values)
        if ((size > 0) & (size <= excess + 1)).any():
            inverse = np.unique(values, return_inverse=True)[1]
            return inverse.reshape(values.shape).astype(np.int32)
        values -= np.sign(values) * np.int32(excess)
    return values


def _checked_targets(value: Any) -> np.ndarray:
    """`value` as float32, or an `InputError` that says what is wrong with it."""
    value = tf.cast(value, tf.float32).numpy()
    if value.ndim != 2 or 0 in value.shape:
        raise InputError(
            f"targets has shape {value.shape}; give (items, classes), at least one of each, "
            "one-hot or multi-hot"
        )
    bad = np.count_nonzero((value != 0) & (value != 1))
    if bad:
        raise InputError(
            f"targets holds {bad} values other than 0 and 1; give one-hot or multi-hot"
        )
    return value
