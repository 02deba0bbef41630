"""Galleries that a search of a run names: their items, embeddings and indexes, with a cache.

    RUN/cache/features/<extractor>/   features by extractors that were learned, such as word counts
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
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf import gallery as galleries
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import MANIFEST, file_hash
from xgacmn_tf.gallery import ALL, TEST, Gallery
from xgacmn_tf.io.files import read_json, write_json
from xgacmn_tf.names import OTHER
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.engines import load_index, make_index, resolved_kind
from xgacmn_tf.search.index import Index
from xgacmn_tf.search.milvus_index import TOKEN
from xgacmn_tf.search.recall import tune
from xgacmn_tf.search.sources import SPLITS, read_sources, readable, summary

# Part of every name: another number where what is computed has changed.
FORMAT = 2
MAX_ENTRIES = 16
# Maximum number of values in the posteriors of a gallery, 4 GiB of float32; engines need two or
# three times as much.
MAX_VALUES = 2**30
FEATURES, GALLERIES, INDEXES = "features", "galleries", "indexes"
# Names of galleries and of indexes in the cache.
_ENTRY = re.compile(r"[0-9a-f]{64}\.npz|[a-z]+-[0-9a-f]{64}")
PLURAL = {"image": "images", "text": "texts"}

logger = logging.getLogger(__name__)


def open_cache(run: TrainedRun, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a run's cache, RUN/cache by default, after making its parts.

    Raises:
      InputError: the folder cannot be written, or RUN/cache has links.
    """
    path = run.folder.path / "cache" if folder is None else Path(folder)
    try:
        for part in (path / name for name in (FEATURES, GALLERIES, INDEXES)):
            # The cache of a run from elsewhere must not lead to folders to write and delete in.
            links = [entry for entry in (path, part, *part.glob("*")) if entry.is_symlink()]
            if folder is None and links:
                raise InputError(
                    f"{links[0]} is a link; delete it, or name a folder for the cache with "
                    "--cache_dir"
                )
            part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--cache_dir={path}: cannot be written ({error.strerror}); name a folder where you "
            "may create files"
        ) from error
    older = run.folder.path / "indexes"
    if folder is None and older.is_dir():
        logger.info(
            "%s: an older version wrote these indexes; the galleries are indexed again in %s, so "
            "you can delete that folder",
            older,
            path,
        )
    return path


class OpenGallery:
    """The items that searches look for.

    Args:
      run: the run.
      sources: see `sources`; none for the split that `TrainedRun.searched_split` names.
      cache_dir: folder of the cache; None for RUN/cache.

    Attributes:
      name: what pages call it.
      split: "all" if the items include those that the run was trained on, else "test".
      folder: the folder of the images, by id; None without one.

    Raises:
      InputError: a source or the cache cannot be used.
    """

    def __init__(
        self,
        run: TrainedRun,
        sources: Sequence[str] = (),
        cache_dir: str | os.PathLike[str] | None = None,
    ):
        self._run, self._cache = run, open_cache(run, cache_dir)
        if not sources:
            split, note = run.searched_split()
            sources = [split]
            if note is not None:
                logger.info("only the test split is searched: %s", note)
        self.split = TEST if set(sources).isdisjoint(SPLITS) or {*sources} == {TEST} else ALL
        self.folder = next((Path(one) for one in sources if Path(one).is_dir()), None)
        config = run.folder.read_config()
        dataset = config["settings"].get("dataset")
        names = {one: f"{dataset}, {one} split" for one in SPLITS} | {ALL: f"{dataset}, all items"}
        self.name = " and ".join(
            names.get(one) or readable(Path(one).resolve().name) for one in sources
        )
        self._sources = sources
        self._gallery: Gallery | None = None
        if {*sources} <= {*SPLITS}:  # The data set need not be loaded if all is in the cache.
            self._content = f"{config['data_fingerprint']} {','.join(sources)}"
        else:
            self._content = _gallery_hash(self._load())

    def _load(self) -> Gallery:
        if self._gallery is None:
            self._gallery, bad = read_sources(self._run, self._sources, self._cache / FEATURES)
            if bad:
                logger.info("%s", summary(bad))
        return self._gallery

    def embedded(self, modality: str, captions: bool = True) -> Gallery:
        """Return the distinct items of one modality; their features are embeddings (n, e).

        Args:
          modality: "image" or "text".
          captions: see `gallery.search_embeddings`.

        Raises:
          InputError: the gallery has nothing of this modality, or its embeddings are too large.
        """
        run, folder = self._run, self._cache / GALLERIES
        manifest = run.folder.extractors / modality / MANIFEST
        extractor = manifest.read_text() if manifest.is_file() else ""
        model = file_hash(run.folder.best), run.similarity, extractor
        path = folder / f"{_hash(FORMAT, *model, self._content, modality, captions)}.npz"
        if path.is_file():
            try:
                items = galleries.from_file(path, {})
            except InputError as error:
                logger.info("%s; indexing again", error)
            else:
                path.touch()
                return items
        gallery = self._load()
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
        _delete_old(folder)
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
        kind = resolved_kind(kind, len(items))
        if kind == "exact":  # Nothing takes time to build, and nothing can be missed.
            index = make_index(kind)
            index.index(embeddings, items.id, items.category)
            return index, "exactly"
        token = os.environ.get(TOKEN)
        content = _hash(_gallery_hash(items), str(milvus_uri))
        index = make_index(
            kind,
            len(items),
            milvus_uri=milvus_uri,
            # Named after the content: other galleries on the same server stay as they are.
            milvus_collection=f"xgacmn_{content[:16]}",
            milvus_token=token,
        )
        queries, source = self._queries(OTHER[modality], embeddings.shape[1])
        folder = self._cache / INDEXES / f"{index.kind}-{_hash(FORMAT, content, queries)}"
        record = folder / "recall.json"
        if record.is_file():
            try:
                loaded = load_index(folder, milvus_uri=milvus_uri, milvus_token=token)
                if len(loaded) == len(items):
                    folder.touch()
                    return loaded, f"by {loaded.kind}, {read_json(record)['recall']}"
            except (InputError, OSError, ValueError, KeyError, TypeError) as error:
                logger.info("%s: %s; building the index again", folder, error)
        index.index(embeddings, items.id, items.category)
        if len(queries):
            recall = str(tune(index, embeddings, queries, source=source))
        else:
            index.effort = max(index.efforts(), default=index.effort)
            recall = f"at the largest effort, recall not measured ({source})"
        # The record is deleted first and written last: where it stands, the index is the tuned one.
        record.unlink(missing_ok=True)
        index.save(folder)
        write_json(record, {"recall": recall})
        _delete_old(folder.parent)
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


def _gallery_hash(gallery: Gallery) -> str:
    return _hash(*(part for named in gallery.arrays().items() for part in named))


def _hash(*parts: Any) -> str:
    """Return SHA-256 (hex) of arrays and of values in JSON."""
    digest = hashlib.sha256()
    for part in parts:
        is_array = isinstance(part, np.ndarray)
        digest.update(json.dumps([str(part.dtype), part.shape] if is_array else part).encode())
        digest.update(part.tobytes() if is_array else b"\n")
    return digest.hexdigest()


def _delete_old(folder: Path) -> None:
    """Delete all but the entries that were used last; files of other names stay."""
    entries = [path for path in folder.iterdir() if _ENTRY.fullmatch(path.name)]
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
