"""Choice of a search engine by name or by the size of the gallery, and loading of saved indexes."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import read_json
from xgacmn_tf.search.index import COLLECTION, FORMAT, RECORD, Index
from xgacmn_tf.search.memory import MemoryIndex

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
    milvus_uri: str | None = None,
    milvus_collection: str = COLLECTION,
    milvus_token: str | None = None,
) -> Index:
    """Return an index; empty, except of "milvus", which has what its collection holds.

    "auto" is exact search up to 100,000 items and "faiss" above, where FAISS is installed. "faiss"
    is a flat scan up to 10,000 items and IVF above. HNSW is never chosen by size: it took
    2 to 15 times as long to build as IVF, and with queries of the other modality it did not reach a
    recall@10 of 0.99 for inner products of codes (docs/speed.md). IVF reaches any recall, in the
    end by looking at all its lists, as it does for class posteriors.

    Args:
      kind: one of `KINDS`.
      size: number of items that it will hold.
      seed: of what FAISS draws; the same seed gives the same index.
      milvus_uri: address of a Milvus server, or a local file PATH.db of Milvus Lite.
      milvus_collection: the gallery's name there.
      milvus_token: "user:password" or a key, where the server asks for one.

    Raises:
      InputError: there is no such kind, or what it needs is missing.
    """
    kind = resolved_kind(kind, size)
    if kind == "milvus":
        from xgacmn_tf.search.milvus_index import MilvusIndex

        if not milvus_uri:
            raise InputError("--index=milvus needs --milvus_uri, such as http://localhost:19530")
        return MilvusIndex(milvus_uri, milvus_collection, milvus_token)
    if kind in FAISS_KINDS:
        from xgacmn_tf.search.faiss_index import make_faiss_index

        return make_faiss_index(kind, seed)
    from xgacmn_tf.search.exact import ExactIndex

    return ExactIndex()


def resolved_kind(kind: str, size: int) -> str:
    """Return the engine that "auto" and "faiss" stand for with so many items; see `make_index`."""
    if kind not in KINDS:
        raise InputError(f"--index={kind}: expected one of {', '.join(KINDS)}")
    if kind == "auto":
        large = size > EXACT_UP_TO and importlib.util.find_spec("faiss") is not None
        kind = "faiss" if large else "exact"
    if kind == "faiss":
        kind = "flat" if size <= FLAT_UP_TO else "ivf"
    return kind


def load_index(
    folder: str | os.PathLike[str],
    *,
    milvus_uri: str | None = None,
    milvus_token: str | None = None,
) -> Index:
    """Return the index that `Index.save` wrote to a folder.

    Nothing in the files is executed. The file of the vectors is read only if it is the one that
    index.json was written for, see `faiss_index.FaissIndex`.

    Args:
      folder: the folder.
      milvus_uri: as in `make_index`. An index of Milvus is loaded only if it is on this server, so
        that a folder from elsewhere cannot direct the token to another address.
      milvus_token: likewise; it is never saved.

    Raises:
      InputError: a file is missing, damaged or of another version, or what its engine needs is
        missing.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        raise InputError(f"{folder} holds no index: there is no {path}; index the gallery again")
    try:
        record = read_json(path)
        kind, layout = str(record["kind"]), record["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged or no index; index the gallery again") from error
    if layout != FORMAT or kind not in ("exact", *FAISS_KINDS, "milvus"):
        raise InputError(f"{path} was written by another version; index the gallery again")
    if kind == "milvus":
        from xgacmn_tf.search.milvus_index import MilvusIndex

        if record.get("uri") != milvus_uri:
            raise InputError(
                f"{path} names the Milvus server {record.get('uri')}, and milvus_uri is "
                f"{milvus_uri}; give the address of the server that holds the index"
            )
        return MilvusIndex.of_record(record, milvus_token)
    index = make_index(kind)
    assert isinstance(index, MemoryIndex)
    index.restore(Path(folder), record)
    return index
