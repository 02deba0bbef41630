"""The index of a cached gallery: built, tuned and measured once, then loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import read_json, write_json
from xgacmn_tf.names import OTHER
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.engines import load_index, make_index
from xgacmn_tf.search.index import Index
from xgacmn_tf.search.kept import KeptGallery
from xgacmn_tf.search.recall import tune

# Not a flag: command lines are seen by other users of a machine.
TOKEN = "MILVUS_TOKEN"  # noqa: S105 - the name of a variable


def open_engine(
    kept: KeptGallery,
    run: TrainedRun,
    kind: str,
    milvus_uri: str | None,
    log: Callable[[str], None] = print,
) -> tuple[Index, str]:
    """Return an index of a gallery's embeddings, and a few words about how it searches.

    Args:
      kept: the gallery.
      run: the run whose encoders made the embeddings. Its test split gives the queries that the
        index is tuned and measured with.
      kind: one of `engines.KINDS`.
      milvus_uri: address of the server, for "milvus".
      log: prints a line for the user.

    Raises:
      InputError: the engine or what it needs is not there.
    """
    items, token = kept.items, os.environ.get(TOKEN)
    # Named after folder and encoders: other galleries on the same server stay as they are.
    name = os.fsencode(kept.folder.resolve()) + kept.made_by.encode()
    index = make_index(
        kind,
        len(items),
        milvus_uri=milvus_uri,
        milvus_collection=f"xgacmn_{hashlib.sha256(name).hexdigest()[:16]}",
        milvus_token=token,
    )
    if index.kind == "exact":  # Nothing is built, and nothing can be missed.
        index.index(items.features[kept.modality], items.id, items.category)
        return index, "exactly"
    server = hashlib.sha256((milvus_uri or "").encode()).hexdigest()[:8]
    folder = kept.engines / (f"milvus-{server}" if index.kind == "milvus" else index.kind)
    record = folder / "recall.json"
    if record.exists():
        try:
            loaded = load_index(folder, milvus_token=token)
            if len(loaded) == len(items):
                measured = read_json(record)
                # Empty where no queries could be read; "recall" tells that then.
                if measured.get("queries") not in (_queries_modality(kept), ""):
                    log(f"{folder}: its recall was not measured with {_source(kept)}; measuring it")
                    measured = {"recall": _tune(loaded, kept, run, folder, log)}
                return loaded, f"by {loaded.kind}, {measured['recall']}"
        except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log(f"{folder}: {error}; building the index again")
    index.index(items.features[kept.modality], items.id, items.category)
    return index, f"by {index.kind}, {_tune(index, kept, run, folder, log)}"


def _tune(
    index: Index, kept: KeptGallery, run: TrainedRun, folder: Path, log: Callable[[str], None]
) -> str:
    """Tune an index to find nearly what exact search finds, save it, and describe its recall."""
    embeddings = kept.items.features[kept.modality]
    asking, record = _queries_modality(kept), folder / "recall.json"
    queries, reason = np.empty((0, 0), np.float32), "the test split has no queries"
    try:
        queries = run.test_embeddings(asking, embeddings.shape[1])
        queries = queries[queries.any(axis=1)]  # Nothing is found for the others.
    except InputError as error:
        reason = str(error)
    if len(queries):
        recall = str(tune(index, embeddings, queries, source=_source(kept)))
    else:
        # Items of the gallery are no substitute: their recall is not that of the other modality.
        index.effort = max(index.efforts(), default=index.effort)
        asking, recall = "", f"at the largest effort, recall not measured ({reason})"
    # The record is deleted first and written last: where it stands, the index is the measured one.
    try:
        record.unlink(missing_ok=True)
        index.save(folder)
        write_json(record, {"recall": recall, "queries": asking})
    except OSError as error:
        log(f"{folder}: the index cannot be written ({error.strerror}); it is used from memory")
    return recall


def _queries_modality(kept: KeptGallery) -> str:
    """The modality that searches a gallery of the other one."""
    return OTHER[kept.modality]


def _source(kept: KeptGallery) -> str:
    return f"{_queries_modality(kept)} queries of the test split"
