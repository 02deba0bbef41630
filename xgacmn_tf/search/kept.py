"""The folder of an indexed gallery, so that the next search need not read or encode it again.

    <index_dir>/image/        what words search; text/ is what pictures search
        index.json            what it was made of, and what was left out
        gallery.npz           embeddings, ids, titles, categories, thumbnails
        features/             features of pictures and texts, see `indexing.FeatureParts`
        engines/              indexes that take time to build, see `index`

index.json comes last: where it fits the run and the source, all that is beside it does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf import gallery as gallery_files
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import MANIFEST, file_hash
from xgacmn_tf.gallery import FEATURES, Gallery, search_embeddings
from xgacmn_tf.io.files import read_json, write_json
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.indexing import PLURAL, RunItems, Source

# Numbers in the posteriors of an index, 4 GiB of float32; engines need two or three times as much.
MAX_NUMBERS = 2**30


class KeptGallery:
    """One modality of a gallery as embeddings, kept in a folder.

    Args:
      index_dir: the folder; it is made if need be.
      run: whose encoders. source: what is indexed. modality: "image" or "text".
      say: receives what the user should read.
      captions: see `gallery.search_embeddings`.

    Attributes:
      items: the items, each distinct image once; `items.features[modality]` are the embeddings
        (n, e), whose inner products with those of queries rank.
      left_out: what is wrong with each picture that is not among them.
      engines: a folder for indexes of these very embeddings.
      made_by: another one for every run.

    Raises:
      InputError: the source has nothing of this modality, or the folder is another's or cannot be
        written.
    """

    def __init__(
        self,
        index_dir: Path,
        run: TrainedRun,
        source: Source,
        modality: str,
        say: Callable[[str], None] = print,
        captions: bool = True,
    ):
        self.modality, self.say, self.captions = modality, say, captions
        self.folder = index_dir / modality
        self.record, self._file = self.folder / "index.json", self.folder / "gallery.npz"
        self.engines = self.folder / "engines"
        _check_own(index_dir)
        self.made_by = _encoders(run, modality)
        wanted = {
            "encoders": self.made_by,
            "similarity": run.similarity,
            "source": source.name,
            "items": source.fingerprint(),
            # False in what older versions wrote: with every pair of an image.
            "each_image_once": modality == "image",
            # Missing in what older versions wrote, which compared queries with one modality alone.
            "captions": captions and run.similarity == "item",
            # Missing in what older versions wrote, whose embeddings have no caption features.
            "caption_features": captions and run.similarity == "item" and modality == "image",
        }
        self.left_out: list[str] = []
        items = self._stored(wanted)
        self.items = self._make(wanted, run, source) if items is None else items

    def _stored(self, wanted: dict[str, Any]) -> Gallery | None:
        """What the folder holds, if it is what is wanted; else says why not."""
        if not self.record.exists():
            return None
        try:
            missing = dict.fromkeys(("each_image_once", "captions", "caption_features"), False)
            record = missing | read_json(self.record)
            before = {name: record[name] for name in wanted}
            self.left_out = [str(reason) for reason in record["left_out"]]
        except (OSError, ValueError, KeyError, TypeError):
            before = {}
        if before == wanted:
            try:
                return gallery_files.from_file(self._file, {})
            except InputError:
                before = {}
        self.say(f"{self.folder}: {_difference(before, wanted)}; indexing anew")
        return None

    def _make(self, wanted: dict[str, Any], run: TrainedRun, source: Source) -> Gallery:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.record.unlink(missing_ok=True)
            shutil.rmtree(self.engines, ignore_errors=True)
            loaded, self.left_out = source.load(run, self.modality, self.folder / "features")
            _check_size(run, self.modality, loaded.features[self.modality])
            distinct, embeddings = search_embeddings(
                run.encoder, run.similarity, loaded, self.modality, self.captions
            )
            items = dataclasses.replace(distinct, features={self.modality: embeddings})
            items.write(self._file)
            write_json(self.record, wanted | {"left_out": self.left_out})
        except OSError as error:
            raise InputError(
                f"--index_dir={self.folder.parent}: cannot be written ({error.strerror}); name a "
                "folder where you may create files"
            ) from error
        repeated = len(loaded) - len(items)
        merged = f", {repeated:,} repeated ones merged," if repeated else ""
        self.say(f"indexed {len(items):,} {PLURAL[self.modality]}{merged} in {self.folder}")
        return items


def default_folder(run: TrainedRun, source: Source, captions: bool = True) -> Path:
    """RUN/indexes/<name of the gallery>, apart for galleries of one name in different places."""
    indexes = run.folder.path / "indexes"
    if isinstance(source, RunItems):
        return indexes / (source.split if captions else f"{source.split}-without-captions")
    assert source.place is not None
    place = hashlib.sha256(str(source.place.resolve()).encode("utf-8", "backslashreplace"))
    return indexes / f"{source.place.resolve().stem}-{place.hexdigest()[:8]}"


def _check_own(index_dir: Path) -> None:
    """Raises an `InputError` for a folder that holds something else: its files stay as they are."""
    if index_dir.exists() and not index_dir.is_dir():
        raise InputError(f"--index_dir={index_dir} is a file; name a folder")
    if index_dir.is_dir():
        found = {path.name for path in index_dir.iterdir()}
        if found and not found <= {*FEATURES}:
            raise InputError(
                f"--index_dir={index_dir}: the folder is not empty and holds no index "
                f"({sorted(found - {*FEATURES})[0]!r}); name a new folder"
            )


def _check_size(run: TrainedRun, modality: str, features: np.ndarray) -> None:
    """Raises an `InputError` for posteriors of so many categories that no index can hold them."""
    items, dim = len(features), run.represent(modality, features[:1]).shape[1]
    if run.similarity == "posterior" and items * dim > MAX_NUMBERS:
        raise InputError(
            f"--similarity=posterior: an index of {items:,} {PLURAL[modality]} with {dim:,} "
            f"categories takes {4 * items * dim / 2**30:.1f} GiB, and {4 * MAX_NUMBERS / 2**30:g} "
            "GiB is the limit; use --similarity=cosine, which does not depend on the number of "
            "categories"
        )


def _encoders(run: TrainedRun, modality: str) -> str:
    """A hash of what turns items into embeddings."""
    digest = hashlib.sha256(file_hash(run.folder.best).encode())
    manifest = run.folder.extractors / modality / MANIFEST
    digest.update(manifest.read_bytes() if manifest.is_file() else b"")
    return digest.hexdigest()


def _difference(before: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Why an index is of no use any more."""
    if not before:
        return "the index there cannot be read"
    if before["source"] != wanted["source"]:
        return f"the index there is of another gallery, {before['source']}"
    if before["encoders"] != wanted["encoders"]:
        return "the index there was made with another run"
    if before["similarity"] != wanted["similarity"]:
        return f"the index there is for {before['similarity']} similarity"
    if before["each_image_once"] != wanted["each_image_once"]:
        return "an older version indexed an image once for each of its texts"
    if before["captions"] != wanted["captions"]:
        return "the index there compares queries with " + (
            "images and captions" if before["captions"] else "one modality alone"
        )
    if before["caption_features"] != wanted["caption_features"]:
        return "an older version did not compare typed queries with captions by their features"
    return f"{wanted['source']} has changed since it was indexed"
