"""Representations of many items: a whole matrix, or blocks of rows computed from codes.

Class posteriors of n items are an n × c matrix, which with many categories is far larger than the
codes that it is computed from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xgacmn_tf.evaluation.ranking import checked_representations
from xgacmn_tf.model.encoders import CommonSpaceEncoder

# Numbers of a matrix that is held whole, and of a block of a larger one: 256 MiB as float64.
MAX_NUMBERS = 2**25


class Representations:
    """An (n, d) matrix of finite float64 numbers, read in blocks of rows.

    Args:
      name: what messages call it.
      shape: (n, d).
      compute: rows, a slice or integers, → their (b, d) representations.
      block: number of rows that are computed at once; n or more holds all of them.

    Raises:
      InputError: a representation is not finite, when its block is computed.
    """

    def __init__(
        self, name: str, shape: tuple[int, int], compute: Callable[[Any], Any], block: int
    ):
        self.name, self.shape, self._compute = name, shape, compute
        self.block = min(block, shape[0])
        self._whole = self._computed(slice(None)) if self.block == shape[0] else None

    @classmethod
    def of(cls, name: str, value: Any) -> Representations:
        """Return `value` as representations: an (n, d) array, or representations already."""
        if isinstance(value, Representations):
            return value
        return cls(name, np.shape(value), lambda rows: value, len(value) if np.ndim(value) else 0)

    @property
    def is_whole(self) -> bool:
        """Whether all rows are in memory."""
        return self._whole is not None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return (b, d) float64."""
        return self._computed(rows) if self._whole is None else self._whole[rows]

    def take(self, rows: np.ndarray) -> Representations:
        """Return the representations at `rows`, (m,) int64, in this order."""
        shape = len(rows), self.shape[1]
        taken = copy.copy(self)
        taken.shape, taken.block = shape, min(self.block, len(rows))
        if self._whole is not None:
            in_place = np.array_equal(rows, np.arange(len(self)))
            taken._whole = self._whole if in_place else self._whole[rows]
        else:
            taken._compute = lambda part: self._compute(rows[part])
        return taken

    def slices(self, block: int | None = None) -> Iterator[slice]:
        """Yield the rows block by block."""
        block = block or self.block
        for first in range(0, len(self), block):
            yield slice(first, min(first + block, len(self)))

    def _computed(self, rows: slice) -> np.ndarray:
        return checked_representations(self.name, self._compute(rows)).numpy()


def represent(
    encoder: CommonSpaceEncoder, codes: Any, similarity: str, modality: str
) -> Representations:
    """Return the representations of codes, whole up to `MAX_NUMBERS` and in blocks beyond.

    Args:
      encoder: the encoders that the codes are of.
      codes: (n, code_dim) float32.
      similarity, modality: see `CommonSpaceEncoder.represent`.
    """
    # Blocks are taken on the host, by rows in any order. Codes near a one-hot vector have cosines
    # that differ by less than single precision resolves.
    codes = np.asarray(codes, np.float64 if similarity == "cosine" else None)
    dim = int(encoder.represent(codes[:1], similarity, modality).shape[1])
    return Representations(
        modality,
        (len(codes), dim),
        lambda rows: encoder.represent(codes[rows], similarity, modality),
        max(1, MAX_NUMBERS // dim),
    )


def similarities(query: np.ndarray, gallery: Representations) -> np.ndarray:
    """Return the inner products of queries with a gallery, computed block by block.

    Args:
      query: (q, d) float64.
      gallery: (n, d).

    Returns:
      (q, n) float32.
    """
    scores = np.empty((len(query), len(gallery)), np.float32)
    for items in gallery.slices():
        scores[:, items] = query @ gallery[items].T
    # TensorFlow flushes subnormals to zero before it ranks, and both orders must agree.
    np.copyto(scores, 0.0, where=np.abs(scores) < np.finfo(np.float32).tiny)
    return scores


def unit_length(values: np.ndarray) -> np.ndarray:
    """Return rows (n, d) at unit length; a row of zeros stays one."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
