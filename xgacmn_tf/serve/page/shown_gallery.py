"""What a person sees of a served version's items: `<version>/assets.extra/gallery.npz`, by id."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_files
from xgacmn_tf.report.images import image_type

STRINGS = ("id", "title", "category", "fine_label")
PICTURES = ("thumbnail", "thumbnail_offset")
# Of run.json the similarity and the sizes are read; no export writes a larger one.
LARGEST_RECORD = 2**20


class ShownGallery:
    """Titles, categories, fine labels and pictures of n items, found by id.

    Args:
      version: the folder of an exported version. Nothing in it is executed, and what it declares
        is bounded before memory is taken.

    Attributes:
      similarity: what the version's searches rank by, or None where run.json does not say.
      searched: number of distinct images ("image") and of texts ("text") that searches look
        through; empty where run.json does not say, as in exports of older versions.

    Raises:
      InputError: the version has no gallery.npz, or it is broken.
    """

    def __init__(self, version: Path):
        path = version / "assets.extra" / "gallery.npz"
        arrays = array_files.read(path, lambda names: _check_names(path, names))
        _check(path, arrays)
        self._strings = {name: arrays[name] for name in STRINGS if name in arrays}
        self._picture, self._offset = (arrays.get(name) for name in PICTURES)
        self._row = {str(key): row for row, key in enumerate(arrays["id"])}
        record = _record(version / "assets.extra" / "run.json")
        name = record.get("similarity")
        self.similarity = name if isinstance(name, str) else None
        self.searched = _searched(record)

    def __len__(self) -> int:
        return len(self._strings["id"])

    def row(self, key: str) -> int | None:
        """The row of the item with this id, or None."""
        return self._row.get(key)

    def spread(self, count: int) -> list[int]:
        """At most `count` rows, evenly from first to last: of every category if they stand sorted.

        The ends are left out: half a step stands before the first and after the last.
        """
        step = max(1.0, len(self) / count)
        return [int(step * (place + 0.5)) for place in range(min(count, len(self)))]

    def texts(self, row: int) -> dict[str, str | None]:
        """`id`, `title`, and `category` and `fine_label` (None if not known) of an item."""
        found = {name: str(values[row]) for name, values in self._strings.items()}
        return {"category": None, "fine_label": None} | found

    def picture(self, row: int) -> tuple[str, bytes] | None:
        """The kind ("png", "jpeg", "webp") and content of an item's picture; None without one."""
        if self._picture is None or self._offset is None or not 0 <= row < len(self):
            return None
        data = self._picture[int(self._offset[row]) : int(self._offset[row + 1])].tobytes()
        kind = image_type(data)
        return None if kind is None else (kind, data)

    def picture_mark(self, row: int) -> str | None:
        """Tells an item's picture from others that stood at its place; None without one."""
        found = self.picture(row)
        return None if found is None else f"{zlib.crc32(found[1]):08x}"


def _check_names(path: Path, names: Collection[str]) -> None:
    if not {"id", "title"} <= set(names) <= {*STRINGS, *PICTURES}:
        raise InputError(
            f"gallery {path} holds {', '.join(sorted(names)) or 'nothing'}; expected id, title and "
            "perhaps category, fine_label, thumbnail and thumbnail_offset; export the version again"
        )


def _check(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    rows = arrays["id"].size
    fits = all(
        arrays[name].shape == (rows,) and arrays[name].dtype.kind == "U"
        for name in STRINGS
        if name in arrays
    )
    if any(name in arrays for name in PICTURES):
        data, offset = (arrays.get(name, np.zeros(0)) for name in PICTURES)
        fits = (
            fits
            and data.ndim == 1
            and data.dtype == np.uint8
            and offset.shape == (rows + 1,)
            and offset.dtype == np.int64
            and offset[0] == 0
            and offset[-1] == len(data)
            and bool((offset[1:] >= offset[:-1]).all())
        )
    if not fits:
        raise InputError(f"gallery {path}: its arrays do not fit each other; export it again")


def _record(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            record: Any = json.loads(file.read(LARGEST_RECORD))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _searched(record: Mapping[str, Any]) -> dict[str, int]:
    gallery = record.get("gallery")
    sizes = gallery.get("searched") if isinstance(gallery, dict) else None
    if not isinstance(sizes, dict):
        return {}
    return {m: n for m, n in sizes.items() if m in ("image", "text") and isinstance(n, int)}
