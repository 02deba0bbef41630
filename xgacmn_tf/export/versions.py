"""Version folders `<base>/<name>/<integer>/`, as TensorFlow Serving looks for them.

A server polls the folder and loads every folder with an integer for a name, so a version gets its
name only once it is complete.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_folder

# Name of the exported model, and so of its folder.
MODEL_NAME = "xgacmn"
EXPORT_AGAIN = "export the run again: xgacmn export --run=RUN --output=RUN/models"
# TensorFlow Serving keeps versions as 64-bit integers.
LARGEST = 2**63 - 1


def versions(folder: Path) -> list[int]:
    """Return the versions under `<base>/<name>`, in ascending order."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if re.fullmatch("[0-9]+", p.name))


def latest_version(run: str | Path) -> Path:
    """Return the folder of the highest version of the model in `RUN/models`.

    Raises:
      InputError: there is no such folder; or the run has no exported model, or several under
        other names than "xgacmn".
    """
    if not Path(run).is_dir():
        raise InputError(
            f"--run={run}: there is no such folder; name a run folder, as `xgacmn train` prints it"
        )
    models = Path(run) / "models"
    names = {p.name: versions(p) for p in models.glob("*") if p.is_dir() and versions(p)}
    if not names:
        raise InputError(f"--run={run}: there is no version in {models}; {EXPORT_AGAIN}")
    name = MODEL_NAME if MODEL_NAME in names else min(names)
    if name != MODEL_NAME and len(names) > 1:
        raise InputError(
            f"--run={run}: {models} holds {', '.join(sorted(names))}; expected one model"
        )
    return models / name / str(names[name][-1])


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

    On an error the folder is deleted, and a partial folder after a power failure has no integer
    for a name. An existing version is never changed.

    Args:
      folder: `<base>/<name>`, created if it does not exist.
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
    target = folder / str(number)
    try:
        with atomic_folder(target) as path:
            yield number, path
    except OSError as error:
        if target.exists():
            raise InputError(
                f"{target} cannot be written ({error.strerror}): another export took this version "
                "meanwhile; run the command again"
            ) from error
        raise InputError(
            f"--output: {folder} cannot be written ({error.strerror}); name a folder where you "
            "may create files"
        ) from error
