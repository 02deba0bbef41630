"""Extraction of features from raw pairs: `RawPairs` to `PairedDataset`."""

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.distribution import cache_folder
from xgacmn_tf.datasets.extraction import extractor_files
from xgacmn_tf.datasets.extraction.cache import EXTRACTOR, FeatureCache
from xgacmn_tf.datasets.extraction.feature_store import StoredFeatures, item_keys
from xgacmn_tf.datasets.labels import label_array
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.registry import image_extractor, text_extractor
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.settings.sections import FeatureSpec

_LOGGER = logging.getLogger(__name__)
# Longer titles are shortened at a word.
_MAX_TITLE = 120
_LEFT_OUT = "left_out.txt"
Parts = Mapping[str, Sequence[RawPair]]
# None stands for the item that a pair lacks.
KeyedItem = tuple[str, Path | str] | None


def extract_features(
    pairs: RawPairs,
    features: FeatureSpec,
    *,
    batch_size: int = 32,
    seed: int = 0,
    show_progress: bool = True,
) -> PairedDataset:
    """Extract the features of every pair, or read them from the cache.

    Visual words, vocabularies and topics are learned on the training split only. An image that
    several pairs share is extracted once. To resume an interrupted extraction, repeat the call.

    Args:
        pairs: images and texts.
        features: the extractors of images and of texts, their weights, the cache folder, and the
            treatment of images that cannot be read. If both extractors are "clip" or both
            "siglip" and no text weights are given, texts use the preset of the images.
        batch_size: number of items that a network encodes at once.
        seed: of what is learned.
        show_progress: whether to show progress bars.

    Returns:
        The data set. Titles are the texts, shortened; thumbnails are small WebP images; `source`
        is a folder with the extractors, see `extractor_files`.

    Raises:
        InputError: if an extractor is unknown or its weights are missing, or an image is rejected.
    """
    parts = pairs.splits()
    folders: dict[str, Path] = {}
    keys: dict[str, dict[str, list[str | None]]] = {}
    stored: dict[str, StoredFeatures] = {}
    for items, cache in feature_caches(parts, features, batch_size, seed, show_progress):
        modality = cache.extractor.modality
        keys[modality] = {
            part: [item and item[0] for item in keyed] for part, keyed in items.items()
        }
        distinct = _first_items(itertools.chain(*items.values()))
        stored[modality] = cache.features(distinct)
        folders[modality] = cache.folder
        if modality == "image":
            images = distinct
    splits = {
        part: _split(part, split, keys["image"][part], keys["text"][part], stored, pairs)
        for part, split in parts.items()
    }
    digest = hashlib.sha256("\0".join(folder.name for folder in folders.values()).encode())
    name = f"{dataset_name(pairs.name, features)}-{digest.hexdigest()[:16]}"
    source = extractor_files.make_folder(
        cache_folder(features.cache_dir) / name,
        {modality: folder / EXTRACTOR for modality, folder in folders.items()},
    )
    bad = [f"{images[key]}: {reason}" for key, reason in stored["image"].bad.items()]
    _report(bad, len(images), source / _LEFT_OUT)
    total = sum(map(len, parts.values()))
    left_out = total - sum(map(len, splits.values()))
    note = f"{left_out} of {total} pairs are left out, because their images cannot be read"
    return PairedDataset(
        pairs.name,
        splits["train"],
        splits["test"],
        pairs.label_names,
        splits.get("validation"),
        str(source),
        notes=(note,) if left_out else (),
        given=pairs.source or f"data set {pairs.name!r}",
    )


def feature_caches(
    parts: Parts, features: FeatureSpec, batch_size: int, seed: int, show_progress: bool
) -> Iterator[tuple[dict[str, list[KeyedItem]], FeatureCache]]:
    """Yield the item of each pair by split and their cache, for images and then for texts.

    Extractors learn from the distinct images and from all texts of the training split.
    """
    for extractor in _extractors(features, batch_size, seed):
        modality = extractor.modality
        listed: dict[str, list[Path | str | None]] = {
            part: [pair.image if modality == "image" else pair.text for pair in split]
            for part, split in parts.items()
        }
        present = [item for item in itertools.chain(*listed.values()) if item is not None]
        keys = iter(item_keys(modality, present))
        items: dict[str, list[KeyedItem]] = {
            part: [None if item is None else (next(keys), item) for item in split]
            for part, split in listed.items()
        }
        training = [item for item in items["train"] if item]
        if modality == "image":
            training = [*_first_items(training).items()]
        folder, policy = cache_folder(features.cache_dir), features.on_bad_image
        yield items, FeatureCache(folder, extractor, training, policy, seed, show_progress)


def _first_items(items: Iterable[KeyedItem]) -> dict[str, Path | str]:
    """Return the distinct keys with the first item of each."""
    first: dict[str, Path | str] = {}
    for keyed in items:
        if keyed:
            first.setdefault(*keyed)
    return first


def _split(
    part: str,
    pairs: Sequence[RawPair],
    image_keys: Sequence[str | None],
    text_keys: Sequence[str | None],
    features: Mapping[str, StoredFeatures],
    dataset: RawPairs,
) -> Split:
    """Return the pairs of a split whose images have features, or that have none."""
    images, texts = features["image"], features["text"]
    rows = [row for row, key in enumerate(image_keys) if key is None or key in images.row]
    if not rows:
        raise InputError(
            f"{part}: none of the images of its {len(pairs)} pairs can be used; the first: "
            f"{pairs[0].image}: {images.bad[image_keys[0] or '']}"
        )
    usable = [pairs[row] for row in rows]
    own_images = [image_keys[row] for row in rows]
    own_texts = [text_keys[row] for row in rows]
    first = usable[0]
    return Split(
        image=images.take(own_images),
        text=texts.take(own_texts),
        label=label_array(
            [pair.label for pair in usable], len(dataset.label_names), dataset.multi_label
        ),
        id=np.array([pair.id for pair in usable]),
        title=np.array([title(pair.text or "") for pair in usable]),
        thumbnail=images.thumbnails(own_images),
        group=None if first.group is None else np.array([pair.group for pair in usable], dtype=str),
        fine_label=None
        if first.fine_label is None
        else np.array([pair.fine_label for pair in usable], dtype=str),
        **_presence(has_image=own_images, has_text=own_texts),
    )


def _presence(**keys: Sequence[str | None]) -> dict[str, np.ndarray]:
    """Return (n,) bool for each modality that some pair lacks."""
    return {
        name: np.array([key is not None for key in of_pairs])
        for name, of_pairs in keys.items()
        if None in of_pairs
    }


def _report(bad: Sequence[str], total: int, path: Path) -> None:
    """Log the number of images that are left out, and list them in a file."""
    if not bad:
        return
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in bad), encoding="utf-8")
    _LOGGER.warning(
        "%d of %d images cannot be used, and their pairs are left out; %s lists them. The first: "
        "%s",
        len(bad),
        total,
        path,
        bad[0],
    )


def dataset_name(name: str, features: FeatureSpec) -> str:
    """Return the name of a data set followed by those of its extractors."""
    return f"{name}-{features.image_features}-{features.text_features}"


def _extractors(features: FeatureSpec, batch_size: int, seed: int) -> tuple[Extractor, Extractor]:
    """Return the extractors of images and of texts; see `extract_features`."""
    image, text = features.image_features or "", features.text_features or ""
    text_weights = features.text_weights or (features.image_weights if text == image else None)
    extractors = (
        image_extractor(image, features.image_weights, seed),
        text_extractor(text, text_weights, seed),
    )
    for extractor in extractors:
        extractor.check()  # Before a long run, not in it.
        extractor.batch_size = batch_size
    return extractors


def title(text: str) -> str:
    """Return the text on one line, shortened at a word if it is long."""
    line = " ".join(text.split())
    if len(line) <= _MAX_TITLE:
        return line
    return f"{line[:_MAX_TITLE].rsplit(' ', 1)[0]} …"
