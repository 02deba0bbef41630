"""Selection of the items and fine labels that fine measures use."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from xgacmn_tf.datasets.paired import label_matrix


def fine_targets(
    fine_label: np.ndarray | None, label: np.ndarray, label_names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the items and the numbered fine labels that measures by fine labels are of.

    Args:
        fine_label, label, label_names: see `has_finer_label`; None without fine labels.

    Returns:
        Measure → (m,) int64 rows, and (m,) int32 numbers of their fine labels. "fine_mAP" is of all
        rows, "fine_mAP/finer" of those at `has_finer_label`, unless these are all or none.
    """
    if fine_label is None:
        return {}
    number = np.unique(fine_label, return_inverse=True)[1].astype(np.int32)
    targets = {"fine_mAP": (np.arange(len(number)), number)}
    finer = np.flatnonzero(has_finer_label(fine_label, label, label_names))
    if 0 < len(finer) < len(number):
        targets["fine_mAP/finer"] = (finer, number[finer])
    return targets


def has_finer_label(
    fine_label: np.ndarray, label: np.ndarray, label_names: Sequence[str]
) -> np.ndarray:
    """Return which items have a fine label that is finer than their category.

    A fine label does not if it is spelled like a category, apart from case and punctuation, or if
    its items are exactly those of one category. In a folder tree "animals", "animals/birds" and
    "animals/fish", the items that lie directly in "animals" are known to be animals and no more.

    Args:
        fine_label: (n,) str.
        label: (n,) integers or (n, c) multi-hot.
        label_names: c names.

    Returns:
        (n,) bool.
    """
    names, number = np.unique(fine_label, return_inverse=True)
    labels = label_matrix(label, len(label_names)).astype(np.int64)
    fine = label_matrix(number.astype(np.int32), len(names)).astype(np.int64)
    shared = (fine.T @ labels).tocoo()
    of_fine, of_category = fine.sum(axis=0), labels.sum(axis=0)
    fine_row, category = shared.coords
    equal = (shared.data == of_fine[fine_row]) & (shared.data == of_category[category])
    finer = np.ones(len(names), bool)
    finer[fine_row[equal]] = False
    categories = {plain_name(name) for name in label_names}
    finer &= [plain_name(name) not in categories for name in names.tolist()]
    return np.asarray(finer[number])


def plain_name(name: str) -> str:
    """Return a name in lower case, its words separated by one space, without punctuation."""
    return " ".join(re.findall(r"[^\W_]+", str(name).casefold()))
