"""What every engine does, and which one is taken.

An index holds n embeddings under ids, and answers a query with the ids of the largest inner
products. Class posteriors, codes and unit-length codes (whose inner product is the cosine) are all
compared that way. Embeddings are kept in single precision.
"""

from __future__ import annotations

import abc
import importlib.util
import os
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from xgacmn_tf.errors import InputError

FAISS_KINDS = ("flat", "ivf", "hnsw")
KINDS = ("auto", "exact", "faiss", *FAISS_KINDS, "milvus")
# Up to here exact search in TensorFlow answers a single query in some 10 ms on two CPU cores.
EXACT_UP_TO = 100_000
# FAISS of no given kind: up to here a scan takes under a millisecond, and lists gain little.
FLAT_UP_TO = 10_000
# Candidates of HNSW, here and in Milvus. Fewer than the items wanted are never kept, so that less
# than the 50 that recall is measured with would be measured as 50.
GRAPH_EFFORTS = (64, 128, 256, 512, 1024, 2048)
COLLECTION = "xgacmn"


class Hits(NamedTuple):
    """What was found for q queries, best first.

    Attributes:
      ids: (q, k) str.
      scores: (q, k) float32 inner products. Where an engine finds fewer for one query than for
        another, the rest of the row has empty ids and −∞.
    """

    ids: np.ndarray
    scores: np.ndarray


class Index(abc.ABC):
    """A gallery that can be searched, changed and saved.

    Embeddings are (n, d) arrays of any floating type, ids n distinct strings that are not empty,
    categories n strings. An item of the category "sky, water" is found by either and by the whole.
    Every method raises `InputError` for input that does not fit, and then nothing has changed.

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
        """Takes these items instead of all that were there; ids default to row numbers."""

    @abc.abstractmethod
    def upsert(
        self,
        ids: Sequence[str] | np.ndarray,
        embeddings: Any,
        categories: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        """Adds items; one whose id is there already is replaced, its category too."""

    @abc.abstractmethod
    def delete(self, ids: Sequence[str] | np.ndarray) -> int:
        """Removes items; returns how many of the ids were there."""

    @abc.abstractmethod
    def query(self, embeddings: Any, k: int, category: str | None = None) -> Hits:
        """The k items most similar to each query, among all or among those of a category.

        A k beyond the number of items gives all of them; a category that no item has gives none.
        Exact search puts the item that was added earlier first among equals.
        """

    @abc.abstractmethod
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `<folder>/index.npz`, whole or not at all, for `load_index`."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Items."""

    def efforts(self) -> tuple[int, ...]:
        """The values of `effort` worth trying, ascending; none where search is exhaustive."""
        return ()


def make_index(
    kind: str = "auto",
    size: int = 0,
    *,
    seed: int = 0,
    threads: int | None = None,
    milvus_uri: str | None = None,
    milvus_collection: str = COLLECTION,
    milvus_token: str | None = None,
) -> Index:
    """An engine; empty, but for "milvus", which has what its collection holds.

    "auto" is exact search up to 100,000 items and "faiss" above, where FAISS is installed. "faiss"
    is a flat scan up to 10,000 items and IVF above. HNSW is for asking by name: for 20,000 and
    200,000 unit vectors, clustered or not, codes and class posteriors it took 2 to 15 times as long
    to build as IVF, answered more slowly at a recall@10 of .99, and for codes and posteriors did
    not reach that. IVF reaches any recall, in the end by looking at all its lists.

    Args:
      kind: one of `KINDS`.
      size: the items that it is going to hold.
      seed: of what FAISS draws; the same seed gives the same index.
      threads: of FAISS, in the whole process; None leaves them as they are, at first all cores.
      milvus_uri, milvus_collection, milvus_token: where a Milvus server is, what the gallery is
        called there, and "user:password" or a key where the server asks for one.

    Raises:
      InputError: there is no such kind, or what it needs is missing.
    """
    if kind not in KINDS:
        raise InputError(f"--index={kind}: expected one of {', '.join(KINDS)}")
    if kind == "milvus":
        from xgacmn_tf.search.milvus_index import MilvusIndex

        if not milvus_uri:
            raise InputError("--index=milvus needs --milvus_uri, such as http://localhost:19530")
        return MilvusIndex(milvus_uri, milvus_collection, milvus_token)
    if kind == "auto":
        large = size > EXACT_UP_TO and importlib.util.find_spec("faiss") is not None
        kind = "faiss" if large else "exact"
    if kind == "faiss":
        kind = "flat" if size <= FLAT_UP_TO else "ivf"
    if kind in FAISS_KINDS:
        from xgacmn_tf.search.faiss_index import make_faiss_index

        return make_faiss_index(kind, seed, threads)
    from xgacmn_tf.search.exact import ExactIndex

    return ExactIndex()


def load_index(
    folder: str | os.PathLike[str], *, threads: int | None = None, milvus_token: str | None = None
) -> Index:
    """The index that `Index.save` wrote to this folder.

    The file holds plain arrays. Nothing in it is executed, the sizes that it declares are bounded
    before memory is taken, and every number that an engine follows is checked. FAISS's own file
    format is not used, because its reader trusts what it reads.

    Args:
      folder: the folder.
      threads: as in `make_index`.
      milvus_token: as in `make_index`; it is never saved.

    Raises:
      InputError: the file is missing or damaged, or what its engine needs is missing.
    """
    from xgacmn_tf.search import stored

    arrays = stored.read(folder)
    kind = arrays.choice("kind", ("exact", *FAISS_KINDS, "milvus"))
    if kind == "milvus":
        from xgacmn_tf.search.milvus_index import MilvusIndex

        return MilvusIndex.from_arrays(arrays, milvus_token)
    index = make_index(kind, threads=threads)
    index.restore(arrays)  # type: ignore[attr-defined]
    return index
