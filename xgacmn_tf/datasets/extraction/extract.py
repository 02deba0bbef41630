"""Raw pairs → features of both modalities: `RawPairs` in, `PairedDataset` out."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.extraction import extractor_files
from xgacmn_tf.datasets.extraction.cache import EXTRACTOR, Extracted, FeatureCache
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.registry import image_extractor, text_extractor
from xgacmn_tf.features.shards import check_policy
from xgacmn_tf.groups import file_keys

# A title longer than this is cut at a word.
_TITLE = 120


def extract_features(
    pairs: RawPairs,
    image: str,
    text: str,
    *,
    cache_dir: Path,
    image_weights: str | None = None,
    text_weights: str | None = None,
    on_bad_image: str = "refuse",
    batch_size: int = 32,
    seed: int = 0,
    say_progress: bool = True,
) -> PairedDataset:
    """Extracts features of every pair, or reads them where the cache has them.

    What is learned (visual words, vocabulary, topics) is learned on the training split only. An
    image that several pairs share is extracted once. A stopped extraction is resumed when it is
    called again.

    Args:
        pairs: pictures and texts.
        image: one of `registry.IMAGE_EXTRACTORS`. text: one of `registry.TEXT_EXTRACTORS`.
        cache_dir: a folder for all caches; see `cache`.
        image_weights, text_weights: see `registry.image_extractor`. Where both are "clip" or both
            "siglip" and no text weights are named, texts take the preset of the images.
        on_bad_image: "refuse" ends at the first picture that cannot be used, "skip" leaves the
            pairs of such pictures out and reports them.
        batch_size: items that a network sees at once.
        seed: draws what is learned.
        say_progress: shows progress bars.

    Returns:
        The data set. Titles are the texts, shortened; thumbnails are small WebP pictures; `source`
        is a folder with the extractors, see `keeping`.

    Raises:
        InputError: if an extractor is unknown or lacks its weights, or a picture is refused.
    """
    check_policy(on_bad_image)
    cache_dir = Path(cache_dir)
    extractors = make_extractors(image, text, image_weights, text_weights, batch_size, seed)
    given_parts: dict[str, Sequence[RawPair]] = dict(pairs.splits())
    unique, place = unique_images(given_parts)
    images, texts = (
        FeatureCache(cache_dir, pairs.name, extractor, parts, on_bad_image, seed, say_progress)
        for extractor, parts in zip(extractors, (unique, given_parts), strict=True)
    )
    pictures, words = images.extract(), texts.extract()
    at = {
        (part, int(row)): index
        for part, extracted in pictures.items()
        for index, row in enumerate(extracted.row)
    }
    splits, left_out = {}, 0
    for part, given in given_parts.items():
        # Texts are never left out, so theirs are all there.
        kept = [row for row in range(len(given)) if place[part][row] in at]
        if not kept:
            raise InputError(f"{part}: none of the images of its {len(given)} pairs can be used")
        left_out += len(given) - len(kept)
        readable = [given[row] for row in kept]
        found = [(place[part][row][0], at[place[part][row]]) for row in kept]
        splits[part] = Split(
            image=_gathered(pictures, part, found),
            text=words[part].feature[kept],
            label=labels(readable, len(pairs.label_names)),
            id=np.array([pair.id for pair in readable]),
            title=np.array([title(pair.text) for pair in readable]),
            thumbnail=tuple(pictures[of].thumbnail[index] for of, index in found),
            group=None
            if readable[0].group is None
            else np.array([pair.group for pair in readable], dtype=str),
            fine_label=None
            if readable[0].fine_label is None
            else np.array([pair.fine_label for pair in readable], dtype=str),
        )
    digest = hashlib.sha256(f"{images.folder.name}\0{texts.folder.name}".encode()).hexdigest()
    source = extractor_files.make_folder(
        cache_dir / f"{pairs.name}-{image}-{text}-{digest[:16]}",
        {"image": images.folder / EXTRACTOR, "text": texts.folder / EXTRACTOR},
    )
    total = sum(map(len, given_parts.values()))
    note = f"{left_out} of {total} pairs are left out, because their images cannot be read"
    return PairedDataset(
        pairs.name,
        splits["train"],
        splits["test"],
        pairs.label_names,
        splits.get("validation"),
        str(source),
        notes=(note,) if left_out else (),
    )


def unique_images(
    parts: Mapping[str, Sequence[RawPair]],
) -> tuple[dict[str, Sequence[RawPair]], dict[str, list[tuple[str, int]]]]:
    """Find the first pair of each distinct image.

    Args:
        parts: split → its pairs.

    Returns:
        Split → those pairs; and split → for each pair the split and the row, among those pairs, of
        the one that has its image.
    """
    paths = [pair.image for given in parts.values() for pair in given]
    keys = iter(file_keys(paths, only_equal_sizes=True))
    unique: dict[str, list[RawPair]] = {part: [] for part in parts}
    first: dict[str, tuple[str, int]] = {}
    place: dict[str, list[tuple[str, int]]] = {part: [] for part in parts}
    for part, given in parts.items():
        for pair, key in zip(given, keys, strict=False):
            if key not in first:
                first[key] = (part, len(unique[part]))
                unique[part].append(pair)
            place[part].append(first[key])
    return dict(unique), place


def _gathered(
    extracted: Mapping[str, Extracted], part: str, found: Sequence[tuple[str, int]]
) -> np.ndarray:
    """(n, d) features at (split, row) each; without a copy where these are a split's own rows."""
    feature = extracted[part].feature
    if found == [(part, row) for row in range(len(feature))]:
        return feature
    result = np.empty((len(found), extracted["train"].feature.shape[1]), np.float32)
    for row, (of, index) in enumerate(found):
        result[row] = extracted[of].feature[index]
    return result


def make_extractors(
    image: str,
    text: str,
    image_weights: str | None,
    text_weights: str | None,
    batch_size: int,
    seed: int,
) -> tuple[Extractor, Extractor]:
    """The extractors of pictures and of texts; arguments and errors as of `extract_features`."""
    if text == image and text_weights is None:
        text_weights = image_weights
    made = image_extractor(image, image_weights, seed), text_extractor(text, text_weights, seed)
    for extractor in made:
        extractor.check()  # Before a long run, not in it.
        extractor.batch_size = batch_size
    return made


def labels(pairs: Sequence[RawPair], num_classes: int) -> np.ndarray:
    """(n,) int32, or (n, num_classes) uint8 multi-hot where pairs have several classes."""
    if not isinstance(pairs[0].label, tuple):
        return np.array([pair.label for pair in pairs], np.int32)
    hot = np.zeros((len(pairs), num_classes), np.uint8)
    for row, pair in enumerate(pairs):
        hot[row, list(pair.label)] = 1  # type: ignore[arg-type]
    return hot


def title(text: str) -> str:
    """The text in one line, cut at a word if it is long."""
    line = " ".join(text.split())
    if len(line) <= _TITLE:
        return line
    return f"{line[:_TITLE].rsplit(' ', 1)[0]} …"
