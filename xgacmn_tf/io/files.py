"""Atomic writing of files, deletion of stale partial files, and reading of JSON."""

import contextlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DAY = 24 * 60 * 60


def temporary_for(target: Path) -> Path:
    """Return the hidden path beside `target` that this process writes to before renaming it."""
    # The suffix is unchanged, because NumPy and Keras choose the format by it.
    writer = f"{socket.gethostname()}-{os.getpid()}"
    return target.with_name(f".{target.stem}.{writer}.partial{target.suffix}")


def delete_stale(folder: Path) -> None:
    """Delete the stale partial files and folders (see `temporary_for`) below `folder`.

    Those of this machine are stale once their process has ended. Those of other machines on a
    shared disk are stale once they are a day old.
    """
    own = re.compile(rf"\.{re.escape(socket.gethostname())}-(\d{{1,9}})\.partial")
    for path in list(folder.rglob(".*.partial*")):
        with contextlib.suppress(OSError):  # It was renamed meanwhile, or belongs to another user.
            match = own.search(path.name)
            if match:
                is_stale = not _is_alive(int(match[1]))
            else:
                is_stale = time.time() - path.lstat().st_mtime > DAY
            if is_stale and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif is_stale:
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # The process belongs to another user.
        return True
    return True


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to, and rename it to `path` once the block ends without an error.

    The temporary file is in the same folder, because a rename is atomic only within one file
    system. It is flushed to the disk before the rename, so that after a power failure `path` is
    either the old file or the new one. On an error the temporary file is deleted and `path` is
    unchanged.
    """
    target = Path(path)
    temporary = temporary_for(target)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that is renamed to `target` once the block ends without an error.

    Its files are flushed to the disk before the rename. On an error the folder is deleted.

    Raises:
        OSError: the folder cannot be written, or `target` exists and is not empty.
    """
    temporary = temporary_for(target)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the value in a JSON file.

    Raises:
        ValueError: if the file is damaged in any way.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity raise `ValueError`."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
