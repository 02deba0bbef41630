"""What an exported model searches: features of pictures, of texts or of both, with ids and titles.

A gallery file is an `.npz` with any of `image` (n, d_v) and `text` (n, d_t), `id` (n,) and, if
there is one, `title` (n,). Row i of every array is the same item.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets import array_files
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.errors import InputError

FEATURES = ("image", "text")
ALLOWED = (*FEATURES, "id", "title")


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """n items that can be found.

    Attributes:
      features: "image" → (n, d_v) and "text" → (n, d_t) float32, finite; at least one of them.
      id: (n,) str, unique.
      title: (n,) str, what a person reads; the id where nothing better is known.
    """

    features: Mapping[str, np.ndarray]
    id: np.ndarray
    title: np.ndarray

    def __len__(self) -> int:
        return len(self.id)


def from_split(split: Split) -> Gallery:
    """Both modalities of a split."""
    title = split.id if split.title is None else split.title
    return Gallery({"image": split.image, "text": split.text}, split.id, title)


def from_file(path: Path, dims: Mapping[str, int]) -> Gallery:
    """The gallery in the `.npz` file at `path`.

    Args:
      path: the file; nothing in it is executed, and the sizes that it declares are bounded.
      dims: the number of features that the encoder of each modality takes.

    Raises:
      InputError: the file cannot be read, or its arrays do not fit each other or the encoders.
    """
    if path.suffix.lower() != ".npz":
        raise InputError(f"gallery {path}: expected an .npz file with {', '.join(ALLOWED)}")
    arrays = array_files.read(path, lambda names: _check_names(path, names))
    found = arrays["id"]
    rows = len(found) if found.ndim else 0
    if found.ndim != 1 or found.dtype.kind not in "Uiu" or not rows:
        raise InputError(
            f"gallery {path}: id has shape {found.shape} and dtype {found.dtype}; expected one "
            "string or whole number an item, at least one"
        )
    ids = found.astype(str)
    unique, count = np.unique(ids, return_counts=True)
    if len(unique) < rows:
        twice = str(unique[count.argmax()])
        raise InputError(f"gallery {path}: id {twice!r} stands there twice; make the ids unique")
    title = arrays.get("title", ids)
    if title.shape != (rows,) or title.dtype.kind != "U":
        raise InputError(
            f"gallery {path}: title has shape {title.shape} and dtype {title.dtype}; expected "
            f"{rows} strings, one for each id"
        )
    for name, values in (("id", ids), ("title", title)):
        try:
            np.char.encode(values, "utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"gallery {path}: {name} is not valid Unicode: {error}") from None
    features = {
        modality: _checked(path, modality, arrays[modality], (rows, dims[modality]))
        for modality in FEATURES
        if modality in arrays
    }
    return Gallery(features, ids, title)


def _check_names(path: Path, names: Collection[str]) -> None:
    fits = "id" in names and any(name in names for name in FEATURES) and set(names) <= {*ALLOWED}
    if not fits:
        raise InputError(
            f"gallery {path} holds {', '.join(sorted(names)) or 'nothing'}; expected id, image or "
            "text features or both, and title if there is one"
        )


def _checked(path: Path, name: str, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if values.shape != shape or values.dtype.kind not in "fiub":
        raise InputError(
            f"gallery {path}: {name} has shape {values.shape} and dtype {values.dtype}; expected "
            f"numbers of shape {shape}: a row for each id, of the features this run was trained on"
        )
    # A double beyond float32's range becomes infinite here, and is refused below.
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise InputError(
            f"gallery {path}: {name} holds {bad} values that are NaN, infinite or beyond float32"
        )
    return values
