"""Version folders `<base>/<name>/<integer>/`, as TensorFlow Serving looks for them.

A server polls the folder and loads whatever has an integer for a name, so a version gets its name
only once it is whole.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import temporary_for

# TensorFlow Serving keeps versions as 64-bit integers.
LARGEST = 2**63 - 1


def versions(folder: Path) -> list[int]:
    """The versions under `<base>/<name>`, in ascending order; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if re.fullmatch("[0-9]+", p.name))


def check_name(name: str) -> None:
    """Raise an `InputError` unless `name` can name a model: it is a folder and part of a URL."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise InputError(
            f"--name={name}: a model's name begins with a letter or digit and has up to 100 "
            "letters, digits, '_', '-' and '.'"
        )


@contextlib.contextmanager
def new_version(folder: Path, version: int | None) -> Iterator[tuple[int, Path]]:
    """Yield a version's number and an empty folder, which becomes that version at the end.

    On an error the folder is removed, and after a power cut what is left has no integer for a
    name. An existing version is never touched.

    Args:
      folder: `<base>/<name>`, made where it lacks.
      version: the number; None for the one after the largest.

    Raises:
      InputError: the version exists or is out of range, or the folder cannot be written.
    """
    existing = versions(folder)
    following = existing[-1] + 1 if existing else 1
    number = following if version is None else version
    if version is not None and version in existing:
        raise InputError(
            f"--version={version}: {folder / str(version)} exists and is never overwritten; the "
            f"next free version is {following}, or leave the flag out"
        )
    if not 1 <= number <= LARGEST:
        raise InputError(f"--version={number}: expected 1 to {LARGEST}")
    temporary = temporary_for(folder / str(number))
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"--output: {folder} cannot be written ({error.strerror}); name a folder where you "
            "may create files"
        ) from error
    try:
        yield number, temporary
        _flush(temporary)
        try:
            # Fails where another process has just put the same version: a folder with files in it
            # is never replaced.
            temporary.rename(folder / str(number))
        except OSError as error:
            raise InputError(
                f"{folder / str(number)} cannot be made ({error.strerror}): another export took "
                "this version meanwhile; run the command again"
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Flush all files below a folder to the disk, so that the rename cannot overtake them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
