"""A split: paired images, texts and labels as arrays, row i of every array being the same pair."""

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from xgacmn_tf.datasets.checks import (
    checked_features,
    checked_labels,
    checked_presence,
    has_category,
    strings,
)
from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import content_keys, first_rows
from xgacmn_tf.names import MODALITIES

if TYPE_CHECKING:
    from xgacmn_tf.datasets.batches import Batches


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """The pairs of one part of a data set.

    Pairs of the training split may be incomplete: without an image, a text or a category.

    Attributes:
        image: (n, d_v) float32, finite; zeros for a missing image.
        text: (n, d_t) float32, finite; zeros for a missing text.
        label: (n,) int32 in [0, c), or −1 for no category; or (n, c) uint8 multi-hot, where a row
            of zeros stands for no category.
        id: (n,) str, unique.
        title: (n,) str, what a person reads as "the text", or None.
        thumbnail: n encoded images (WebP, PNG or JPEG), or None.
        group: (n,) str, equal for pairs that no split may divide, or None: pairs with identical
            image features belong together then.
        fine_label: (n,) str, finer than the categories, or None. Training never reads them; the
            test split is also scored by them.
        has_image, has_text: (n,) bool, whether each pair has an image or a text; None if all have.
    """

    image: np.ndarray
    text: np.ndarray
    label: np.ndarray
    id: np.ndarray
    title: np.ndarray | None = None
    thumbnail: tuple[bytes, ...] | None = None
    group: np.ndarray | None = None
    fine_label: np.ndarray | None = None
    has_image: np.ndarray | None = None
    has_text: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        # Arrays by shape: all values and encoded images would be megabytes.
        arrays = (
            f"{name} {getattr(values, 'shape', (len(values),))}" for name, values in self._arrays()
        )
        return f"Split({', '.join(arrays)})"

    @property
    def image_dim(self) -> int:
        return self.image.shape[1]

    @property
    def text_dim(self) -> int:
        return self.text.shape[1]

    @cached_property
    def image_keys(self) -> np.ndarray:
        """(n,) str: keys of the image features, see `groups.content_keys`; unique if missing."""
        return self._keys("image")

    @cached_property
    def text_keys(self) -> np.ndarray:
        """(n,) str: keys of the text features, likewise."""
        return self._keys("text")

    def _keys(self, modality: str) -> np.ndarray:
        keys = content_keys(getattr(self, modality))
        has = self.has(modality)
        # Missing items are not equal to one another.
        return keys if has.all() else np.where(has, keys, np.char.add("missing/", self.id))

    @property
    def group_keys(self) -> np.ndarray:
        """(n,) str: `group`, or keys of the image features where there is none."""
        return self.image_keys if self.group is None else self.group

    def has(self, modality: str) -> np.ndarray:
        """Return (n,) bool, whether each pair has an item of a modality."""
        has: np.ndarray | None = getattr(self, f"has_{modality}")
        return np.ones(len(self), bool) if has is None else has

    def masks(self) -> dict[str, np.ndarray]:
        """Return "has_image", "has_text" and "has_label", (n,) bool; only those with a False."""
        masks = {f"has_{modality}": self.has(modality) for modality in MODALITIES}
        masks["has_label"] = has_category(self.label)
        return {name: mask for name, mask in masks.items() if not mask.all()}

    def paired(self) -> "Split":
        """Return the pairs with an image and a text, labeled or not."""
        return self._with("has_image", "has_text")

    def complete(self) -> "Split":
        """Return the pairs with an image, a text and a category."""
        return self._with("has_image", "has_text", "has_label")

    def _with(self, *names: str) -> "Split":
        masks = [mask for name, mask in self.masks().items() if name in names]
        if not masks:
            return self
        return dataclasses.replace(self.take(np.all(masks, axis=0)), has_image=None, has_text=None)

    def to_fit(self) -> "Split":
        """Return the pairs that what precedes the networks is fitted on: all."""
        return self

    def in_memory(self) -> "Split":
        """This split."""
        return self

    def batches(self, batch_size: int, seed: int = 0) -> "Batches":
        """Return batches for `XGACMN.fit`, `evaluate` and `predict`, see `batches.Batches`.

        Args:
            batch_size: number of pairs in a batch, at least 1.
            seed: of the order in training, which differs from epoch to epoch.
        """
        # Imported late, because batches need TensorFlow, and reading data does not.
        from xgacmn_tf.datasets.batches import Batches

        return Batches(self, batch_size, seed)

    def targets(self, num_classes: int) -> np.ndarray:
        """(n, num_classes) float32: one-hot rows for single labels, multi-hot rows as they are.

        With many classes this is much larger than the features; `label_matrix` is not.
        """
        return targets_of(self.label, num_classes)

    def take(self, rows: np.ndarray) -> "Split":
        """Return the pairs at `rows` (integers, in this order; or a mask of n booleans)."""
        rows = np.arange(len(self))[rows]
        values: dict[str, Any] = {
            name: tuple(array[row] for row in rows) if name == "thumbnail" else array[rows]
            for name, array in self._arrays()
        }
        return Split(**values)

    def followed_by(self, other: "Split") -> "Split":
        """Return the pairs of this split, then those of another one."""
        masks = {
            name: np.concatenate([self.has(modality), other.has(modality)])
            for modality in MODALITIES
            if (name := f"has_{modality}") in self.masks() | other.masks()
        }
        theirs = dict(other._arrays())
        values: dict[str, Any] = {
            name: (*array, *theirs[name])
            if name == "thumbnail"
            else np.concatenate([array, theirs[name]])
            for name, array in self._arrays()
            if name in theirs
        }
        return Split(**(values | masks))

    def _arrays(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and the values of each field that is not None."""
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                yield field.name, getattr(self, field.name)

    def content(self, part: str) -> Iterator[tuple[str, str, tuple[int, ...], list[Any]]]:
        """Yield name, dtype, shape and bytes of every array, for `PairedDataset.fingerprint`."""
        for field in ("image", "text", "label"):
            array = np.ascontiguousarray(getattr(self, field))
            # A fixed byte order, so that the same data have one fingerprint on any machine.
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            yield f"{field}_{part}", array.dtype.str, array.shape, [array.data]
        yield strings_content(f"id_{part}", self.id)
        if self.title is not None:
            yield strings_content(f"title_{part}", self.title)
        if self.thumbnail is not None:
            thumbnails = list(self.thumbnail)
            yield f"thumbnail_{part}", "bytes", (len(thumbnails),), thumbnails
        # Groups by image follow from the features. Leaving them out keeps the fingerprints of data
        # sets from versions without groups.
        if self.group is not None and not np.array_equal(
            first_rows(self.group), first_rows(self.image_keys)
        ):
            yield strings_content(f"group_{part}", self.group)
        for name in ("has_image", "has_text"):
            if (mask := getattr(self, name)) is not None:
                yield f"{name}_{part}", "bool", mask.shape, [np.ascontiguousarray(mask).data]

    def checked(self, part: str, num_classes: int, source: str) -> "Split":
        """Return this split with its arrays in their final types; errors as of `check`."""

        def name(field: str) -> str:
            return f"{source}: {field}_{part}"

        values: dict[str, Any] = {
            "image": checked_features(self.image, name("image")),
            "text": checked_features(self.text, name("text")),
            "label": checked_labels(self.label, num_classes, name("label"), part == "train"),
        }
        for field, array in self._arrays():
            if field == "thumbnail":
                values[field] = tuple(array)
            elif field in ("has_image", "has_text"):
                modality = field.removeprefix("has_")
                values[field] = checked_presence(
                    array, values[modality], name(field), part == "train"
                )
            elif field not in values:
                values[field] = strings(array, name(field))
        rows = len(values["image"])
        for field, array in values.items():
            if array is not None and len(array) != rows:
                raise InputError(
                    f"{name(field)} has {len(array)} rows, image_{part} has {rows}; row i of each "
                    "must be the same pair"
                )
        if "group" in values:
            # As in tables, a pair without a group belongs to those with the same image.
            empty = values["group"] == ""
            if empty.any():
                keys = dataclasses.replace(self, image=values["image"]).image_keys
                values["group"] = np.where(empty, keys, values["group"])
        checked = Split(**values)
        neither = ~(checked.has("image") | checked.has("text"))
        if neither.any():
            raise InputError(
                f"{source}: {neither.sum():,} pairs of {part} have neither an image nor a text, "
                f"the first in row {int(np.argmax(neither))}; remove them"
            )
        for row, encoded in enumerate(checked.thumbnail or ()):
            if not isinstance(encoded, bytes) or not (encoded or not checked.has("image")[row]):
                raise InputError(f"{name('thumbnail')} has no encoded image (bytes) at row {row}")
        return checked


def targets_of(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """As `Split.targets`, of labels (n,) or multi-hot (n, c)."""
    if labels.ndim == 2:
        return labels.astype(np.float32)
    targets = np.zeros((len(labels), num_classes), np.float32)
    rows = np.flatnonzero(labels >= 0)
    targets[rows, labels[rows]] = 1
    return targets


def label_matrix(labels: np.ndarray, num_classes: int) -> sparse.csr_array:
    """Return labels (n,) or multi-hot (n, c) as a sparse (n, num_classes) bool matrix."""
    if labels.ndim == 2:
        return sparse.csr_array(labels != 0)
    labeled = labels >= 0
    ends = np.concatenate([[0], np.cumsum(labeled)])
    values = np.ones(ends[-1], bool)
    return sparse.csr_array((values, labels[labeled], ends), (len(labels), num_classes))


def pairs_per_category(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the number of pairs of each category, (num_classes,) int64; labels as of a split."""
    return np.asarray(label_matrix(labels, num_classes).sum(axis=0, dtype=np.int64))


def strings_content(name: str, values: Any) -> tuple[str, str, tuple[int, ...], list[Any]]:
    return name, "str", (len(values),), [str(value).encode() for value in values]
