"""Groups of pairs that share an image, and items that are identical.

Several captions of one image are several pairs. Where such pairs are drawn into different splits, a
model is tested on images that it was trained on. Pairs belong to one group if they have the same
explicit group or, where none is given, the same image. Identical texts do not form groups.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

# A larger group is no image with many captions but a sign of features that carry nothing, such as
# zeros where extraction failed, or of a placeholder image; as a group it would move whole splits.
LARGEST_SHARE = 0.05
# Several captions an image are the rule in caption data sets, of which a small sample is data too.
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


def number(keys: Any) -> np.ndarray:
    """Return the first row of each row's group.

    Args:
        keys: (n,) values that are equal within a group.

    Returns:
        (n,) int64.
    """
    _, first, group = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    return first[group].astype(np.int64)


def too_large(groups: np.ndarray) -> np.ndarray:
    """Tell which rows are in a group that is too large to be used.

    A group is too large if it holds more than `LARGEST_SHARE` of all rows and more than
    `ALWAYS_ALLOWED` of them.

    Args:
        groups: (n,) int64, as `number` returns them.

    Returns:
        (n,) bool.
    """
    size = np.bincount(groups, minlength=len(groups))[groups]
    return np.asarray(size > max(LARGEST_SHARE * len(groups), ALWAYS_ALLOWED))


def without_large(groups: np.ndarray) -> np.ndarray:
    """Return `groups`, (n,) int64, with every row of a group that is too large standing alone."""
    return np.where(too_large(groups), np.arange(len(groups)), groups)


def identical_rows(features: np.ndarray) -> np.ndarray:
    """Return the first row with the same content for each row; too many identical rows stand alone.

    Args:
        features: (n, d) real numbers.

    Returns:
        (n,) int64; row i is the first of its content where `result[i] == i`.
    """
    return without_large(number(content_keys(features)))


def file_keys(paths: Sequence[Path], only_equal_sizes: bool = False) -> list[str]:
    """Return a key of each file's content: files with equal bytes have equal keys.

    Args:
        paths: readable files; one path may stand there several times and is read once.
        only_equal_sizes: read those files alone whose size another one has; the keys of the others
            are their paths. Keys then tell the given files apart, and nothing else.

    Raises:
        OSError: a file cannot be read.
    """
    unique = list(dict.fromkeys(paths))
    keys = {path: f"path:{path}" for path in unique}
    if only_equal_sizes:
        size = {path: path.stat().st_size for path in unique}
        count = Counter(size.values())
        unique = [path for path in unique if count[size[path]] > 1]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = tqdm(
            pool.map(_file_key, unique),
            desc="looking for identical images",
            total=len(unique),
            unit="file",
            disable=len(unique) < _FILES_WITHOUT_BAR,
        )
        keys |= dict(zip(unique, digests, strict=True))
    return [keys[path] for path in paths]


def _file_key(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]


def in_part(key: str, fraction: float, seed: int) -> bool:
    """Tell whether a group belongs to a random part; no other group has an influence on it.

    Args:
        key: of the group.
        fraction: expected share of the groups in the part.
        seed: draws the part.
    """
    digest = hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64
