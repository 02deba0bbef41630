"""Reading of gallery files.

A gallery file is an `.npz` with any of `image` (n, d_v) and `text` (n, d_t), `id` (n,) and
optionally `title` (n,), `category` (n,), `fine_label` (n,), `has_image` and `has_text` (n,) bool,
and encoded images one after the other in `thumbnail` (bytes,) uint8 with `thumbnail_offset`
(n + 1,). Row i of every array is the same item.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.gallery.items import HAS, Gallery
from xgacmn_tf.io import array_files
from xgacmn_tf.names import MODALITIES

THUMBNAILS = ("thumbnail", "thumbnail_offset")
ALLOWED = (*MODALITIES, "id", "title", "category", "fine_label", *HAS, *THUMBNAILS)


def from_file(path: str | os.PathLike[str], dims: Mapping[str, int]) -> Gallery:
    """Return the gallery in an `.npz` file.

    Args:
      path: the file; nothing in it is executed, and the sizes that it declares are bounded.
      dims: the number of features that the encoder of each modality takes; of a modality that is
        not named any number is taken.

    Raises:
      InputError: the file cannot be read, or its arrays do not fit each other or the encoders.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise InputError(
            f"gallery {path}: expected a gallery file (.npz); write one with `xgacmn gallery "
            f"--run=RUN {path} -o items.npz`"
        )
    arrays = array_files.read(path, lambda names: _check_names(path, names))
    given_ids = arrays["id"]
    rows = len(given_ids) if given_ids.ndim else 0
    if given_ids.ndim != 1 or given_ids.dtype.kind not in "Uiu" or not rows:
        raise _unexpected(path, "id", given_ids, "one string or whole number an item, at least one")
    ids = given_ids.astype(str)
    _check_unique(path, ids)
    if "" in ids:
        raise InputError(f"gallery {path}: the id of row {ids.tolist().index('')} is empty")
    strings = {"id": ids, "title": arrays.get("title", ids)}
    strings |= {name: arrays[name] for name in ("category", "fine_label") if name in arrays}
    for name, values in strings.items():
        _check_strings(path, name, values, rows)
    features = {
        modality: _checked(path, modality, arrays[modality], (rows, dims.get(modality)))
        for modality in MODALITIES
        if modality in arrays
    }
    return Gallery(
        features,
        ids,
        strings["title"],
        strings.get("category"),
        _thumbnails(path, arrays, rows),
        strings.get("fine_label"),
        *(_has(path, name, arrays, rows) for name in HAS),
    )


def _unexpected(path: Path, name: str, values: np.ndarray, expected: str) -> InputError:
    return InputError(
        f"gallery {path}: {name} has shape {values.shape} and dtype {values.dtype}; expected "
        f"{expected}"
    )


def _check_names(path: Path, names: Collection[str]) -> None:
    fits = "id" in names and any(name in names for name in MODALITIES) and set(names) <= {*ALLOWED}
    if not fits:
        of_data_set = any(f"{modality}_test" in names for modality in MODALITIES)
        remedy = (
            "; this is the feature file of a data set, so write a new file with the items to "
            "search, such as image_test as image, text_test as text, and an id for each row"
        )
        raise InputError(
            f"gallery {path} holds {', '.join(sorted(names)) or 'nothing'}; expected id, image or "
            "text features or both, and title, category and thumbnails if there are any: "
            f"{', '.join(ALLOWED)}{remedy if of_data_set else ''}"
        )


def _check_unique(path: Path, ids: np.ndarray) -> None:
    """Raise an `InputError` if an id occurs twice."""
    unique, count = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        twice = unique[count.argmax()]
        first, second = np.flatnonzero(ids == twice)[:2]
        raise InputError(
            f"gallery {path}: rows {first} and {second} both have the id {str(twice)!r}; give "
            "every row an id of its own"
        )


def _check_strings(path: Path, name: str, values: np.ndarray, rows: int) -> None:
    if values.shape != (rows,) or values.dtype.kind != "U":
        raise _unexpected(path, name, values, f"{rows} strings, one for each id")
    try:
        np.char.encode(values, "utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"gallery {path}: {name} is not valid Unicode: {error}") from None


def _checked(
    path: Path, name: str, values: np.ndarray, expected: tuple[int, int | None]
) -> np.ndarray:
    rows, dim = expected
    shape = (rows, values.shape[-1] if dim is None and values.ndim == 2 else dim)
    if values.shape != shape or values.dtype.kind not in "fiub":
        wanted = f"numbers of shape {shape}: a row for each id, of the features this run was"
        raise _unexpected(path, name, values, f"{wanted} trained on")
    # A double beyond float32's range becomes infinite here, and is refused below.
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise InputError(
            f"gallery {path}: {name} holds {bad} values that are NaN, infinite or beyond float32"
        )
    return values


def _has(path: Path, name: str, arrays: Mapping[str, np.ndarray], rows: int) -> np.ndarray | None:
    has = arrays.get(name)
    if has is not None and (has.shape != (rows,) or has.dtype != bool):
        raise _unexpected(path, name, has, f"{rows} booleans, one for each id")
    return has


def _thumbnails(
    path: Path, arrays: Mapping[str, np.ndarray], rows: int
) -> tuple[bytes, ...] | None:
    present = [name for name in THUMBNAILS if name in arrays]
    if not present:
        return None
    data, offset = (arrays.get(name, np.zeros(0)) for name in THUMBNAILS)
    fits = (
        data.dtype == np.uint8
        and data.ndim == 1
        and offset.shape == (rows + 1,)
        and offset.dtype.kind in "iu"
        and offset[0] == 0
        and offset[-1] == len(data)
        and bool((offset[1:] >= offset[:-1]).all())
    )
    if not fits:
        raise InputError(
            f"gallery {path}: {' and '.join(present)} do not fit; expected `thumbnail`, all "
            f"thumbnails' bytes as uint8, and `thumbnail_offset`, {rows + 1} whole numbers that "
            "rise from 0 to their count"
        )
    joined = data.tobytes()
    return tuple(joined[int(a) : int(b)] for a, b in zip(offset[:-1], offset[1:], strict=True))
