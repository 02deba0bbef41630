"""Categories of items, as known or as predicted, with their class posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ShownCategory(NamedTuple):
    """The category that people see of an item or a query.

    Attributes:
      name: as known; where that is not known, the most probable class; "" without either.
      posterior: in [0, 1]; None where the class layer does not know the category.
      is_given: whether the name is as known.
    """

    name: str
    posterior: float | None
    is_given: bool


def shown_categories(
    posteriors: np.ndarray | None, label_names: Sequence[str] | None, categories: Sequence[str]
) -> list[ShownCategory]:
    """Return the categories of n items or queries.

    Args:
      posteriors: (n, c) class posteriors; None without any.
      label_names: c names of classes; None without any.
      categories: n names as known, several joined by ", "; "" where none is known.
    """
    given = [ShownCategory(name, None, bool(name)) for name in categories]
    if posteriors is None or label_names is None:
        return given
    values = categories_with_posteriors(posteriors, label_names, np.array(categories, str))
    rows = map(ShownCategory, *(each.tolist() for each in values))
    # A category that is no class is shown as it is.
    return [
        own if own.name and not row.is_given else row for own, row in zip(given, rows, strict=True)
    ]


def categories_with_posteriors(
    posteriors: np.ndarray, label_names: Sequence[str], category: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the category of each item with the probability that the class layer gives it.

    Args:
      posteriors: (n, c) class posteriors of the items, by the encoder of their own modality.
      label_names: c names of classes.
      category: (n,) categories as known, several joined by ", "; None where none is known.

    Returns:
      (n,) str, the category as known or, where it is not known or no class, the most probable
      class; (n,) float32 in [0, 1], its posterior, or the sum of those of several; and (n,) bool,
      whether it is the category as known.
    """
    names = np.array(label_names)
    best = posteriors.argmax(axis=1)
    shown, known = names[best].tolist(), np.zeros(len(best), bool)
    values = posteriors[np.arange(len(best)), best].astype(np.float32)
    number = {name: place for place, name in enumerate(label_names)}
    for row, text in enumerate([] if category is None else category.tolist()):
        parts = [text] if text in number else dict.fromkeys(text.split(", "))
        classes = [number[part] for part in parts if part in number]
        if classes:
            shown[row], known[row] = text, True
            values[row] = min(1.0, posteriors[row, classes].sum())
    return np.array(shown, str), values, known
