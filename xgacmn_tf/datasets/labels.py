"""Labels of pairs: names of categories in tables, their numbers, and arrays of them."""

from collections.abc import Sequence

import numpy as np

from xgacmn_tf.datasets.tables import Table
from xgacmn_tf.errors import InputError

# The class of a pair, all of its classes, or None for a pair without one.
Label = int | tuple[int, ...] | None


def table_labels(table: Table, separator: str) -> tuple[tuple[str, ...], list[Label]]:
    """Return the names of the categories in a column `label`, sorted, and the label of each row.

    Labels are tuples if any row has several.

    Raises:
        InputError: naming the line with an empty name between separators; or if no row has a label.
    """
    listed = [_listed(table, row, separator) for row in range(len(table.rows))]
    names = tuple(sorted({label for of_row in listed for label in of_row}))
    if not names:
        raise InputError(
            f"{table.source}: no row has a label; fill the column 'label' with names of "
            "categories, or name another one with --columns=label=COLUMN"
        )
    return names, numbered_labels(listed, names)


def numbered_labels(listed: Sequence[Sequence[str]], names: Sequence[str]) -> list[Label]:
    """Return the labels of pairs, given by name, as positions in `names`."""
    number = {name: index for index, name in enumerate(names)}
    several = any(len(of_pair) > 1 for of_pair in listed)
    labels: list[Label] = []
    for of_pair in listed:
        numbers = tuple(sorted({number[name] for name in of_pair}))
        labels.append(None if not numbers else numbers if several else numbers[0])
    return labels


def label_array(labels: Sequence[Label], num_classes: int, multi_label: bool) -> np.ndarray:
    """Return (n,) int32, or (n, num_classes) uint8 multi-hot if pairs have several classes.

    A pair without a class has −1, or a row of zeros.
    """
    if not multi_label:
        return np.array([-1 if label is None else label for label in labels], np.int32)
    multi_hot = np.zeros((len(labels), num_classes), np.uint8)
    for row, label in enumerate(labels):
        multi_hot[row, list(label or ())] = 1  # type: ignore[arg-type]
    return multi_hot


def _listed(table: Table, row: int, separator: str) -> list[str]:
    """Return the labels of a row, none if its cell is empty."""
    cell = table.rows[row]["label"]
    labels = [label.strip() for label in cell.split(separator)] if cell else []
    if "" in labels:
        raise InputError(
            f"{table.line(row)}: the label is {cell[:40]!r}; expected a name, or names joined by "
            f"{separator}"
        )
    return labels
