"""Feature files: `.npz`, `.mat`, `.h5` or `.hdf5` files with an array for each part of each split.

    image_train, text_train, label_train, image_test, text_test, label_test    always
    image_validation, text_validation, label_validation                        all three or none
    id_<split>, title_<split>, group_<split>, fine_label_<split>, label_names  where there are any
    has_image_train, has_text_train                        where training pairs lack an item

Features are (pairs, dimension), of any dimension. Labels are whole numbers from 0, one a pair, or
multi-hot rows (pairs, classes), or strings as in tables. In the training split −1 or a row of zeros
stands for no category. `has_image` and `has_text` are booleans; the features of a missing item are
zeros. Pairs of one group, strings or whole numbers, are never divided between splits; without
groups, pairs with identical image rows belong together.
"""

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.checks import check_labels_given, check_orientation, strings
from xgacmn_tf.datasets.columns import Columns, parse_columns
from xgacmn_tf.datasets.labels import label_array, numbered_labels
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_files
from xgacmn_tf.io.array_files import Shapes, shown

SPLITS = ("train", "validation", "test")
# Up to here, every whole number has an exact double.
_LARGEST_WHOLE = 2.0**53
REQUIRED = ("image", "text", "label")
OPTIONAL = ("id", "title", "group", "fine_label", "has_image", "has_text")
ALLOWED = (*(f"{field}_{part}" for part in SPLITS for field in REQUIRED + OPTIONAL), "label_names")


def load(path: Path, columns: Columns = ()) -> PairedDataset:
    """Read the data set in the file at `path`, named after the file.

    MATLAB's vectors (n, 1) and (1, n) count as (n,) for labels, ids, titles, groups and names.
    Pairs without ids get "train/0", "train/1", …; classes without names get "0", "1", ….

    Args:
        path: the suffix states the format.
        columns: names of arrays in the file for names of this package, see `parse_columns`. If
            there are any, arrays of other names are not read.

    Raises:
        InputError: if the file cannot be read safely (see `array_files.read`), lacks arrays, holds
            unknown ones, numbers its classes in another way than 0 … c − 1, or its data fail
            `paired.check`.
    """
    in_file = parse_columns(columns, ALLOWED)
    selected: dict[str, str] = {}

    def choose(shapes: Shapes) -> Collection[str]:
        selected.update(_selected(path, shapes, in_file))
        return selected.values()

    stored = array_files.read(path, choose)
    arrays = {name: stored[of] for name, of in selected.items()}
    parts = [part for part in SPLITS if f"image_{part}" in arrays]
    labels = {}
    for part in parts:
        rows = len(np.atleast_1d(arrays[f"image_{part}"]))
        labels[part] = _vector(arrays[f"label_{part}"], rows)
        check_orientation(
            {f"{field}_{part}": arrays[f"{field}_{part}"] for field in ("image", "text")},
            f"label_{part}",
            labels[part],
            str(path),
        )
        check_labels_given(labels[part], f"{path}: label_{part}")
    names = None
    if "label_names" in arrays:
        values = _strings(arrays["label_names"], arrays["label_names"].size)
        names = tuple(strings(values, f"{path}: label_names").tolist())
    labels, names = _numbered(labels, names, str(path))
    names = class_names(list(labels.values()), names, str(path))
    splits = {}
    for part in parts:
        image = arrays[f"image_{part}"]
        rows = len(np.atleast_1d(image))
        ids, title, group, fine, *has = (arrays.get(f"{field}_{part}") for field in OPTIONAL)
        has_image, has_text = (None if mask is None else _vector(mask, rows) for mask in has)
        splits[part] = Split(
            image=image,
            text=arrays[f"text_{part}"],
            label=labels[part],
            id=numbered_ids(part, rows) if ids is None else _strings(ids, rows),
            title=None if title is None else _strings(title, rows),
            group=None if group is None else _strings(group, rows),
            fine_label=None if fine is None else _strings(fine, rows),
            has_image=has_image,
            has_text=has_text,
        )
    return PairedDataset(
        path.stem, splits["train"], splits["test"], names, splits.get("validation"), str(path)
    )


def numbered_ids(part: str, rows: int) -> np.ndarray:
    """Return (rows,) str: "train/0", "train/1", … for pairs that come without ids."""
    return np.array([f"{part}/{row}" for row in range(rows)], dtype=str)


def class_names(
    labels: Sequence[np.ndarray], names: tuple[str, ...] | None, source: str
) -> tuple[str, ...]:
    """Return `names`, or "0", "1", … without names, after checking that labels count from 0.

    Args:
        labels: those of every split, (n,) or multi-hot (n, c).
        names: c names, or None.
        source: the name of the data in errors.

    Raises:
        InputError: if a label is missing (NaN), single labels count from 1, or have no names and
            are not 0 … c − 1; −1 is no category.
    """
    odd = [array.dtype for array in labels if array.dtype.kind not in "fiub"]
    if odd:
        raise InputError(f"{source}: labels have dtype {odd[0]}; expected whole numbers or strings")
    for array in labels:
        check_labels_given(array, f"{source}: labels")
    rows = [array for array in labels if array.ndim == 2]
    if rows:
        return tuple(map(str, range(rows[0].shape[1]))) if names is None else names
    values = np.unique(np.concatenate([array.ravel() for array in labels]))
    values = values[values != -1]  # Pairs without a category.
    if values.size == 0:
        raise InputError(f"{source}: there are no labels.")
    count = len(values) if names is None else len(names)
    from_one = values[0] == 1 and values[-1] == count
    if not from_one and (names is not None or np.array_equal(values, np.arange(count))):
        return names or tuple(map(str, range(count)))
    shown = ", ".join(f"{value:g}" for value in values[:8].astype(float))
    remedy = "renumber them (np.unique(labels, return_inverse=True)) or add label_names"
    raise InputError(
        f"{source}: the labels of all splits take {len(values)} values ({shown}"
        f"{', …' if len(values) > 8 else ''}); expected 0 to {count - 1} without gaps, so "
        f"{'subtract 1 from every label' if from_one else remedy}"
    )


def _numbered(
    labels: dict[str, np.ndarray], names: tuple[str, ...] | None, source: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Return string labels as numbers or multi-hot rows, and the class names, as in tables.

    As an empty cell of a table, an empty string is no category.
    """
    of_strings = [part for part, label in labels.items() if label.dtype.kind in "US"]
    if not of_strings:
        return labels, names
    if len(of_strings) < len(labels):
        other = next(part for part in labels if part not in of_strings)
        raise InputError(
            f"{source}: label_{of_strings[0]} holds strings, label_{other} has dtype "
            f"{labels[other].dtype}; give strings or numbers in every split"
        )
    listed = {
        part: [
            [name.strip() for name in value.split("|")] if value.strip() else []
            for value in strings(label, f"{source}: label_{part}").tolist()
        ]
        for part, label in labels.items()
    }
    present = {name for rows in listed.values() for row in rows for name in row}
    if names is None:
        names = tuple(sorted(present))
    unknown = sorted(present - set(names))
    if unknown:
        raise InputError(
            f"{source}: the label {unknown[0]!r} is not in label_names ({', '.join(names[:8])}"
            f"{', …' if len(names) > 8 else ''}); add it, or leave label_names out"
        )
    numbers = numbered_labels([*itertools.chain(*listed.values())], names)
    multi_label = any(isinstance(label, tuple) for label in numbers)
    remaining = iter(numbers)
    return {
        part: label_array([*itertools.islice(remaining, len(rows))], len(names), multi_label)
        for part, rows in listed.items()
    }, names


def _selected(path: Path, shapes: Shapes, in_file: dict[str, str]) -> dict[str, str]:
    """Return the name in the file for each array to read."""
    absent = sorted(of for of in in_file.values() if of not in shapes)
    if absent:
        raise InputError(
            f"{path} holds no {', '.join(absent)}, which --columns names; it holds {shown(shapes)}"
        )
    taken = set(in_file.values())
    selected = {name: name for name in ALLOWED if name in shapes and name not in taken} | in_file
    parts = [
        part
        for part in SPLITS
        if part != "validation" or any(name.endswith("_validation") for name in selected)
    ]
    needed = [f"{field}_{part}" for part in parts for field in REQUIRED]
    lacking = [name for name in needed if name not in selected]
    unknown = sorted(set(shapes) - set(selected.values()))
    if lacking:
        remedy = f"; name them with --columns={lacking[0]}=NAME_IN_THE_FILE,…" if unknown else ""
        raise InputError(f"{path} lacks {', '.join(lacking)}; it holds {shown(shapes)}{remedy}")
    if unknown and not in_file:
        raise InputError(
            f"{path} holds unknown arrays: {', '.join(unknown)}; allowed are {', '.join(ALLOWED)}; "
            "--columns=NAME=NAME_IN_THE_FILE,… reads the arrays that it names and ignores others"
        )
    return selected


def _vector(array: np.ndarray, rows: int) -> np.ndarray:
    """Return a column (k, 1) or row (1, k) as (k,); one multi-hot row of one pair stays a row."""
    if array.ndim == 2 and (array.shape[1] == 1 or (array.shape[0] == 1 and rows != 1)):
        return array.ravel()
    return array


def _strings(array: np.ndarray, rows: int) -> np.ndarray:
    array = _vector(array, rows)
    # MATLAB saves whole numbers as doubles; as ids they read 7, not 7.0.
    whole = array.dtype.kind == "f" and np.abs(array).max(initial=0) <= _LARGEST_WHOLE
    if whole and np.array_equal(array, np.rint(array)):
        return array.astype(np.int64)
    return array
