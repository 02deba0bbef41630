"""Writing files so that a reader never meets half of one, and reading JSON that may be damaged."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path to write to; renames it to `path` once the block ends without an error.

    The temporary file stands in the same folder, because a rename is atomic only within one
    file system. It is flushed to the disk before the rename, so that a power cut leaves either
    the old file or the new one. On an error the temporary file is removed and `path` is as it was.
    """
    target = Path(path)
    # The suffix stays, because writers such as NumPy and Keras choose the format by it.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
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
