"""Items to search: features of images, of texts or of both, and what is shown of each item."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.datasets.tables import TEXT_ID
from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import content_keys
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.names import MODALITIES

HAS = tuple(f"has_{modality}" for modality in MODALITIES)

# Between the captions of one image in its title, which holds at most so many of them and, beyond
# the first, so many characters.
SEPARATOR = " | "
CAPTIONS_SHOWN = 5
LONGEST_TITLE = 400


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """n items to search.

    Attributes:
      features: "image" → (n, d_v) and "text" → (n, d_t) float32, finite; at least one of them.
      id: (n,) str, unique.
      title: (n,) str, shown to users; the id where nothing better is known.
      category: (n,) str, or None where it is not known; several are joined by ", ".
      thumbnail: n encoded images (WebP, PNG or JPEG, or empty), or None.
      fine_label: (n,) str, finer than the category, or None where it is not known.
      has_image, has_text: (n,) bool, which items have one; None where all have. The features of a
        missing image or text are zeros.
    """

    features: Mapping[str, np.ndarray]
    id: np.ndarray
    title: np.ndarray
    category: np.ndarray | None = None
    thumbnail: tuple[bytes, ...] | None = None
    fine_label: np.ndarray | None = None
    has_image: np.ndarray | None = None
    has_text: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.id)

    def of_modality(self, modality: str) -> Gallery:
        """Return the distinct items of one modality, see `distinct`."""
        return self.distinct(modality)[0]

    def has(self, modality: str) -> np.ndarray:
        """Return (n,) bool, which items have an image or a text."""
        has = self.has_image if modality == "image" else self.has_text
        return np.full(len(self), modality in self.features) if has is None else has

    def take(self, rows: np.ndarray) -> Gallery:
        """Return the items at some rows."""

        def taken(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: taken(each) for name, each in value.items()}
            if isinstance(value, tuple):
                return tuple(value[row] for row in rows.tolist())
            return None if value is None else value[rows]

        fields = dataclasses.fields(self)
        return Gallery(**{field.name: taken(getattr(self, field.name)) for field in fields})

    def distinct(self, modality: str) -> tuple[Gallery, np.ndarray]:
        """Return the distinct items of one modality, and the number of the item of each row.

        Rows are the same image if both their features and their thumbnails, where there are any,
        are equal. The first id stands for all of them, with the captions of all as its title and
        the categories of all. Images whose features are all zero and that have no thumbnail are
        never merged. Rows are the same text if they have one title and the
        same image; the first text stands for all of them.

        Args:
          modality: "image" or "text", one that the gallery holds.

        Returns:
          m items, and (n,) int64 in [0, m); −1 for rows without this modality.
        """
        present = np.flatnonzero(self.has(modality))
        own = self if len(present) == len(self) else self.take(present)
        keys = own._keys(modality)
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(first)  # In order of the first rows.
        item = np.argsort(order)[group]
        rows = first[order]
        numbers = np.full(len(self), -1)
        numbers[present] = item
        items = own if len(rows) == len(own) else own.take(rows)
        items = dataclasses.replace(
            items, features={modality: items.features[modality]}, has_image=None, has_text=None
        )
        if len(rows) == len(own):
            return items, numbers
        members = np.split(np.argsort(item, kind="stable"), np.cumsum(np.bincount(item))[:-1])
        category, fine = (
            None if values is None else np.array([_united(values[g]) for g in members])
            for values in (own.category, own.fine_label)
        )
        titles = np.array([_joined_titles(own.title[g].tolist()) for g in members])
        return dataclasses.replace(items, title=titles, category=category, fine_label=fine), numbers

    def _keys(self, modality: str) -> np.ndarray:
        """Return (n,) str, equal for equal images or texts."""
        if "image" not in self.features:
            return np.arange(len(self)).astype(str)
        keys = self._image_keys()
        if modality == "image":
            return keys
        return np.char.add(np.char.add(keys, " "), self.title.astype(str))

    def _image_keys(self) -> np.ndarray:
        """Return (n,) str, equal for equal images."""
        features = self.features["image"]
        thumbnails = self.thumbnail or (b"",) * len(features)
        shown = np.array([hashlib.sha256(thumbnail).hexdigest() for thumbnail in thumbnails])
        known = features.any(axis=1) | np.array([bool(thumbnail) for thumbnail in thumbnails])
        keys = np.char.add(content_keys(features), shown)
        return np.where(known, keys, np.arange(len(keys)).astype(str))

    def write(self, path: Path) -> None:
        """Write a gallery file, see `gallery.files`."""
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **self.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of a gallery file."""
        names = ("id", "title", "category", "fine_label", *HAS)
        arrays = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        arrays |= self.features
        if self.thumbnail is not None:
            arrays["thumbnail"] = np.frombuffer(b"".join(self.thumbnail), np.uint8)
            arrays["thumbnail_offset"] = np.cumsum([0, *map(len, self.thumbnail)], dtype=np.int64)
        return arrays


def join(galleries: Sequence[Gallery], names: Sequence[str] = ()) -> Gallery:
    """Return one gallery of the items of several, in this order.

    An id that occurs in several galleries is one item if each of them has another modality of it,
    such as an image from one and a text from another. Its title is that of its text. Texts whose
    ids are hashes of them are one item, too: the first.

    Args:
      galleries: at least one.
      names: what errors call each of them.

    Raises:
      InputError: two items have one id and one modality, or the numbers of features differ.
    """
    first = galleries[0]
    if len(galleries) == 1:
        return first
    galleries = _without_repeated_texts(galleries)
    row_of: dict[str, int] = {}
    for gallery in galleries:
        for name in gallery.id.tolist():
            row_of.setdefault(name, len(row_of))
    n = len(row_of)
    rows = [np.array([row_of[name] for name in g.id.tolist()], np.int64) for g in galleries]
    features, has = {}, {}
    for modality in MODALITIES:
        parts = [(at, g) for at, g in zip(rows, galleries, strict=True) if modality in g.features]
        if not parts:
            continue
        widths = {g.features[modality].shape[1] for _, g in parts}
        if len(widths) > 1:
            raise InputError(
                f"the galleries have {' and '.join(map(str, sorted(widths)))} {modality} features; "
                "make all of them with one run"
            )
        present = np.concatenate([at[g.has(modality)] for at, g in parts])
        if len(np.unique(present)) < len(present):
            raise _twice(
                modality, galleries, names or [f"gallery {k + 1}" for k in range(len(galleries))]
            )
        features[modality] = np.zeros((n, *widths), np.float32)
        has[modality] = np.zeros(n, bool)
        has[modality][present] = True
        for at, g in parts:
            own = g.has(modality)
            features[modality][at[own]] = g.features[modality][own]
    # Texts come last, so that an item that is joined has the title of its text.
    order = sorted(range(len(galleries)), key=lambda k: "text" in galleries[k].features)
    title, thumbnail = np.array([*row_of], object), np.full(n, b"", object)
    labels = {name: np.full(n, "", object) for name in ("category", "fine_label")}
    for k in order:
        at, g = rows[k], galleries[k]
        title[at] = np.where(g.title == g.id, title[at], g.title)
        for name, values in labels.items():
            own = getattr(g, name)
            if own is not None:
                values[at] = np.where(own == "", values[at], own)
        for row, image in zip(at.tolist(), g.thumbnail or (), strict=False):
            thumbnail[row] = image or thumbnail[row]
    category, fine = (
        values.astype(str) if any(getattr(g, name) is not None for g in galleries) else None
        for name, values in labels.items()
    )
    return Gallery(
        features,
        np.array([*row_of]),
        title.astype(str),
        category,
        tuple(thumbnail) if any(g.thumbnail for g in galleries) else None,
        fine,
        *(None if m not in has or has[m].all() else has[m] for m in MODALITIES),
    )


def _without_repeated_texts(galleries: Sequence[Gallery]) -> list[Gallery]:
    seen: set[str] = set()
    distinct = []
    for gallery in galleries:
        ids = gallery.id.tolist()
        repeated = np.array([name.startswith(TEXT_ID) and name in seen for name in ids], bool)
        distinct.append(gallery.take(np.flatnonzero(~repeated)) if repeated.any() else gallery)
        seen.update(ids)
    return distinct


def _twice(modality: str, galleries: Sequence[Gallery], names: Sequence[str]) -> InputError:
    """Return the error of the first id that has one modality in two galleries."""
    owner: dict[str, str] = {}
    for name, gallery in zip(names, galleries, strict=False):
        ids = gallery.id[gallery.has(modality)].tolist()
        twice = next((one for one in ids if one in owner), None)
        if twice is not None:
            item = "an image" if modality == "image" else "a text"
            return InputError(
                f"{owner[twice]} and {name} both have {item} with the id {twice!r}; give each of "
                "them an id of its own, or leave one of the two out"
            )
        owner |= dict.fromkeys(ids, name)
    raise AssertionError("all ids are unique")


def _joined_titles(titles: Sequence[str]) -> str:
    """Return distinct titles as one: those that fit, at least the first, and the rest's number."""
    by_letters: dict[str, str] = {}
    for title in titles:
        by_letters.setdefault(title.casefold(), title)
    distinct = list(by_letters.values())
    shown = distinct[:1]
    for title in distinct[1:CAPTIONS_SHOWN]:
        if len(SEPARATOR.join([*shown, title])) > LONGEST_TITLE:
            break
        shown.append(title)
    left_out = len(distinct) - len(shown)
    return SEPARATOR.join([*shown, f"… and {left_out} more"] if left_out else shown)


def _united(categories: np.ndarray) -> str:
    """Return the categories or fine labels of several items, each once."""
    names = [name for several in categories.tolist() for name in several.split(", ") if name]
    return ", ".join(dict.fromkeys(names))
