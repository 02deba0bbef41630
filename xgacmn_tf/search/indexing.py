"""What can be searched: a run's data set, a gallery file, a folder of images, a file of texts.

A source knows quickly whether it has changed, and gives its items' features when it is asked to.
Features of pictures and texts are kept a part at a time, so that a stop loses little, and found
again by key, so that what was read once is not read again.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from xgacmn_tf import gallery
from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.datasets.extraction.extract import title
from xgacmn_tf.datasets.extraction.extractor_files import content_hash
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor, file_hash
from xgacmn_tf.features.shards import Shard, make_shard
from xgacmn_tf.gallery import Gallery
from xgacmn_tf.groups import file_keys
from xgacmn_tf.io.files import read_json, write_json
from xgacmn_tf.names import OTHER
from xgacmn_tf.runs.trained import TrainedRun

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
# Items whose features are kept in one file.
PART = 128
PLURAL = {"image": "pictures", "text": "texts"}


class Source(abc.ABC):
    """Items that can be searched.

    Attributes:
      name: what messages and pages call it.
      place: the folder or file that it is; None for the run's own data set.
    """

    name: str
    place: Path | None

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Another one whenever the items are others. No picture and no features are read for it."""

    @abc.abstractmethod
    def load(self, run: TrainedRun, modality: str, keep: Path) -> tuple[Gallery, list[str]]:
        """The items with features of `modality`, and what is wrong with each that is left out.

        Args:
          run: whose features.
          modality: "image" or "text".
          keep: a folder that this source may keep things in until the next time.

        Raises:
          InputError: nothing in it can be used.
        """

    def holds(self, modality: str) -> bool:
        """Whether there are pictures ("image") or texts ("text"), as far as is quickly told."""
        return True

    def check(self, modality: str) -> None:
        """Raises an `InputError` if the source holds none of this modality."""
        if not self.holds(modality):
            other = OTHER[modality]
            ask = "words search" if modality == "image" else "--image searches"
            raise InputError(
                f"--gallery={self.place} holds {PLURAL[other]} only, and {ask} {PLURAL[modality]}; "
                f"name a gallery of {PLURAL[modality]}, or ask "
                f"{'with --image=PICTURE' if modality == 'image' else 'in words'}"
            )


class RunItems(Source):
    """The items of the data set that a run was trained on: images and texts.

    Args:
      run: the run.
      split: "all" or "test"; None for what `gallery.searched_split` chooses.

    Attributes:
      split: which items these are.
      note: why they are not all items although no split was given, or None.
    """

    def __init__(self, run: TrainedRun, split: str | None = None):
        config = run.folder.read_config()
        self.place = None
        self.split, self.note = run.searched_split() if split is None else (split, None)
        items = {gallery.ALL: "all items", gallery.TEST: "test split"}[self.split]
        self.name = f"{config['settings'].get('dataset')}, {items}"
        self._fingerprint = str(config["data_fingerprint"])

    def fingerprint(self) -> str:
        return self._fingerprint

    def load(self, run: TrainedRun, modality: str, keep: Path) -> tuple[Gallery, list[str]]:
        return run.gallery(self.split), []


class GalleryFile(Source):
    """An `.npz` file as `xgacmn_tf.gallery` describes it: features of pictures, texts or both."""

    def __init__(self, path: Path):
        self.name, self.place = readable(path.name), path
        self._path = path

    def fingerprint(self) -> str:
        return content_hash(self._path)

    def holds(self, modality: str) -> bool:
        try:
            with zipfile.ZipFile(self._path) as archive:
                names = archive.namelist()
        except (OSError, zipfile.BadZipFile):
            return True  # `load` says what is wrong with it.
        # Of a file without any features, `load` says which names it expects.
        return f"{modality}.npy" in names or not {"image.npy", "text.npy"} & set(names)

    def load(self, run: TrainedRun, modality: str, keep: Path) -> tuple[Gallery, list[str]]:
        return gallery.from_file(self._path, run.dims), []


@dataclasses.dataclass(frozen=True)
class RawItems(Source):
    """Pictures or texts that have no features yet.

    Attributes:
      modality: "image" or "text".
      item: picture files, or texts.
      id: unique. title: what a person reads. key: another one whenever the item's content is.
    """

    name: str
    place: Path
    modality: str
    item: Sequence[Path | str]
    id: Sequence[str]
    title: Sequence[str]
    key: Sequence[str]

    def fingerprint(self) -> str:
        content = json.dumps([*zip(self.id, self.key, strict=True)])
        return hashlib.sha256(content.encode()).hexdigest()

    def holds(self, modality: str) -> bool:
        return modality == self.modality

    def load(self, run: TrainedRun, modality: str, keep: Path) -> tuple[Gallery, list[str]]:
        extractor = run.extractor(modality)
        keys = self._content_keys()
        # Named after the extractor's content: another one's features are of no use.
        parts = FeatureParts(keep / file_hash(run.folder.extractors / modality)[:16])
        parts.extract(dataclasses.replace(self, key=keys), extractor)
        rows = [row for row, key in enumerate(keys) if key in parts.place]
        bad: list[str] = []
        first: dict[str, str] = {}
        for name, key in zip(self.id, keys, strict=True):
            if key in parts.bad:
                same_as = first.setdefault(key, name)
                again = f"{name}: the same file as {same_as}, which cannot be used"
                bad.append(parts.bad[key] if same_as == name else again)
        if not rows:
            raise InputError(
                f"--gallery={self.place}: none of its {len(self.item):,} {PLURAL[modality]} can be "
                f"used; the first: {bad[0]}"
            )
        feature, thumbnail = parts.gather([keys[row] for row in rows])
        ids, titles = (np.array([names[row] for row in rows]) for names in (self.id, self.title))
        return Gallery({modality: feature}, ids, titles, None, thumbnail), bad

    def _content_keys(self) -> list[str]:
        """`key`, but one key for all image files of the same content, which are read only once.

        Only files whose size occurs more than once are hashed.
        """
        if self.modality == "text":
            return [*self.key]
        # A file that is empty or cannot be read has a message of its own.
        paths = [path for path in map(Path, self.item) if _is_readable(path)]
        content = dict(zip(paths, file_keys(paths, only_equal_sizes=True), strict=True))
        found = [content.get(Path(path), "path:") for path in self.item]
        return [
            key if same.startswith("path:") else f"content|{same}"
            for same, key in zip(found, self.key, strict=True)
        ]


class FeatureParts:
    """Features on disk: `<hash>.npz`, a `Shard`, and `<hash>.json`, the keys of its items.

    Attributes:
      place: key → (part, row) of an item's features.
      bad: key → what is wrong with an item that has none.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.place: dict[str, tuple[int, int]] = {}
        self.bad: dict[str, str] = {}
        self._parts: list[Shard] = []
        for path in sorted(folder.glob("*.json")):
            try:
                keys = read_json(path)
                self._take(keys, Shard.load(path.with_suffix(".npz"), len(keys)))
            # A damaged file fails in a dozen ways; its items are read again.
            except Exception:  # noqa: S112
                continue

    def extract(self, items: RawItems, extractor: Extractor) -> None:
        """Extracts the features of those items that have none here yet, with a progress bar."""
        wanted: dict[str, Path | str] = {}
        for key, item in zip(items.key, items.item, strict=True):
            wanted.setdefault(key, item)
        missing = [key for key in wanted if key not in self.place and key not in self.bad]
        if not missing:
            return
        bar = tqdm(total=len(missing), desc=f"{PLURAL[items.modality]}: {extractor.name}")
        with bar, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(missing), PART):
                keys = missing[start : start + PART]
                made = make_shard(extractor, [wanted[k] for k in keys], "skip", pool, bar.update)
                path = self.folder / f"{hashlib.sha256(json.dumps(keys).encode()).hexdigest()}.npz"
                made.save(path)
                write_json(path.with_suffix(".json"), keys)  # With it, the part is whole.
                self._take(keys, made)

    def gather(self, keys: Iterable[str]) -> tuple[np.ndarray, tuple[bytes, ...] | None]:
        """(n, d) float32 features and, of pictures, n thumbnails of the items with these keys."""
        places = [self.place[key] for key in keys]
        feature = np.stack([self._parts[part].feature[row] for part, row in places])
        if not self._parts[places[0][0]].thumbnail:
            return feature, None
        return feature, tuple(self._parts[part].thumbnail[row] for part, row in places)

    def _take(self, keys: Sequence[str], shard: Shard) -> None:
        place = {keys[item]: (len(self._parts), row) for row, item in enumerate(shard.row.tolist())}
        left_out = [key for key in keys if key not in place]
        bad = dict(zip(left_out, map(str, shard.bad), strict=True))
        self._parts.append(shard)
        self.place |= place
        self.bad |= bad


def open_source(run: TrainedRun, given: str | None, split: str | None = None) -> Source:
    """Return what `--gallery` names; None stands for the items of the run's data set.

    Args:
      run: the run.
      given: a folder or file, or None.
      split: which items of the data set, see `RunItems`.

    Raises:
      InputError: there is no such thing, or nothing in it.
    """
    if given is None:
        return RunItems(run, split)
    path = Path(given)
    if path.is_dir():
        return pictures_in(path)
    if not path.is_file():
        raise InputError(f"--gallery={given}: there is no such file or folder")
    if path.suffix.lower() == ".npz":
        return GalleryFile(path)
    if path.suffix.lower() == ".txt":
        return texts_in(path)
    raise InputError(
        f"--gallery={given}: expected a folder of pictures, a .txt file with one text a line, or "
        "an .npz file with features"
    )


def pictures_in(folder: Path) -> RawItems:
    """All pictures in a folder and the folders in it, by name; hidden ones are passed over."""
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            Path(parent) / name
            for name in files
            if name.lower().endswith(PICTURES) and not name.startswith(".")
        ]
    if not paths:
        raise InputError(f"--gallery={folder}: no picture in it ({', '.join(PICTURES)})")
    paths.sort()
    names = [readable(path.relative_to(folder)) for path in paths]
    return RawItems(
        name=readable(folder.resolve().name or folder),
        place=folder,
        modality="image",
        item=paths,
        id=names,
        title=[Path(name).stem for name in names],
        key=[f"{name}|{_state(path)}" for name, path in zip(names, paths, strict=True)],
    )


def texts_in(path: Path) -> RawItems:
    """The lines of a UTF-8 file that are not blank, each called by file and line."""
    try:
        lines = enumerate(read_text(path).split("\n"), 1)
    except OSError as error:
        raise InputError(f"--gallery={path}: cannot be read ({error.strerror})") from error
    texts = [(f"{readable(path.name)}:{number}", line) for number, line in lines if line.strip()]
    if not texts:
        raise InputError(f"--gallery={path}: no text in it; expected one a line")
    ids, lines_of_text = zip(*texts, strict=True)
    return RawItems(
        name=readable(path.name),
        place=path,
        modality="text",
        item=lines_of_text,
        id=ids,
        title=[title(text) for text in lines_of_text],
        key=lines_of_text,
    )


def readable(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and written, "/" between folders; names stay apart."""
    name = path.as_posix() if isinstance(path, Path) else os.fspath(path)
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_readable(path: Path) -> bool:
    """Whether a file holds anything that can be read."""
    try:
        return path.stat().st_size > 0 and os.access(path, os.R_OK)
    except OSError:  # It has just vanished.
        return False


def _state(path: Path) -> str:
    """Size and time of a file's last change; of one that has just vanished, nothing."""
    try:
        found = path.stat()
        return f"{found.st_size}|{found.st_mtime_ns}"
    except OSError:
        return ""
