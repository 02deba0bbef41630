"""What is searched: features of pictures, of texts or of both, and what a person sees of each item.

A gallery file is an `.npz` with any of `image` (n, d_v) and `text` (n, d_t), `id` (n,) and, where
there are any, `title` (n,), `category` (n,), `fine_label` (n,), and encoded pictures one after the
other in `thumbnail` (bytes,) uint8 with `thumbnail_offset` (n + 1,). Row i of every array is the
same item.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xgacmn_tf.datasets.paired import PairedDataset, Split, label_matrix
from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import content_keys
from xgacmn_tf.io import array_files
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.names import MODALITIES, OTHER, SEARCH_SPLITS

if TYPE_CHECKING:
    from xgacmn_tf.model.encoders import CommonSpaceEncoder

FEATURES = MODALITIES
PICTURES = ("thumbnail", "thumbnail_offset")
ALLOWED = (*FEATURES, "id", "title", "category", "fine_label", *PICTURES)
ALL, TEST = SEARCH_SPLITS
# Bytes of the features of all items, up to which all are searched and not only the test split.
MAX_ALL_BYTES = 2**30
# Numbers in the embeddings of images and captions, at most.
MAX_COMBINED = 2**25
# Dimensions of mapped text features that searches compare, at most.
MAX_CAPTION_DIM = 2**12
# Between the captions of one image in its title, which holds at most so many of them and, beyond
# the first, so many characters.
SEPARATOR = " | "
CAPTIONS_SHOWN = 5
LONGEST_TITLE = 400


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """n items that can be found.

    Attributes:
      features: "image" → (n, d_v) and "text" → (n, d_t) float32, finite; at least one of them.
      id: (n,) str, unique.
      title: (n,) str, what a person reads; the id where nothing better is known.
      category: (n,) str, or None where it is not known; several are joined by ", ".
      thumbnail: n encoded pictures (WebP, PNG or JPEG, or empty), or None.
      fine_label: (n,) str, finer than the category, or None where it is not known.
    """

    features: Mapping[str, np.ndarray]
    id: np.ndarray
    title: np.ndarray
    category: np.ndarray | None = None
    thumbnail: tuple[bytes, ...] | None = None
    fine_label: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.id)

    def of_modality(self, modality: str) -> Gallery:
        """Return the distinct items of one modality, see `distinct`."""
        return self.distinct(modality)[0]

    def distinct(self, modality: str) -> tuple[Gallery, np.ndarray]:
        """Return the items of one modality and the number of the item that each row belongs to.

        Rows are the same image if both their features and their thumbnails, where there are any,
        are equal. The first id stands for all of them, with the captions of all as its title and
        the categories of all. Images whose features are all zero and that have no thumbnail cannot
        be told apart and stay as they are. Rows are the same text if they have one title and the
        same image; the first text stands for all of them.

        Args:
          modality: "image" or "text", one that the gallery holds.

        Returns:
          m items, and (n,) int64 in [0, m).
        """
        features = self.features[modality]
        whole = dataclasses.replace(self, features={modality: features}), np.arange(len(self))
        if modality == "image":
            keys = self._image_keys()
        elif "image" in self.features:
            keys = np.char.add(np.char.add(self._image_keys(), " "), self.title.astype(str))
        else:
            return whole
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        if len(first) == len(keys):
            return whole
        # In order of the first rows.
        order = np.argsort(first)
        item = np.argsort(order)[group]
        rows = first[order]
        members = np.split(np.argsort(item, kind="stable"), np.cumsum(np.bincount(item))[:-1])
        titles = [_joined_titles(self.title[g].tolist()) for g in members]
        category, fine = (
            None if values is None else np.array([_united(values[g]) for g in members])
            for values in (self.category, self.fine_label)
        )
        thumbnail = self.thumbnail
        if thumbnail is not None:
            thumbnail = tuple(thumbnail[row] for row in rows)
        items = Gallery(
            {modality: features[rows]}, self.id[rows], np.array(titles), category, thumbnail, fine
        )
        return items, item

    def _image_keys(self) -> np.ndarray:
        """(n,) str, equal for equal images."""
        features = self.features["image"]
        thumbnails = self.thumbnail or (b"",) * len(features)
        shown = np.array([hashlib.sha256(picture).hexdigest() for picture in thumbnails])
        known = features.any(axis=1) | np.array([bool(picture) for picture in thumbnails])
        keys = np.char.add(content_keys(features), shown)
        return np.where(known, keys, np.arange(len(keys)).astype(str))

    def write(self, path: Path, with_features: bool = True) -> None:
        """Writes a gallery file, whole or not at all; without features it is only for showing."""
        arrays: dict[str, np.ndarray] = {"id": self.id, "title": self.title}
        if with_features:
            arrays |= self.features
        if self.category is not None:
            arrays["category"] = self.category
        if self.fine_label is not None:
            arrays["fine_label"] = self.fine_label
        if self.thumbnail is not None:
            arrays["thumbnail"] = np.frombuffer(b"".join(self.thumbnail), np.uint8)
            arrays["thumbnail_offset"] = np.cumsum([0, *map(len, self.thumbnail)], dtype=np.int64)
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)


def search_embeddings(
    encoder: CommonSpaceEncoder,
    similarity: str,
    gallery: Gallery,
    modality: str,
    captions: bool = True,
    caption_features: bool = True,
) -> tuple[Gallery, np.ndarray]:
    """Return the items of one modality and the embeddings that searches rank by inner product.

    Where both an item's image and its caption are known, the embedding is the mean of the two for
    similarity "item": the score of a query is then the mean of its scores for image and caption.
    Several captions of one image count together as much as the image. An image or caption whose
    features are all zero is left out.

    Embeddings of images with captions have caption features, too: the mean over the captions, and
    zeros without any. The score of a text query is then higher by its weighted cosine with the
    captions, see `CommonSpaceEncoder.caption_features`.

    Args:
      encoder: the encoders.
      similarity: one that they define.
      gallery: what is searched.
      modality: "image" or "text", one that the gallery holds.
      captions: False for embeddings of that modality alone.
      caption_features: False for embeddings without them.

    Returns:
      m items, see `Gallery.distinct`, and (m, e) float32.
    """
    items, item = gallery.distinct(modality)
    own = _represented(encoder, similarity, modality, items.features[modality])
    if not (captions and combines(encoder, similarity, gallery)):
        return items, own
    other = OTHER[modality]
    known = np.flatnonzero(gallery.features[other].any(axis=1))
    if not len(known):
        return items, own
    count = np.bincount(item[known], minlength=len(items)).reshape(-1, 1)

    def mean(values: np.ndarray) -> np.ndarray:
        totals = np.zeros((len(items), values.shape[1]), np.float64)
        np.add.at(totals, item[known], values)
        return totals / np.maximum(count, 1)

    features = gallery.features[other][known]
    more = mean(_represented(encoder, similarity, other, features))
    both = np.where(items.features[modality].any(axis=1, keepdims=True), (own + more) / 2, more)
    embeddings = np.where(count > 0, both, own).astype(np.float32)
    compared = caption_features and compares_features(encoder, similarity, gallery)
    if compared and modality == "image":
        of_captions = mean(encoder.caption_features_of(features).numpy()).astype(np.float32)
        embeddings = encoder.with_caption_features(embeddings, of_captions).numpy()
    return items, embeddings


def query_embeddings(
    encoder: CommonSpaceEncoder,
    similarity: str,
    modality: str,
    features: np.ndarray,
    width: int | None = None,
) -> np.ndarray:
    """Return embeddings (n, e) of queries, float32, whose inner products with items rank.

    Args:
      encoder, similarity: as for the items.
      modality: of the queries, "image" or "text".
      features: (n, d) of them.
      width: the number of columns of the items' embeddings, which may have caption features; None
        for embeddings without.
    """
    embeddings = _represented(encoder, similarity, modality, features)
    if width is None or width <= embeddings.shape[1]:
        return embeddings
    captions = encoder.caption_features_of(features)
    return np.asarray(encoder.with_caption_features(embeddings, captions), np.float32)


def combines(encoder: CommonSpaceEncoder, similarity: str, gallery: Gallery) -> bool:
    """Whether searches of the gallery compare queries with images and captions.

    Not where the embeddings are too large to be stored, because of many categories.
    """
    if similarity != "item" or len(gallery.features) < len(FEATURES):
        return False
    return len(gallery) * _item_width(encoder) <= MAX_COMBINED


def compares_features(encoder: CommonSpaceEncoder, similarity: str, gallery: Gallery) -> bool:
    """Whether searches of images compare typed queries with captions by their features, too.

    Not where embeddings with caption features are too large to be stored.
    """
    if not combines(encoder, similarity, gallery):
        return False
    dim = encoder.text_map.output_dim
    size = len(gallery) * (_item_width(encoder) + dim)
    return dim <= MAX_CAPTION_DIM and size <= MAX_COMBINED


def _item_width(encoder: CommonSpaceEncoder) -> int:
    """The number of columns of "item" embeddings."""
    return (encoder.num_classes or encoder.code_dim) + encoder.item_dim


def _represented(
    encoder: CommonSpaceEncoder, similarity: str, modality: str, features: np.ndarray
) -> np.ndarray:
    encodings = encoder.encodings_of(modality, features)
    return np.asarray(encoder.represent(encodings, similarity, modality), np.float32)


def from_split(split: Split, label_names: Sequence[str]) -> Gallery:
    """Both modalities of a split."""
    title = split.id if split.title is None else split.title
    labels = label_matrix(split.label, len(label_names))
    of_row = np.split(labels.indices, labels.indptr[1:-1])
    category = [", ".join(label_names[k] for k in row.tolist()) for row in of_row]
    features = {"image": split.image, "text": split.text}
    return Gallery(features, split.id, title, np.array(category), split.thumbnail, split.fine_label)


def searched_split(
    items: int, dims: Mapping[str, int], streamed: bool = False
) -> tuple[str, str | None]:
    """Return the split of a data set that is searched by default, and why it is not "all".

    Args:
      items: number of pairs of all splits.
      dims: modality → number of features.
      streamed: the features of the training split are read from files.

    Returns:
      "all", None; or "test" and a reason, where the training split is streamed or the float32
      features of all items take more than `MAX_ALL_BYTES`.
    """
    if streamed:
        return TEST, "the training split is streamed from files"
    size = 4 * items * sum(dims.values())
    if size > MAX_ALL_BYTES:
        return TEST, (
            f"the features of all {items:,} items take {size / 2**30:.1f} GiB, more than "
            f"{MAX_ALL_BYTES / 2**30:g} GiB"
        )
    return ALL, None


def from_dataset(dataset: PairedDataset, split: str) -> Gallery:
    """Return both modalities of a data set's items, in the order training, validation, test.

    A data set has no id twice, so that ids are unique over its splits.

    Args:
      dataset: the data set.
      split: "all" or "test".

    Raises:
      InputError: "all" of a data set whose training split is streamed from files.
    """
    if split == TEST:
        return from_split(dataset.test, dataset.label_names)
    parts = [part for _, part in dataset.splits()]
    if not all(isinstance(part, Split) for part in parts):
        raise InputError(
            f"the training split of {dataset.name} is streamed from files, so that not all items "
            "can be searched; search the test split, or train without --streaming"
        )
    return join([from_split(part, dataset.label_names) for part in parts])


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


def from_file(path: str | os.PathLike[str], dims: Mapping[str, int]) -> Gallery:
    """The gallery in the `.npz` file at `path`.

    Args:
      path: the file; nothing in it is executed, and the sizes that it declares are bounded.
      dims: the number of features that the encoder of each modality takes; of a modality that is
        not named any number is taken.

    Raises:
      InputError: the file cannot be read, or its arrays do not fit each other or the encoders.
    """
    path = Path(path)
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
    _check_unique(str(path), ids)
    if "" in ids:
        raise InputError(f"gallery {path}: the id of row {ids.tolist().index('')} is empty")
    strings = {"id": ids, "title": arrays.get("title", ids)}
    strings |= {name: arrays[name] for name in ("category", "fine_label") if name in arrays}
    for name, values in strings.items():
        _check_strings(path, name, values, rows)
    features = {
        modality: _checked(path, modality, arrays[modality], (rows, dims.get(modality)))
        for modality in FEATURES
        if modality in arrays
    }
    return Gallery(
        features,
        ids,
        strings["title"],
        strings.get("category"),
        _pictures(path, arrays, rows),
        strings.get("fine_label"),
    )


def join(galleries: Sequence[Gallery]) -> Gallery:
    """One gallery of the items of several, in this order.

    Raises:
      InputError: they differ in their modalities, or two items have one id.
    """
    first = galleries[0]
    if len(galleries) == 1:
        return first
    kinds = {tuple(sorted(gallery.features)) for gallery in galleries}
    if len(kinds) > 1:
        found = " and ".join("+".join(kind) for kind in sorted(kinds))
        raise InputError(f"galleries of {found} features cannot be one; give the same to all")
    ids = np.concatenate([gallery.id for gallery in galleries])
    _check_unique("the galleries together", ids)
    pictures = [g.thumbnail or (b"",) * len(g) for g in galleries]
    return Gallery(
        {name: np.concatenate([g.features[name] for g in galleries]) for name in first.features},
        ids,
        np.concatenate([gallery.title for gallery in galleries]),
        _joined_labels([(g.category, len(g)) for g in galleries]),
        sum(pictures, ()) if any(g.thumbnail for g in galleries) else None,
        _joined_labels([(g.fine_label, len(g)) for g in galleries]),
    )


def _joined_titles(titles: Sequence[str]) -> str:
    """Distinct titles as one: those that fit, at least the first, and the number of the others."""
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


def _joined_labels(labels: Sequence[tuple[np.ndarray | None, int]]) -> np.ndarray | None:
    """Labels of several galleries with their sizes; empty where only others have any."""
    if all(values is None for values, _ in labels):
        return None
    return np.concatenate([np.full(n, "") if values is None else values for values, n in labels])


def _united(categories: np.ndarray) -> str:
    """The categories or fine labels of several items, each once."""
    names = [name for several in categories.tolist() for name in several.split(", ") if name]
    return ", ".join(dict.fromkeys(names))


def _check_names(path: Path, names: Collection[str]) -> None:
    fits = "id" in names and any(name in names for name in FEATURES) and set(names) <= {*ALLOWED}
    if not fits:
        of_data_set = any(f"{modality}_test" in names for modality in FEATURES)
        remedy = (
            "; this is the feature file of a data set, so write a new file with the items to "
            "search, such as image_test as image, text_test as text, and an id for each row"
        )
        raise InputError(
            f"gallery {path} holds {', '.join(sorted(names)) or 'nothing'}; expected id, image or "
            "text features or both, and title, category and pictures if there are any: "
            f"{', '.join(ALLOWED)}{remedy if of_data_set else ''}"
        )


def _check_unique(where: str, ids: np.ndarray) -> None:
    unique, count = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        twice = str(unique[count.argmax()])
        raise InputError(f"gallery {where}: id {twice!r} stands there twice; make the ids unique")


def _check_strings(path: Path, name: str, values: np.ndarray, rows: int) -> None:
    if values.shape != (rows,) or values.dtype.kind != "U":
        raise InputError(
            f"gallery {path}: {name} has shape {values.shape} and dtype {values.dtype}; expected "
            f"{rows} strings, one for each id"
        )
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


def _pictures(path: Path, arrays: Mapping[str, np.ndarray], rows: int) -> tuple[bytes, ...] | None:
    present = [name for name in PICTURES if name in arrays]
    if not present:
        return None
    data, offset = (arrays.get(name, np.zeros(0)) for name in PICTURES)
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
            f"pictures' bytes as uint8, and `thumbnail_offset`, {rows + 1} whole numbers that rise "
            "from 0 to their count"
        )
    joined = data.tobytes()
    return tuple(joined[int(a) : int(b)] for a, b in zip(offset[:-1], offset[1:], strict=True))
