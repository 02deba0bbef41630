"""What the engines that keep a gallery in this process have in common: everything but searching."""

from __future__ import annotations

import abc
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.search import stored
from xgacmn_tf.search.checks import (
    category_names,
    checked_categories,
    checked_embeddings,
    checked_ids,
    checked_queries,
    strings,
)
from xgacmn_tf.search.index import Hits, Index, for_understood


class MemoryIndex(Index):
    """Ids and categories by row; the engine keeps the vectors in the same order."""

    def __init__(self) -> None:
        self._dim: int | None = None
        self._set_names(np.empty(0, "U1"), np.empty(0, "U1"))

    @abc.abstractmethod
    def _build(self, vectors: np.ndarray) -> None:
        """Takes these (n, d) float32 vectors instead of all others; n is at least 1."""

    @abc.abstractmethod
    def _extend(self, vectors: np.ndarray) -> None:
        """Takes these (m, d) float32 vectors too, after those that are there."""

    @abc.abstractmethod
    def _vectors(self) -> np.ndarray:
        """The (n, d) float32 vectors, as they were given."""

    @abc.abstractmethod
    def _search(
        self, queries: np.ndarray, k: int, rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(q, k) rows and (q, k) float32 inner products, best first.

        Args:
          queries: (q, d) float32.
          k: how many, at most as many as there are to choose from.
          rows: (m,) ascending rows to choose from exactly; None for all of them.
        """

    def _structure(self) -> dict[str, Any]:
        """What an engine has made of the vectors, for the file."""
        return {}

    def _rebuild(self, vectors: np.ndarray, arrays: stored.Stored) -> None:
        """`_build`, with what `_structure` wrote. Raises an `InputError` where it does not fit."""
        self._build(vectors)

    def __len__(self) -> int:
        return len(self._ids)

    def index(
        self,
        embeddings: Any,
        ids: Sequence[str] | np.ndarray | None = None,
        categories: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        vectors = checked_embeddings("the gallery", embeddings)
        ids = checked_ids(ids, len(vectors))
        categories = checked_categories(categories, len(vectors))
        self._build(vectors)
        self._dim = vectors.shape[1]
        self._set_names(ids, categories)

    def upsert(
        self,
        ids: Sequence[str] | np.ndarray,
        embeddings: Any,
        categories: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        if not len(self):
            return self.index(embeddings, ids, categories)
        vectors = checked_embeddings("the gallery", embeddings, self._dim)
        ids = checked_ids(ids, len(vectors))
        categories = checked_categories(categories, len(vectors))
        size = len(self)
        row_of = {name: row for row, name in enumerate(self._ids.tolist())}
        at = np.array([row_of.get(name, -1) for name in ids.tolist()])
        new = np.flatnonzero(at < 0)
        # Of the old items followed by the given ones, those that remain, in their order.
        remain = np.concatenate([np.arange(size), size + new])
        remain[at[at >= 0]] = size + np.flatnonzero(at >= 0)
        if len(new) == len(ids):
            self._extend(vectors)
        else:
            self._build(np.concatenate([self._vectors(), vectors])[remain])
        self._set_names(
            np.concatenate([self._ids, ids])[remain],
            np.concatenate([self._categories, categories])[remain],
        )

    def delete(self, ids: Sequence[str] | np.ndarray) -> int:
        gone = np.isin(self._ids, strings("ids", ids, len(ids)))
        if gone.any():
            if not gone.all():
                self._build(self._vectors()[~gone])
            self._set_names(self._ids[~gone], self._categories[~gone])
        return int(gone.sum())

    def query(self, embeddings: Any, k: int, category: str | None = None) -> Hits:
        queries = checked_queries(embeddings, k, self._dim)
        rows = None if category is None else self._rows_of(category)
        k = min(k, len(self) if rows is None else len(rows))
        if not k:
            return Hits(np.empty((len(queries), 0), "U1"), np.empty((len(queries), 0), np.float32))

        def search(queries: np.ndarray) -> Hits:
            found, scores = self._search(queries, k, rows)
            # FAISS has row −1 for what it could not compare, such as sums beyond single precision.
            compared = found >= 0
            return Hits(
                np.where(compared, self._ids[found], ""), np.where(compared, scores, -np.inf)
            )

        return for_understood(queries, search, width=k)

    def save(self, folder: str | os.PathLike[str]) -> None:
        if not len(self):
            raise InputError("there is nothing to save: the index is empty; index a gallery first")
        arrays = {
            "kind": self.kind,
            "effort": self.effort,
            "embedding": self._vectors(),
            "id": self._ids,
            "category": self._categories,
        }
        stored.write(folder, arrays | self._structure())

    def restore(self, arrays: stored.Stored) -> None:
        """Takes what `save` wrote."""
        vectors = checked_embeddings(
            f"{arrays.path}: embedding", arrays.array("embedding", "f", (None, None))
        )
        rows = len(vectors)
        ids = checked_ids(arrays.array("id", "U", (rows,)), rows)
        categories = arrays.array("category", "U", (rows,))
        effort = arrays.number("effort", 0, 2**31 - 1)
        self._rebuild(vectors, arrays)
        self.effort, self._dim = effort, vectors.shape[1]
        self._set_names(ids, categories)

    def _set_names(self, ids: np.ndarray, categories: np.ndarray) -> None:
        self._ids, self._categories = ids, categories
        self._by_category: tuple[np.ndarray, np.ndarray] | None = None

    def _rows_of(self, category: str) -> np.ndarray:
        """The rows of a category, ascending."""
        if self._by_category is None:
            self._by_category = np.unique(self._categories, return_inverse=True)
        names, codes = self._by_category
        wanted = [j for j, name in enumerate(names.tolist()) if category in category_names(name)]
        return np.flatnonzero(np.isin(codes, wanted))
