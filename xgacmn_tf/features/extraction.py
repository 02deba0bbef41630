"""Raw pairs → features of both modalities: `RawPairs` in, `PairedDataset` out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.features import keeping
from xgacmn_tf.features.cache import EXTRACTOR, FeatureCache
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.registry import image_extractor, text_extractor
from xgacmn_tf.features.shards import check_policy

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

    What is learned (visual words, vocabulary, topics) is learned on the training split only. A
    stopped extraction goes on where it was when it is called again.

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
    images, texts = (
        FeatureCache(
            cache_dir, pairs.name, extractor, pairs.splits(), on_bad_image, seed, say_progress
        )
        for extractor in extractors
    )
    pictures, words = images.extract(), texts.extract()
    splits = {}
    for part, given in pairs.splits().items():
        kept = pictures[part].row  # Texts are never left out, so theirs are all there.
        readable = [given[row] for row in kept]
        splits[part] = Split(
            image=pictures[part].feature,
            text=words[part].feature[kept],
            label=labels(readable, len(pairs.label_names)),
            id=np.array([pair.id for pair in readable]),
            title=np.array([title(pair.text) for pair in readable]),
            thumbnail=pictures[part].thumbnail,
        )
    digest = hashlib.sha256(f"{images.folder.name}\0{texts.folder.name}".encode()).hexdigest()
    source = keeping.make_folder(
        cache_dir / f"{pairs.name}-{image}-{text}-{digest[:16]}",
        {"image": images.folder / EXTRACTOR, "text": texts.folder / EXTRACTOR},
    )
    return PairedDataset(
        pairs.name,
        splits["train"],
        splits["test"],
        pairs.label_names,
        splits.get("validation"),
        str(source),
    )


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
