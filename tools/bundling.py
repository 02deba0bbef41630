"""Files of a bundled data set, made from entries, images and texts; see `bundled` for the layout.

Only the scripts that rebuild the bundled data sets use it.
"""

import collections
import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from xgacmn_tf.datasets.bundled import (
    ENTRIES,
    EXTRACTORS,
    FEATURES,
    SPLITS,
    TEXTS,
    THUMBNAILS,
)
from xgacmn_tf.features.cnn import EfficientNetLite
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.registry import text_extractor
from xgacmn_tf.features.words import BagOfWords
from xgacmn_tf.io.files import atomic_path

VOCABULARY = 1000
SEED = 0
SHARES = {"test": 0.2, "validation": 0.12}
# Many images with one text, such as 120 pictograms under one title, tell little as queries.
LARGEST_HELD_OUT_GROUP = 8
# Cosine of the features from which on two images are the same but for a color or a detail.
SAME_IMAGE = 0.98


class Entry(NamedTuple):
    """A pair without its image.

    Attributes:
        id: category/…/name. title: what a person reads. text: what the text features are made of.
        series: pairs of one folder with the same value belong to one split.
        more: further columns of entries.tsv by name.
        short: another caption, which the training split has beside the text; empty for none.
    """

    id: str
    title: str
    text: str
    series: str
    more: Mapping[str, str] = {}
    short: str = ""

    @property
    def category(self) -> str:
        return self.id.partition("/")[0]

    @property
    def folder(self) -> str:
        return self.id.rpartition("/")[0]


class BundledImage(NamedTuple):
    """An image's thumbnail (WebP) and its features (d_v,) float32."""

    thumbnail: bytes
    features: np.ndarray


def webp(square: np.ndarray) -> bytes:
    """Return an RGB image (side, side, 3) uint8 as a WebP file."""
    stream = io.BytesIO()
    Image.fromarray(square).save(stream, "WEBP", quality=75, method=6)
    return stream.getvalue()


def group(entries: Sequence[Entry], features: np.ndarray) -> np.ndarray:
    """Number the entries so that those which may not be parted have the same number.

    They belong together when they have the same words, nearly the same image or, within a folder,
    the same series.
    """
    parent = list(range(len(entries)))

    def root(row: int) -> int:
        while parent[row] != row:
            row = parent[row]
        return row

    first: dict[tuple[Any, ...], int] = {}
    for row, entry in enumerate(entries):
        bag = tuple(sorted(set(re.findall(r"\w+", entry.text.lower())) - ENGLISH_STOP_WORDS))
        for key in (("text", bag), ("series", entry.folder, entry.series)):
            parent[root(row)] = root(first.setdefault(key, row))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for row, other in np.argwhere(np.triu(unit @ unit.T > SAME_IMAGE, 1)):
        parent[root(other)] = root(row)
    return np.array([root(row) for row in range(len(entries))])


def assign(groups: np.ndarray, labels: np.ndarray) -> list[str]:
    """Return a split's name for each row: per category the shares of `SHARES`, whole groups."""
    sizes = np.bincount(labels)
    room = {split: share * sizes for split, share in SHARES.items()}
    splits = np.full(len(groups), "train", dtype=object)
    for number in np.random.default_rng(SEED).permutation(np.unique(groups)):
        members = groups == number
        needed = np.bincount(labels[members], minlength=len(sizes))
        fitting = [split for split, left in room.items() if (needed <= left).all()]
        if fitting and members.sum() <= LARGEST_HELD_OUT_GROUP:
            # The emptier split first, so that small groups do not all go to one of them.
            split = max(fitting, key=lambda name: needed @ (room[name] / sizes) / SHARES[name])
            room[split] = room[split] - needed
            splits[members] = split
    return list(splits)


def quantize(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return non-negative features as (n, d) uint8 and the (d,) float32 step of each dimension."""
    step = np.maximum(features.max(axis=0), 1e-6) / 255
    return np.rint(features / step).astype(np.uint8), step.astype(np.float32)


def write(
    entries: Sequence[Entry],
    images: Mapping[str, BundledImage],
    image: EfficientNetLite,
    folder: Path,
    plain_words: bool = False,
    more_texts: Mapping[str, Mapping[str, tuple[str, str]]] | None = None,
) -> collections.Counter[tuple[str, str]]:
    """Split the entries and write all files.

    Args:
        entries: ordered by category.
        images: of each entry, by its id.
        image: the extractor of the images' features.
        folder: receives the files.
        plain_words: see `BagOfWords`.
        more_texts: by file name, other texts and short captions by id whose features are stored in
            a file like `texts.npz`; counted are the words of the entries' own texts.

    Returns:
        The number of pairs per category and split.
    """
    names = sorted({entry.category for entry in entries})
    labels = np.array([names.index(entry.category) for entry in entries])
    groups = group(entries, np.stack([images[entry.id].features for entry in entries]))
    splits = assign(groups, labels)
    # By split, so that each is one run of rows.
    order = sorted(range(len(entries)), key=lambda row: (SPLITS.index(splits[row]), row))
    entries, splits = [entries[row] for row in order], [splits[row] for row in order]
    thumbnails = [images[entry.id].thumbnail for entry in entries]

    bag = BagOfWords(size=VOCABULARY, plain=plain_words)
    bag.fit([entry.text for entry in entries][: splits.count("train")])
    sentence = text_extractor("minilm")
    folder.mkdir(parents=True, exist_ok=True)
    codes, step = quantize(np.stack([images[entry.id].features for entry in entries]))
    with atomic_path(folder / FEATURES) as path:
        np.savez_compressed(path, image=codes, image_step=step)
    own = {entry.id: (entry.text, entry.short) for entry in entries}
    for name, captions in {TEXTS: own, **(more_texts or {})}.items():
        pairs = [captions[entry.id] for entry in entries]
        short = [row for row in range(splits.count("train")) if pairs[row][1]]
        texts = [text for text, _ in pairs] + [pairs[row][1] for row in short]
        _write_texts(folder / name, texts, short, bag, sentence)
    with atomic_path(folder / THUMBNAILS) as path:
        offsets = np.cumsum([0, *map(len, thumbnails)], dtype=np.int32)
        np.savez(path, webp=np.frombuffer(b"".join(thumbnails), np.uint8), offset=offsets)
    bag.save(folder / EXTRACTORS / "bow" / "text")
    # By the hash of their weights: the networks themselves would be larger than all the rest.
    for extractor, place in (
        (image, "bow/image"),
        (image, "minilm/image"),
        (sentence, "minilm/text"),
    ):
        (folder / EXTRACTORS / place).mkdir(parents=True, exist_ok=True)
        extractor.save_manifest(folder / EXTRACTORS / place)
    with atomic_path(folder / ENTRIES) as path:
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, "excel-tab", lineterminator="\n")
            table.writerow(("split", "id", *entries[0].more, "title", "text"))
            for split, entry in zip(splits, entries, strict=True):
                table.writerow((split, entry.id, *entry.more.values(), entry.title, entry.text))
    return collections.Counter(zip((e.category for e in entries), splits, strict=True))


def _write_texts(
    path: Path, texts: list[str], short: list[int], bag: BagOfWords, sentence: Extractor
) -> None:
    """Write the features of the entries' texts and, after them, of the captions of rows `short`."""
    counts = bag.counts(texts)
    counts.sort_indices()
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            sentence=sentence.encode([sentence.prepare(text) for text in texts]).astype(np.float16),
            text_offset=counts.indptr.astype(np.int32),
            text_word=counts.indices.astype(np.int16),
            text_count=counts.data.astype(np.uint8),
            short_row=np.array(short, np.int32),
        )
