"""The cache of a run: features, embedded galleries and indexes, by content.

    RUN/cache/features/<extractor>/   features of images and texts, see `feature_store`
    RUN/cache/galleries/<hash>.npz    the items of one modality with their embeddings
    RUN/cache/indexes/<hash>/         indexes that take time to build, and their recall

A name is a hash of all that the content depends on, so that nothing in it is ever out of date. The
`MAX_ENTRIES` galleries and indexes that were used last are kept. The folder can be deleted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf import gallery as galleries
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import MANIFEST, file_hash
from xgacmn_tf.gallery import Gallery
from xgacmn_tf.io.files import read_json, write_json
from xgacmn_tf.names import OTHER
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.engines import load_index, make_index
from xgacmn_tf.search.index import Index
from xgacmn_tf.search.recall import tune

# Part of every name: another number where what is computed has changed.
FORMAT = 1
MAX_ENTRIES = 16
# Maximum number of values in the posteriors of a gallery, 4 GiB of float32; engines need two or
# three times as much.
MAX_VALUES = 2**30
# Not a flag: command lines are visible to other users of a machine.
TOKEN = "MILVUS_TOKEN"  # noqa: S105 - the name of a variable
PLURAL = {"image": "images", "text": "texts"}

logger = logging.getLogger(__name__)


class RunCache:
    """The cache of a run.

    Args:
      run: the run.
      folder: the folder of the cache; RUN/cache by default.

    Attributes:
      features: the folder of features.

    Raises:
      InputError: the folder cannot be written.
    """

    def __init__(self, run: TrainedRun, folder: str | os.PathLike[str] | None = None):
        self._run = run
        self.folder = run.folder.path / "cache" if folder is None else Path(folder)
        self.features = self.folder / "features"
        self._galleries, self._indexes = self.folder / "galleries", self.folder / "indexes"
        try:
            for part in (self.features, self._galleries, self._indexes):
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--cache_dir={self.folder}: cannot be written ({error.strerror}); name a folder "
                "where you may create files"
            ) from error
        older = run.folder.path / "indexes"
        if folder is None and older.is_dir():
            logger.info(
                "%s: an older version wrote these indexes; the galleries are indexed again in %s, "
                "so you can delete that folder",
                older,
                self.folder,
            )

    def embedded(
        self, content: str, load: Callable[[], Gallery], modality: str, captions: bool = True
    ) -> Gallery:
        """Return the distinct items of one modality; their features are embeddings (n, e).

        Args:
          content: a hash of the gallery, see `content_hash`.
          load: returns the gallery if it is not in the cache.
          modality: "image" or "text".
          captions: see `gallery.search_embeddings`.

        Raises:
          InputError: the gallery has nothing of this modality, or its embeddings are too large.
        """
        run = self._run
        manifest = run.folder.extractors / modality / MANIFEST
        path = self._galleries / "{}.npz".format(
            _hash(
                FORMAT,
                file_hash(run.folder.best),
                manifest.read_text() if manifest.is_file() else "",
                run.similarity,
                content,
                modality,
                captions,
            )
        )
        if path.is_file():
            try:
                items = galleries.from_file(path, {})
            except InputError as error:
                logger.info("%s; indexing again", error)
            else:
                path.touch()
                return items
        gallery = load()
        if modality not in gallery.features:
            raise InputError(
                f"the gallery holds {PLURAL[OTHER[modality]]} only, and "
                f"{'typed queries search images' if modality == 'image' else 'images search texts'}"
                f"; name a gallery of {PLURAL[modality]}, or ask with "
                f"{'an image' if modality == 'image' else 'words'}"
            )
        _check_size(run, modality, gallery.features[modality])
        distinct, embeddings = galleries.search_embeddings(
            run.encoder, run.similarity, gallery, modality, captions
        )
        items = dataclasses.replace(distinct, features={modality: embeddings})
        items.write(path)
        _delete_old(self._galleries)
        repeated = int(gallery.has(modality).sum()) - len(items)
        merged = f", {repeated:,} repeated ones merged" if repeated else ""
        logger.info("indexed %s %s%s", f"{len(items):,}", PLURAL[modality], merged)
        return items

    def engine(self, items: Gallery, kind: str, milvus_uri: str | None = None) -> tuple[Index, str]:
        """Return an index of embedded items, and a few words about how it searches.

        An index that takes time to build is tuned with queries of the other modality, those of the
        run's test split, and cached. Items of the gallery are no substitute: their recall says
        nothing of the other modality's.

        Args:
          items: as of `embedded`.
          kind: one of `engines.KINDS`.
          milvus_uri: address of the server, for "milvus".

        Raises:
          InputError: the engine or its requirements are missing.
        """
        ((modality, embeddings),) = items.features.items()
        token = os.environ.get(TOKEN)
        category = items.category
        content = _hash(content_hash(items), str(milvus_uri))
        index = make_index(
            kind,
            len(items),
            milvus_uri=milvus_uri,
            # Named after the content: other galleries on the same server stay as they are.
            milvus_collection=f"xgacmn_{content[:16]}",
            milvus_token=token,
        )
        if index.kind == "exact":  # Nothing takes time to build, and nothing can be missed.
            index.index(embeddings, items.id, category)
            return index, "exactly"
        queries, source = self._queries(OTHER[modality], embeddings.shape[1])
        folder = self._indexes / f"{index.kind}-{_hash(FORMAT, content, _bytes_hash(queries))}"
        record = folder / "recall.json"
        if record.is_file():
            try:
                loaded = load_index(folder, milvus_token=token)
                if len(loaded) == len(items):
                    folder.touch()
                    return loaded, f"by {loaded.kind}, {read_json(record)['recall']}"
            except (InputError, OSError, ValueError, KeyError, TypeError) as error:
                logger.info("%s: %s; building the index again", folder, error)
        index.index(embeddings, items.id, category)
        if len(queries):
            recall = str(tune(index, embeddings, queries, source=source))
        else:
            index.effort = max(index.efforts(), default=index.effort)
            recall = f"at the largest effort, recall not measured ({source})"
        # The record is deleted first and written last: where it stands, the index is the tuned one.
        record.unlink(missing_ok=True)
        index.save(folder)
        write_json(record, {"recall": recall})
        _delete_old(self._indexes)
        return index, f"by {index.kind}, {recall}"

    def _queries(self, modality: str, width: int) -> tuple[np.ndarray, str]:
        """Return (q, width) embeddings of queries and their origin, or the reason for q = 0."""
        try:
            queries = self._run.test_embeddings(modality, width)
        except InputError as error:
            return np.empty((0, width), np.float32), str(error)
        queries = queries[queries.any(axis=1)]  # The others find nothing.
        if not len(queries):
            return queries, "the test split has no queries"
        return queries, f"{modality} queries of the test split"


def content_hash(gallery: Gallery) -> str:
    """Return SHA-256 (hex) of all that a gallery holds."""
    parts: list[Any] = []
    for field in dataclasses.fields(gallery):
        value = getattr(gallery, field.name)
        if field.name == "features":
            value = {name: _bytes_hash(rows) for name, rows in value.items()}
        elif field.name == "thumbnail" and value is not None:
            value = [hashlib.sha256(image).hexdigest() for image in value]
        elif isinstance(value, np.ndarray):
            value = value.tolist()
        parts.append(value)
    return _hash(*parts)


def _bytes_hash(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _delete_old(folder: Path) -> None:
    """Delete all but the entries that were used last."""
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in sorted(entries, key=lambda path: path.stat().st_mtime)[:-MAX_ENTRIES]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _check_size(run: TrainedRun, modality: str, features: np.ndarray) -> None:
    """Raise an `InputError` for posteriors of so many categories that no index can hold them."""
    items, dim = len(features), run.represent(modality, features[:1]).shape[1]
    if run.similarity == "posterior" and items * dim > MAX_VALUES:
        raise InputError(
            f"--similarity=posterior: an index of {items:,} {PLURAL[modality]} with {dim:,} "
            f"categories takes {4 * items * dim / 2**30:.1f} GiB, and {4 * MAX_VALUES / 2**30:g} "
            "GiB is the limit; use --similarity=cosine, which does not depend on the number of "
            "categories"
        )
