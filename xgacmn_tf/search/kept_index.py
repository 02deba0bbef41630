"""The index of a kept gallery: built and measured once, loaded from then on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from xgacmn_tf.errors import InputError
from xgacmn_tf.files import read_json, write_json
from xgacmn_tf.search.engines import load_index, make_index
from xgacmn_tf.search.index import Index
from xgacmn_tf.search.kept import KeptGallery
from xgacmn_tf.search.recall import tune

# Not a flag: command lines are seen by other users of a machine.
TOKEN = "MILVUS_TOKEN"  # noqa: S105 - the name of a variable


def open_engine(
    kept: KeptGallery, kind: str, milvus_uri: str | None, say: Callable[[str], None] = print
) -> tuple[Index, str]:
    """An index of the gallery's embeddings and, in a few words, how it searches.

    Args:
      kept: the gallery.
      kind: one of `engines.KINDS`.
      milvus_uri: where the server is, for "milvus".
      say: receives what the user should read.

    Raises:
      InputError: the engine or what it needs is not there.
    """
    items, token = kept.items, os.environ.get(TOKEN)
    # Called after folder and encoders: other galleries on the same server stay as they are.
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
    measured = folder / "recall.json"
    if measured.exists():
        try:
            loaded = load_index(folder, milvus_token=token)
            recall = read_json(measured)["recall"]
            if len(loaded) == len(items):
                return loaded, f"by {loaded.kind}, {recall}"
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            say(f"{folder}: {error}; building the index anew")
    return index, f"by {index.kind}, {_build(index, kept, folder, measured)}"


def _build(index: Index, kept: KeptGallery, folder: Path, measured: Path) -> str:
    """Fills the index, tunes it to find nearly what exact search finds, and saves it."""
    items = kept.items
    embeddings = items.features[kept.modality]
    index.index(embeddings, items.id, items.category)
    recall = str(tune(index, embeddings, items.id))
    index.save(folder)
    write_json(measured, {"recall": recall})
    return recall
