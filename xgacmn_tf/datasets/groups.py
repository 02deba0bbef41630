"""Groups of pairs that share an image, so that no split divides them.

Several captions of one image are several pairs. Where such pairs are drawn into different splits, a
model is tested on images that it was trained on. Pairs belong to one group if they have the same
value of an explicit group, or else the same image. Identical texts do not form groups.
"""

import hashlib
from typing import Any

import numpy as np

# A larger group is no image with many captions but a sign of features that carry nothing, such as
# rows of zeros where extraction failed: as a group it would move whole splits.
LARGEST_SHARE = 0.05
# Five captions an image are the rule in caption data sets, of which a small sample is data too.
ALWAYS_ALLOWED = 5
_ROWS_AT_ONCE = 1024


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


def numbered(keys: Any) -> tuple[np.ndarray, int]:
    """Number groups by their first row; rows of a group that is too large stand alone.

    A group is too large if it holds more than `LARGEST_SHARE` of the rows and more than
    `ALWAYS_ALLOWED`.

    Args:
        keys: (n,) values that are equal within a group.

    Returns:
        (n,) int64, the first row of each row's group, and the number of rows in groups that are
        too large.
    """
    _, first, group, size = np.unique(
        np.asarray(keys), return_index=True, return_inverse=True, return_counts=True
    )
    too_large = (size > max(LARGEST_SHARE * len(group), ALWAYS_ALLOWED))[group]
    numbers = np.where(too_large, np.arange(len(group)), first[group])
    return numbers.astype(np.int64), int(too_large.sum())


def identical_rows(features: np.ndarray) -> np.ndarray:
    """Return the first row with the same content for each row, see `numbered`.

    Args:
        features: (n, d) real numbers.

    Returns:
        (n,) int64; row i is the first of its content where `result[i] == i`.
    """
    return numbered(content_keys(features))[0]
