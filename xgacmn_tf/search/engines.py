"""Which engine is taken: an empty one, or one that was saved."""

from __future__ import annotations

import importlib.util
import os

from xgacmn_tf.errors import InputError
from xgacmn_tf.search.index import COLLECTION, Index

FAISS_KINDS = ("flat", "ivf", "hnsw")
KINDS = ("auto", "exact", "faiss", *FAISS_KINDS, "milvus")
# Up to here exact search in TensorFlow answers a single query in some 10 ms on two CPU cores.
EXACT_UP_TO = 100_000
# FAISS of no given kind: up to here a scan takes under a millisecond, and lists gain little.
FLAT_UP_TO = 10_000


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
    is a flat scan up to 10,000 items and IVF above. HNSW is for asking by name: it took 2 to 15
    times as long to build as IVF, and with queries of the other modality it did not reach a
    recall@10 of .99 for inner products of codes (docs/speed.md). IVF reaches any recall, in the end
    by looking at all its lists, as it does for class posteriors.

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
