"""Checks of the arrays of a split, and their conversion to the final types."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError

_SHOWN = 5


def checked_features(values: Any, name: str) -> np.ndarray:
    """Return values in the type of `Split.image` and `Split.text`; errors call them `name`."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has dtype {array.dtype}; expected real numbers.")
    if array.ndim != 2 or array.shape[1] == 0:
        remedy = "; flatten each item: array.reshape(len(array), -1)" if array.ndim > 2 else ""
        raise InputError(f"{name} has shape {array.shape}; expected (pairs, features){remedy}")
    if len(array) == 0:
        raise InputError(f"{name} is empty; every split needs at least one pair.")
    with np.errstate(over="ignore"):  # too large for float32 turns infinite and is reported so
        array = array.astype(np.float32, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        mask = f", or set them to zero and has_{name.split()[-1]} to false"
        raise InputError(
            f"{name} holds {finite.size - int(finite.sum())} values that are not finite as "
            f"float32, the first at row {row}, column {column}; repair or drop these rows"
            f"{mask if name.endswith('_train') else ''}"
        )
    return array


def checked_labels(values: Any, num_classes: int, name: str, may_lack: bool = False) -> np.ndarray:
    """Return values in the type of `Split.label`; errors call them `name`.

    Args:
        values: (n,) whole numbers, or multi-hot rows (n, c).
        num_classes: c.
        name: of the array, in errors.
        may_lack: whether −1 or a row of zeros may stand for no category.

    Raises:
        InputError: the values are no labels of `num_classes` classes.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{name} has dtype {array.dtype}; expected integers, the positions of classes in the "
            "label names"
        )
    check_labels_given(array, name)
    if array.ndim not in (1, 2):
        raise InputError(
            f"{name} has shape {array.shape}; expected (pairs,) or multi-hot (pairs, classes)."
        )
    # MATLAB saves doubles, in which a fraction or NaN is not a label. Ranges are tested before the
    # cast, which would wrap large numbers around.
    if array.ndim == 1:
        lowest = -1 if may_lack else 0
        bad = ~((array >= lowest) & (array < num_classes) & (array == np.floor(array)))
        if bad.any():
            row = int(np.argmax(bad))
            if array[row] == -1:
                raise InputError(_without_category(int((array == -1).sum()), row, name))
            raise InputError(
                f"{name} holds {array[row]} at row {row}; expected whole numbers from 0 to "
                f"{num_classes - 1}, one for each of the {num_classes} label names."
            )
        return array.astype(np.int32, copy=False)
    if array.shape[1] != num_classes:
        raise InputError(
            f"{name} has {array.shape[1]} columns; expected one for each of the {num_classes} "
            "label names."
        )
    bad = (array != 0) & (array != 1)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{name} holds {array[row, column]} at row {row}, column {column}; multi-hot labels "
            "are 0 or 1."
        )
    bare = ~has_category(array)
    if bare.any() and not may_lack:
        raise InputError(_without_category(int(bare.sum()), int(np.argmax(bare)), name))
    return array.astype(np.uint8, copy=False)


def _without_category(count: int, row: int, name: str) -> str:
    return (
        f"{name} has no label in row {row} (and {count - 1:,} other rows); every pair needs at "
        "least one, except in the training split: label them, or move them there"
    )


def has_category(label: np.ndarray) -> np.ndarray:
    """Return (n,) bool, whether each pair has a category; labels as of `Split.label`."""
    return np.asarray(label >= 0 if label.ndim == 1 else label.any(axis=1))


def checked_presence(
    values: Any, features: np.ndarray, name: str, may_lack: bool
) -> np.ndarray | None:
    """Return values in the type of `Split.has_image`; None if all are true.

    Args:
        values: (n,) booleans, or zeros and ones.
        features: (n, d) of the modality.
        name: of the array, in errors.
        may_lack: whether items may be missing.

    Raises:
        InputError: the values are no booleans, an item is missing where none may be, or a missing
            item has features other than zeros.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.shape != (len(features),):
        raise InputError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected a boolean for each "
            f"of {len(features)} pairs"
        )
    if not np.isin(array, (0, 1)).all():
        raise InputError(f"{name} holds values other than 0 and 1; expected booleans")
    missing = array == 0
    if not missing.any():
        return None
    row = int(np.argmax(missing))
    if not may_lack:
        raise InputError(
            f"{name} is false in row {row} (and {int(missing.sum()) - 1:,} other rows); pairs "
            "without an image or a text are allowed only in the training split"
        )
    filled = missing & features.any(axis=1)
    if filled.any():
        raise InputError(
            f"{name} is false in row {int(np.argmax(filled))}, which has features; set them to "
            "zero, or the value to true"
        )
    return ~missing


def check_labels_given(label: np.ndarray, name: str) -> None:
    """Reject NaN among labels.

    Raises:
        InputError: naming their rows; errors call the array `name`.
    """
    if label.dtype.kind != "f":
        return
    missing = np.isnan(label)
    rows = np.flatnonzero(missing.any(axis=1) if missing.ndim == 2 else missing.ravel())
    if len(rows):
        shown = ", ".join(map(str, rows[:_SHOWN]))
        more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
        raise InputError(
            f"{name}: {len(rows):,} of {len(label):,} pairs have no label (NaN), in row"
            f"{'s'[: len(rows) > 1]} {shown}{more} counted from 0; remove these rows from images, "
            "texts and labels, or label them; the label −1 marks training pairs without a category"
        )


def check_orientation(
    features: Mapping[str, np.ndarray], label_name: str, label: np.ndarray, source: str
) -> None:
    """Reject arrays whose rows and columns are swapped.

    Args:
        features: arrays by name, (n, d) where they are right.
        label_name: the name of `label` in errors.
        label: (n,), or multi-hot (n, c), which may be swapped, too.
        source: the name of the data in errors.

    Raises:
        InputError: if some feature arrays have as many columns as there are labels, and all others
            as many rows.
    """
    matrices = {name: array for name, array in features.items() if array.ndim == 2}
    # If everything is swapped, multi-hot labels have a column for each pair, too.
    for pairs, swapped in ((len(label), []), (label.shape[-1], [label_name][: label.ndim - 1])):
        wrong = [name for name, array in matrices.items() if len(array) != pairs]
        if wrong and all(matrices[name].shape[1] == pairs for name in wrong):
            remedy = ", ".join(f"{name}.T" for name in [*wrong, *swapped])
            raise InputError(
                f"{source}: {wrong[0]} has {len(matrices[wrong[0]])} rows and {pairs} columns, and "
                f"{label_name} has {pairs} labels, so rows and columns are swapped; save {remedy}, "
                "and likewise in other splits, with a row for each pair"
            )
        if not wrong:
            return


def strings(values: Any, name: str) -> np.ndarray:
    """Return (n,) str from str, UTF-8 bytes or integers; errors call the values `name`."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name} has shape {array.shape}; expected one string a pair, (pairs,).")
    if array.dtype.kind == "S":
        try:
            return np.array([value.decode() for value in array.tolist()], dtype=str)
        except UnicodeDecodeError as error:
            raise InputError(f"{name} is not valid UTF-8: {error}.") from None
    if array.dtype.kind in "iu" or all(isinstance(value, str) for value in array.tolist()):
        return array.astype(str)
    raise InputError(f"{name} has dtype {array.dtype}; expected strings or integers.")
