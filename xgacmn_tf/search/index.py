"""The interface of all search engines, and the checks of what they are given.

An index holds n embeddings under ids, and answers a query with the ids of the largest inner
products. Class posteriors, codes and unit-length codes (whose inner product is the cosine) are all
compared that way. Embeddings are stored in single precision.
"""

from __future__ import annotations

import abc
import contextlib
import importlib
import os
import threading
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from xgacmn_tf.errors import InputError

# The file of a saved index that names its engine, and the version of its layout.
RECORD, FORMAT = "index.json", 1
# Candidates of HNSW, here and in Milvus. At least as many as the k of a query are always used, so
# that less than the 50 that recall is measured with would be measured as 50.
GRAPH_EFFORTS = (64, 128, 256, 512, 1024, 2048)
COLLECTION = "xgacmn"

Strings = Sequence[str] | np.ndarray


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


class Items(NamedTuple):
    """Checked items: (n, d) float32 vectors, n ids and n categories."""

    vectors: np.ndarray
    ids: list[str]
    categories: list[str]


class Index(abc.ABC):
    """A gallery that can be searched, changed and saved.

    Embeddings are (n, d) arrays of any floating type, ids n distinct strings that are not empty,
    categories n strings. An item of the category "sky, water" matches either and the whole.
    Every method raises `InputError` for input that does not fit, and then nothing has changed. All
    methods can be called from several threads; one of them changes the index at a time.

    Attributes:
      kind: the engine.
      effort: how much of the index a query looks at: lists of IVF (FAISS's nprobe), candidates of
        HNSW (ef); 0 where always at all of it. More is slower and finds more; `recall.tune`
        chooses it.
    """

    kind: ClassVar[str]
    effort: int = 0

    def __init__(self) -> None:
        self._writing = threading.RLock()

    def index(
        self, embeddings: Any, ids: Strings | None = None, categories: Strings | None = None
    ) -> None:
        """Replace all items by these; ids default to row numbers."""
        items = self._checked(embeddings, ids, categories)
        with self._writing, self._calls():
            self._index(items)

    def upsert(self, ids: Strings, embeddings: Any, categories: Strings | None = None) -> None:
        """Add items; one whose id is there already is replaced, its category too."""
        with self._writing, self._calls():
            dim = self._width()
            items = self._checked(embeddings, ids, categories, dim)
            if dim is None:
                self._index(items)
            else:
                self._upsert(items)

    def delete(self, ids: Strings) -> int:
        """Remove items; return the number of ids that were there."""
        names = list(dict.fromkeys(_strings("ids", ids, len(ids)).tolist()))
        with self._writing, self._calls():
            return 0 if self._width() is None else self._delete(names)

    def query(self, embeddings: Any, k: int, category: str | None = None) -> Hits:
        """Return the k items most similar to each query, among all or among those of a category.

        A query with NaN or infinite values is rejected, and a query of zeros finds nothing.
        A k beyond the number of items gives all of them; a category that no item has gives none.
        Exact search puts the item that was added earlier first among equals.
        """
        if k < 1:
            raise InputError(f"k is {k}; it must be at least 1")
        with self._reading():
            queries = checked_embeddings("the query", embeddings, self._width())
            understood = queries.any(axis=1)
            hits = self._search(queries[understood], k, category)
        if understood.all():
            return hits
        shape = len(queries), hits.ids.shape[1]
        ids, scores = np.full(shape, "", hits.ids.dtype), np.full(shape, -np.inf, np.float32)
        ids[understood], scores[understood] = hits
        return Hits(ids, scores)

    @abc.abstractmethod
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index to a folder, for `load_index`; index.json is written last."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    def efforts(self) -> tuple[int, ...]:
        """Return the values of `effort` to try, ascending; none where search is exhaustive."""
        return ()

    def _checked(
        self,
        embeddings: Any,
        ids: Strings | None,
        categories: Strings | None,
        dim: int | None = None,
    ) -> Items:
        """Return items that fit an index of `dim` dimensions; raise an `InputError` otherwise."""
        vectors = checked_embeddings("the gallery", embeddings, dim)
        n = len(vectors)
        names = np.arange(n).astype(str) if ids is None else _strings("ids", ids, n)
        unique, count = np.unique(names, return_counts=True)
        if "" in unique:
            raise InputError(f"ids: the one of row {int(np.argmax(names == ''))} is empty")
        if len(unique) < n:
            twice = str(unique[count.argmax()])
            raise InputError(f"ids: {twice!r} occurs {count.max()} times; each item needs its own")
        labels = [""] * n if categories is None else _strings("categories", categories, n).tolist()
        return Items(vectors, names.tolist(), labels)

    # ---- What an engine does; `self._writing` is held by all but `_search`.

    def _calls(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context for changes that makes an `InputError` of the engine's own errors."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def _reading(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context for searches."""

    @abc.abstractmethod
    def _width(self) -> int | None:
        """Return the number of dimensions; None while there are no items to compare with."""

    @abc.abstractmethod
    def _index(self, items: Items) -> None:
        """Replace all items by these."""

    @abc.abstractmethod
    def _upsert(self, items: Items) -> None:
        """Add or replace items."""

    @abc.abstractmethod
    def _delete(self, names: list[str]) -> int:
        """Remove items, and return the number of ids that were there."""

    @abc.abstractmethod
    def _search(self, queries: np.ndarray, k: int, category: str | None) -> Hits:
        """Return the hits of (q, d) float32 queries that are not zero; q may be 0."""


def checked_embeddings(name: str, value: Any, dim: int | None = None) -> np.ndarray:
    """Return `value` as a C-ordered (n, d) float32 array, n and d at least 1, all finite.

    Args:
      name: its name in messages.
      value: what NumPy takes for a matrix of floating-point numbers.
      dim: the d that it must have, if that is known.

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


def import_engine(module: str, advice: str) -> Any:
    """Return an optional library, untyped; raise an `InputError` with advice if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(advice) from error


def category_names(category: str) -> list[str]:
    """Return what finds an item of a category: the whole, and each of several joined by ", "."""
    return list(dict.fromkeys([category, *category.split(", ")]))


def _strings(name: str, values: Any, rows: int) -> np.ndarray:
    """Return (rows,) str of strings or whole numbers; an `InputError` for anything else."""
    array = np.asarray(values) if len(values) else np.empty(0, str)
    if array.shape != (rows,):
        raise InputError(f"{name} has shape {array.shape}; give one for each of {rows} items")
    if array.dtype.kind not in "Uiu":
        raise InputError(f"{name} holds {array.dtype}; give strings")
    return array.astype(str)
