"""An index of embeddings, to find the items that are most similar to a query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from xgacmn_tf import search
from xgacmn_tf.search import Hits


class Index:
    """A gallery of embeddings under ids, searched by the inner product.

    Args:
        embeddings: (n, d) finite floats, n and d at least 1.
        ids: n distinct strings that are not empty; row numbers by default.
        engine: "exact", "flat", "ivf" or "hnsw" (the last three with FAISS); "auto" is exact up to
            100,000 items, see `search.make_index`.
        seed: of what an approximate engine draws.

    Raises:
        InputError: the embeddings or ids do not fit, or the engine's library is missing.

    Example:

    >>> import numpy as np
    >>> import xgacmn_tf as xg
    >>> index = xg.Index(np.eye(3), ids=["cat", "dog", "bird"])
    >>> hits = index.search(np.array([[0.0, 1.0, 0.5]]), k=2)
    >>> hits.ids.tolist(), hits.scores.tolist()
    ([['dog', 'bird']], [[1.0, 0.5]])
    """

    def __init__(
        self,
        embeddings: Any,
        ids: Sequence[str] | np.ndarray | None = None,
        *,
        engine: str = "auto",
        seed: int = 0,
    ):
        embeddings = np.asarray(embeddings)
        self._engine = search.make_index(engine, len(embeddings), seed=seed)
        self._engine.index(embeddings, ids)

    def __len__(self) -> int:
        return len(self._engine)

    def search(self, queries: Any, k: int = 10) -> Hits:
        """Return the k items with the largest inner products for each query.

        Args:
            queries: (q, d) finite floats. A query of zeros finds nothing.
            k: number of items, at least 1; there are fewer where the index has fewer.

        Returns:
            `ids` (q, k) str and `scores` (q, k) float32, best first.

        Raises:
            InputError: the queries do not fit the index, or k is below 1.
        """
        return self._engine.query(queries, k)

    def add(self, embeddings: Any, ids: Sequence[str] | np.ndarray) -> None:
        """Add items; one whose id is there already is replaced."""
        self._engine.upsert(ids, embeddings)

    def remove(self, ids: Sequence[str] | np.ndarray) -> int:
        """Remove items; return how many of the ids were there."""
        return self._engine.delete(ids)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index to a folder, whole or not at all."""
        self._engine.save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Return the index that `save` wrote.

        Raises:
            InputError: the file is missing or damaged, or its engine's library is missing.
        """
        index = cls.__new__(cls)
        index._engine = search.load_index(folder)
        return index
