"""Lists of pairs and the training split of the Wikipedia distribution."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.errors import InputError

# Protocol 1300 draws so many training pairs of each category; all others test.
PER_CATEGORY = 130


class Listed(NamedTuple):
    """One line of a list; the label counts from 0."""

    text_id: str
    image_id: str
    label: int


def categories(path: Path) -> tuple[str, ...]:
    """Return the names in `categories.list`, one a line."""
    names = tuple(line.strip() for line in read_text(path).splitlines())
    if "" in names or not names:
        line = names.index("") + 1 if names else 1
        raise InputError(f"{path}, line {line}: empty; expected a category's name a line.")
    return names


def listed(path: Path, num_classes: int) -> list[Listed]:
    """Return the lines `text id, image id, category from 1` of a list, in their order."""
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split("\t")
        category = fields[-1].strip()
        # Ids become file names further on; a separator in one would lead out of the data set.
        sound = len(fields) == 3 and all(_is_file_name(field) for field in fields[:2])
        if not sound or not category.isdecimal():
            raise InputError(
                f"{path}, line {number}: found {line[:80]!r}; expected text id, image id and "
                "category number, separated by tabs."
            )
        if not 1 <= int(category[:9]) <= num_classes:
            raise InputError(
                f"{path}, line {number}: category {category[:20]}; expected 1 to {num_classes}, "
                "the lines of categories.list."
            )
        rows.append(Listed(fields[0], fields[1], int(category) - 1))
    return rows


def training_rows(labels: np.ndarray, names: tuple[str, ...], seed: int) -> np.ndarray:
    """Protocol 1300: (n,) bool, true at `PER_CATEGORY` random rows of each category.

    Args:
        labels: (n,) of all pairs, those of the training list first.
    """
    generator = np.random.default_rng(seed)
    in_training = np.zeros(len(labels), bool)
    for label, name in enumerate(names):
        rows = np.flatnonzero(labels == label)
        if len(rows) <= PER_CATEGORY:
            raise InputError(
                f"Wikipedia's category {name!r} has {len(rows)} pairs; protocol 1300 needs more "
                f"than {PER_CATEGORY} in each."
            )
        in_training[generator.choice(rows, PER_CATEGORY, replace=False)] = True
    return in_training


def _is_file_name(text: str) -> bool:
    return bool(text) and not set(text) & {"/", "\\", "\0"}
