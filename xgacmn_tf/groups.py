"""Groups of pairs that share an image, and items that are identical.

Several captions of one image are several pairs. Where such pairs are drawn into different splits, a
model is tested on images that it was trained on. Pairs belong to one group if they have the same
explicit group or, where none is given, the same image. Identical texts do not form groups.
"""

import functools
import hashlib
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

# More rows of identical features are a sign of features that carry nothing, such as zeros where
# extraction failed, rather than of an image with many captions; as a group they would move splits.
LARGEST_SHARE = 0.05
# A small sample of a data set with several captions per image must pass.
ALWAYS_ALLOWED = 10
_ROWS_AT_ONCE = 1024
# Below, hashing takes about a second, and a progress bar would only flash.
_FILES_WITHOUT_BAR = 2_000


def content_keys(features: np.ndarray) -> np.ndarray:
    """Return a key of each row's content: rows with equal values have equal keys.

    Args:
        features: (n, d) real numbers.

    Returns:
        (n,) str of 24 hexadecimal digits.
    """
    keys = []
    for first in range(0, len(features), _ROWS_AT_ONCE):
        block = np.ascontiguousarray(features[first : first + _ROWS_AT_ONCE]) + 0.0  # −0 is 0.
        keys += [hashlib.blake2b(row.data, digest_size=12).hexdigest() for row in block]
    return np.array(keys, dtype="U24")


def first_rows(keys: Any) -> np.ndarray:
    """Return the first row of each row's group.

    Args:
        keys: (n,) values that are equal within a group.

    Returns:
        (n,) int64.
    """
    _, first, group = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    return first[group].astype(np.int64)


def too_large(groups: np.ndarray, rows: int | None = None) -> np.ndarray:
    """Tell which rows are in a group of identical features that is too large to be used.

    A group is too large if it holds more than `LARGEST_SHARE` of all rows and more than
    `ALWAYS_ALLOWED` of them.

    Args:
        groups: (n,) int64, as `first_rows` returns them.
        rows: the number of all rows, if `groups` covers only a part of a data set.

    Returns:
        (n,) bool.
    """
    size = np.bincount(groups, minlength=len(groups))[groups]
    limit = LARGEST_SHARE * (len(groups) if rows is None else rows)
    return np.asarray(size > max(limit, ALWAYS_ALLOWED))


def without_large(groups: np.ndarray) -> np.ndarray:
    """Return `groups`, (n,) int64, with every row of a group that is too large standing alone."""
    return np.where(too_large(groups), np.arange(len(groups)), groups)


def file_keys(paths: Sequence[Path]) -> list[str]:
    """Return a key of each file's content: files with equal bytes have equal keys.

    The key of a file that cannot be read is its path.

    Args:
        paths: files; paths may repeat. A file is read once per process, unless its size or
            modification time changes.
    """
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = tqdm(
            pool.map(_file_key, unique),
            desc="looking for identical images",
            total=len(unique),
            unit="file",
            disable=len(unique) < _FILES_WITHOUT_BAR,
        )
        keys = dict(zip(unique, digests, strict=True))
    return [keys[path] for path in paths]


def _file_key(path: Path) -> str:
    try:
        state = path.stat()
        if stat.S_ISREG(state.st_mode):  # Opening a named pipe would wait for a writer.
            return _digest(path, state.st_size, state.st_mtime_ns)
    except (OSError, ValueError):  # A path with a NUL is a ValueError.
        pass
    return f"path:{path}"


# Loading a data set asks for its groups and then for the features of the same files.
@functools.lru_cache(2**20)
def _digest(path: Path, size: int, modified: int) -> str:
    """Return the key of a file; `size` and `modified` identify its state."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]


def in_part(key: str, fraction: float, seed: int) -> bool:
    """Tell whether a group belongs to a random part, independently of all other groups.

    Args:
        key: of the group.
        fraction: expected share of the groups in the part.
        seed: draws the part.
    """
    digest = hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64
