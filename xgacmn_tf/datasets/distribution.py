"""Distributions of data sets: files found by name below a folder, whatever its layout."""

import logging
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from xgacmn_tf.datasets.file_search import Member, Place, is_image, same_content, walk
from xgacmn_tf.errors import InputError

_LOGGER = logging.getLogger(__name__)
PICKLE_SUFFIXES = (".pkl", ".pickle", ".p")
# Archives that Python's standard library cannot search without unpacking all of them.
_PACKED_SUFFIXES = (".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz")
_SHOWN = 5


@dataclass(frozen=True)
class Distribution:
    """The files of a data set as its authors distribute them.

    Attributes:
        name: the name of the data set for `datasets.load`.
        layout: the files and folders, in a sentence.
        origin: the source of the files, in a sentence.
    """

    name: str
    layout: str
    origin: str

    @property
    def instructions(self) -> str:
        """The text that TFDS shows if its manual folder is empty."""
        return f"{self.origin} {self.layout}"

    def open(
        self,
        data_dir: str | None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        images: bool = False,
    ) -> "Files":
        """Return the files below `data_dir`.

        Args:
            data_dir: a folder, or a zip archive.
            cache_dir: the folder below which members of zip archives are unpacked; None for
                `cache_folder()`.
            images: whether to search image folders, too.

        Raises:
            InputError: if `data_dir` is None or does not exist.
        """
        if data_dir is None:
            raise InputError(
                f"Data set {self.name!r} needs data_dir, the folder that holds its files. "
                f"{self.instructions}"
            )
        check_data_dir(data_dir)
        return Files(self, Path(data_dir), cache_folder(cache_dir), images)


class Files:
    """The files below a folder, found by name.

    Names are compared without regard to case. A member of a zip archive counts if no file has its
    name. Of identical copies, the one with the shallowest, then alphabetically first path is used.
    """

    def __init__(self, distribution: Distribution, folder: Path, cache_dir: Path, images: bool):
        self.distribution, self.folder = distribution, folder
        self._cache_dir = cache_dir
        self._paths = list(walk(folder, images))
        # A data set has few files beside hundreds of thousands of images.
        self._on_disk = _by(_key, (path for path in self._paths if not is_image(path)))
        self._used: set[str] = set()
        self._unreadable: list[str] = []

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name; folders in `name` are ignored."""
        return bool(self._candidates(name))

    def require(self, names: Sequence[str], note: str = "") -> None:
        """Raise the error of `missing` unless there are files of all these names."""
        missing = [name for name in names if not self.has(name)]
        if missing:
            raise self.missing(missing, note)

    def path(self, name: str) -> Path:
        """Return the path of the file of that name; folders in `name` are ignored.

        Raises:
            InputError: if there is none, or several with different contents.
        """
        candidates = self._candidates(name)
        if not candidates:
            raise self.missing([name])
        return self.resolve(candidates)

    def places(self, ending: str) -> list[Place]:
        """Return all files whose names end so, those in archives only if there are no others."""
        on_disk: list[Place] = [path for path in self._paths if path.lower().endswith(ending)]
        return on_disk or [p for p in self._members if str(p).lower().endswith(ending)]

    def resolve(self, candidates: Sequence[Place]) -> Path:
        """Return the path of the first of identical files.

        Raises:
            InputError: if their contents differ.
        """
        first = candidates[0]
        self._used.add(str(first))
        for other in candidates[1:]:
            if not same_content(first, other):
                raise InputError(
                    f"{first} and {other} have different contents, so it is ambiguous which one "
                    f"data set {self.distribution.name!r} should use; move one of them out of "
                    f"{self.folder}, or name the folder of only one as data_dir"
                )
        return first.unpacked(self._cache_dir) if isinstance(first, Member) else Path(first)

    def image(self, path: str, photo: str | None = None) -> Path | None:
        """Return the path of an image, or None if there is none.

        Args:
            path: where it lies in the documented layout. A file of this name with any image
                suffix is used; of several, the one in a folder of the same name.
            photo: an id. If no file has the name, one named by this id, or by anything that ends
                with "_" and this id, is used.

        Raises:
            InputError: if several such images have different contents.
        """
        stem, parent = PurePosixPath(path.lower()).stem, PurePosixPath(path.lower()).parent.name
        candidates = self._images.get(stem) or self._photos.get((photo or "").lower(), [])
        beside = [c for c in candidates if PurePosixPath(str(c).lower()).parent.name == parent]
        candidates = beside or candidates
        if not candidates:
            return None
        return self.resolve(candidates)

    def all_images(self, wanted: Sequence[tuple[str, str | None]]) -> list[Path | None]:
        """Return `image` for each of the arguments in `wanted`.

        Raises:
            InputError: if there is none of them.
        """
        paths = [self.image(path, photo) for path, photo in wanted]
        if wanted and not any(paths):
            path, photo = wanted[0]
            raise InputError(
                f"{self.folder}: 0 of {len(wanted):,} images found; expected {path}, or "
                f"{photo + '.jpg' if photo else PurePosixPath(path).name} in any folder below it. "
                f"{self.distribution.instructions}"
            )
        return paths

    def missing(self, names: Sequence[str], note: str = "") -> InputError:
        """Return the error for missing files; `note` adds alternatives to the message."""
        shown = ", ".join(names[:_SHOWN])
        if len(names) > _SHOWN:
            shown += f" and {len(names) - _SHOWN:,} more"
        suffixes = {path: PurePosixPath(path).suffix.lower() for path in self._paths}
        pickles = [path for path, suffix in suffixes.items() if suffix in PICKLE_SUFFIXES]
        packed = [path for path, suffix in suffixes.items() if suffix in _PACKED_SUFFIXES]
        parts = (
            f"Missing in {self.folder}: {shown}.",
            note,
            *self._unreadable[:1],
            f"Unpack {packed[0]}, as archives other than zip are not read." if packed else "",
            self.distribution.instructions,
            pickle_note(Path(pickles[0])) if pickles else "",
        )
        return InputError(" ".join(part for part in parts if part))

    def log(self) -> None:
        """Log the number of files that were used, by folder."""
        folders = Counter(
            os.path.dirname(os.path.relpath(path, self.folder)) for path in self._used
        )
        places = [f"{count:,} in {folder or '.'}" for folder, count in folders.most_common()]
        more = [f"others in {len(places) - _SHOWN:,} folders"] if len(places) > _SHOWN else []
        _LOGGER.info(
            "%s: files found in %s: %s",
            self.distribution.name,
            self.folder,
            ", ".join(places[:_SHOWN] + more),
        )

    def _candidates(self, name: str) -> Sequence[Place]:
        return self._on_disk.get(_key(name)) or self._archived.get(_key(name), [])

    @cached_property
    def _members(self) -> list[Place]:
        """The members of all zip archives, which are opened when a file is missing."""
        members: list[Place] = []
        for path in self._paths:
            if not path.lower().endswith(".zip"):
                continue
            archive = Path(path)
            try:
                opened = zipfile.ZipFile(archive)
            except (zipfile.BadZipFile, OSError, ValueError) as error:
                # It may hold nothing that is needed; the error for missing files names it.
                self._unreadable.append(f"{archive} cannot be read as a zip archive ({error}).")
                continue
            members += [Member(opened, info) for info in opened.infolist() if not info.is_dir()]
        # macOS adds "._name" to an archive for each name.
        return [member for member in members if not _key(str(member)).startswith(".")]

    @cached_property
    def _archived(self) -> dict[str, list[Place]]:
        return _by(_key, self._members)

    @cached_property
    def _image_places(self) -> list[Place]:
        """Images, those in archives only if there are no others."""
        on_disk: list[Place] = [path for path in self._paths if is_image(path)]
        return on_disk or [member for member in self._members if is_image(str(member))]

    @cached_property
    def _images(self) -> dict[str, list[Place]]:
        """Images by name without suffix."""
        return _by(_stem, self._image_places)

    @cached_property
    def _photos(self) -> dict[str, list[Place]]:
        """Images by photo id, which ends their names."""
        return _by(_photo, self._image_places)


def check_data_dir(data_dir: str) -> None:
    """Raise an `InputError` if `data_dir` does not exist."""
    path = Path(data_dir)
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() == ".zip"):
        problem = "it is a file" if path.exists() else "there is no such folder"
        raise InputError(
            f"--data_dir={data_dir}: {problem}; expected the folder with the data set's files"
        )


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the given folder, or else `xgacmn_tf` in the user's cache folder (XDG convention)."""
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xgacmn_tf"


def _key(path: str) -> str:
    return path.rsplit("/", 1)[-1].lower()


def _stem(path: str) -> str:
    return _key(path).rsplit(".", 1)[0]


def _photo(path: str) -> str:
    return _stem(path).rsplit("_", 1)[-1]


def _by(key: Callable[[str], str], places: Iterable[Place]) -> dict[str, list[Place]]:
    by_key: dict[str, list[Place]] = {}
    for place in places:
        by_key.setdefault(key(str(place)), []).append(place)
    return by_key


def pickle_note(path: Path) -> str:
    """Why a pickled release is not read, and how to turn it into a feature file."""
    return (
        f"{path} is a pickle, and reading a pickle can run any program hidden in it, so none is "
        "ever read here. Where you trust its source, convert it once: load its arrays with pickle "
        "(encoding='latin1' for those of Python 2), save them with np.savez('features.npz', "
        "image_train=…, text_train=…, label_train=…, image_test=…, text_test=…, label_test=…), "
        "labels from 0, and name that file as the data set."
    )


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        InputError: if it is not UTF-8, naming the line.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not UTF-8 text: line {line} holds the byte 0x{content[error.start]:02x}; "
            "save it as UTF-8."
        ) from None
