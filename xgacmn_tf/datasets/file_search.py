"""Search of files below a folder and in zip archives, whose members are unpacked if needed."""

import contextlib
import filecmp
import hashlib
import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import temporary_for

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# Folders that hold only images, in which features and lists are not searched.
_IMAGE_FOLDERS = ("flickr", "images")
# NUS-WIDE/NUS_WID_Low_Level_Features/Low_Level_Features/Normalized_CH.dat in a parent is 4 deep.
_MAX_DEPTH = 6
_MAX_ENTRIES = 1_000_000
_MAX_MEMBER_BYTES = 16 * 2**30
# NotImplementedError, for unknown compression, and encrypted members are RuntimeErrors.
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file in a zip archive.

    Attributes:
        opened: the archive.
        info: the member's name, size and checksum.
    """

    opened: zipfile.ZipFile
    info: zipfile.ZipInfo

    @property
    def archive(self) -> Path:
        """The path of the archive."""
        return Path(self.opened.filename or "")

    def __str__(self) -> str:
        return f"{self.archive}/{self.info.filename}"

    def unpacked(self, cache_dir: Path) -> Path:
        """Return the path of an unpacked copy in the cache folder.

        Readers that seek and image libraries that open paths need a copy on the disk. It is
        unpacked only once. The archive's size and time are part of its path.

        Raises:
            InputError: if the member leads out of the folder, is too large or is damaged.
        """
        archive, info = self.archive, self.info
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        if (
            not parts
            or parts[0] == "/"
            or ".." in parts
            or ":" in parts[0]
            or "\0" in "".join(parts)
        ):
            raise InputError(
                f"{archive}: the member {info.filename[:80]!r} leads out of the folder that it is "
                "unpacked to, so the archive is not what its name says; fetch it again"
            )
        state = archive.stat()
        key = f"{archive.resolve()}\0{state.st_size}\0{state.st_mtime_ns}".encode()
        root = cache_dir / "unpacked" / f"{archive.stem}-{hashlib.sha256(key).hexdigest()[:16]}"
        target = root.joinpath(*parts)
        if target.is_file() and target.stat().st_size == info.file_size:
            return target
        root.mkdir(parents=True, exist_ok=True)
        # `zipfile` never unpacks more than a member declares.
        largest = min(_MAX_MEMBER_BYTES, shutil.disk_usage(root).free)
        if info.file_size > largest:
            raise InputError(
                f"{self} declares {info.file_size:,} bytes; at most {largest:,} can be unpacked "
                f"to {root}; unpack it by hand, or name another cache_dir"
            )
        temporary = temporary_for(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.opened.open(info) as source, temporary.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
            # Not flushed, which would take minutes for thousands of images: a copy that a power
            # failure has truncated has another size and is unpacked again.
            os.replace(temporary, target)
        except _ARCHIVE_ERRORS as error:
            raise InputError(
                f"{self} cannot be unpacked to {root} ({error}); fetch the archive again, or "
                "unpack it by hand"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return target


# A path on the disk, or a member of an archive.
Place = str | Member


def is_image(path: str) -> bool:
    """Return whether a path has the suffix of an image."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def same_content(first: Place, second: Place) -> bool:
    """Return whether two files have the same content."""
    if isinstance(first, Member) and isinstance(second, Member):
        return (first.info.file_size, first.info.CRC) == (second.info.file_size, second.info.CRC)
    return filecmp.cmp(str(first), str(second), shallow=False)


def walk(folder: Path, images: bool) -> Iterator[str]:
    """Yield the files below a folder, the shallowest first, then in alphabetical order.

    Args:
        folder: a folder; a file is yielded itself.
        images: whether to yield images, too.
    """
    if folder.is_file():
        yield str(folder)
        return
    level, entries_left, visited = [str(folder)], _MAX_ENTRIES, set()
    for _ in range(_MAX_DEPTH):
        below = []
        for directory in level:
            try:
                entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
            except OSError:  # Other folders may hold all that is needed.
                continue
            entries_left -= len(entries)
            if entries_left < 0:
                return
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    if images or not is_image(entry.name):
                        yield entry.path
                elif images or entry.name.lower() not in _IMAGE_FOLDERS:
                    state = entry.stat()
                    if (state.st_dev, state.st_ino) not in visited:  # Links can form circles.
                        visited.add((state.st_dev, state.st_ino))
                        below.append(entry.path)
        level = below
