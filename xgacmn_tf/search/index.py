"""The interface of all search engines.

An index holds n embeddings under ids, and answers a query with the ids of the largest inner
products. Class posteriors, codes and unit-length codes (whose inner product is the cosine) are all
compared that way. Embeddings are stored in single precision.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

# The file of a saved index that names its engine, and the version of its layout.
RECORD, FORMAT = "index.json", 1
# Candidates of HNSW, here and in Milvus. At least as many as the hits wanted are always kept, so
# that less than the 50 that recall is measured with would be measured as 50.
GRAPH_EFFORTS = (64, 128, 256, 512, 1024, 2048)
COLLECTION = "xgacmn"


class Hits(NamedTuple):
    """The hits of q queries, best first.

    Attributes:
      ids: (q, k) str.
      scores: (q, k) float32 inner products. Where an engine finds fewer for one query than for
        another, the rest of the row has empty ids and −∞. A query of zeros finds nothing, because
        every item is equally similar to it: its whole row is empty.
    """

    ids: np.ndarray
    scores: np.ndarray


def for_understood(
    queries: np.ndarray, search: Callable[[np.ndarray], Hits], width: int = 0
) -> Hits:
    """Search with the queries that are not all zero; the rows of the others stay empty.

    Args:
      queries: (q, d) checked queries.
      search: returns the hits of such queries.
      width: the number of columns where all queries are zero.
    """
    understood = queries.any(axis=1)
    if understood.all():
        return search(queries)
    some = np.empty((0, width), str), np.empty((0, width), np.float32)
    found = search(queries[understood]) if understood.any() else Hits(*some)
    shape = len(queries), found.ids.shape[1]
    ids, scores = np.full(shape, "", found.ids.dtype), np.full(shape, -np.inf, np.float32)
    ids[understood], scores[understood] = found
    return Hits(ids, scores)


class Index(abc.ABC):
    """A gallery that can be searched, changed and saved.

    Embeddings are (n, d) arrays of any floating type, ids n distinct strings that are not empty,
    categories n strings. An item of the category "sky, water" is found by either and by the whole.
    Every method raises `InputError` for input that does not fit, and then nothing has changed. All
    methods can be called from several threads.

    Attributes:
      kind: the engine.
      effort: how much of the index a query looks at: lists of IVF (FAISS's nprobe), candidates of
        HNSW (ef); 0 where always at all of it. More is slower and finds more; `recall.tune`
        chooses it.
    """

    kind: ClassVar[str]
    effort: int = 0

    @abc.abstractmethod
    def index(
        self,
        embeddings: Any,
        ids: Sequence[str] | np.ndarray | None = None,
        categories: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        """Replace all items by these; ids default to row numbers."""

    @abc.abstractmethod
    def upsert(
        self,
        ids: Sequence[str] | np.ndarray,
        embeddings: Any,
        categories: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        """Add items; one whose id is there already is replaced, its category too."""

    @abc.abstractmethod
    def delete(self, ids: Sequence[str] | np.ndarray) -> int:
        """Remove items; return the number of ids that were there."""

    @abc.abstractmethod
    def query(self, embeddings: Any, k: int, category: str | None = None) -> Hits:
        """Return the k items most similar to each query, among all or among those of a category.

        A query with NaN or infinite values is rejected, and a query of zeros finds nothing.
        A k beyond the number of items gives all of them; a category that no item has gives none.
        Exact search puts the item that was added earlier first among equals.
        """

    @abc.abstractmethod
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index to a folder, for `load_index`; index.json is written last."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    def efforts(self) -> tuple[int, ...]:
        """Return the values of `effort` to try, ascending; none where search is exhaustive."""
        return ()
