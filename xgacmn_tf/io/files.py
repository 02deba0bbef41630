"""Writing files so that a reader never meets half of one, and reading JSON that may be damaged."""

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
    """The hidden name beside `target` under which this process writes what becomes it."""
    # The suffix stays, because writers such as NumPy and Keras choose the format by it.
    writer = f"{socket.gethostname()}-{os.getpid()}"
    return target.with_name(f".{target.stem}.{writer}.partial{target.suffix}")


def sweep(folder: Path) -> None:
    """Removes what killed processes left of `temporary_for` anywhere below `folder`.

    Those of this machine go when their process is gone. What other machines write on a shared disk
    goes once it is a day old.
    """
    mine = re.compile(rf"\.{re.escape(socket.gethostname())}-(\d{{1,9}})\.partial")
    for path in list(folder.rglob(".*.partial*")):
        with contextlib.suppress(OSError):  # It has become whole meanwhile, or somebody else's.
            found = mine.search(path.name)
            if found:
                left = not _is_alive(int(found[1]))
            else:
                left = time.time() - path.lstat().st_mtime > DAY
            if left and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif left:
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # It is another user's.
        return True
    return True


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path to write to; renames it to `path` once the block ends without an error.

    The temporary file stands in the same folder, because a rename is atomic only within one
    file system. It is flushed to the disk before the rename, so that a power cut leaves either
    the old file or the new one. On an error the temporary file is removed and `path` is as it was.
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


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file; a damaged one of any kind raises `ValueError`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all. NaN and infinity are refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
