"""Pascal Sentence (paper, §4.2): 1,000 images of 20 classes with about five sentences each.

`load` reads the release of features, `load_raw` the images and sentences. README.md in this
folder describes their origin and layout.

Reference: Rashtchian et al., "Collecting Image Annotations Using Amazon's Mechanical Turk", 2010.
"""

import numpy as np

from xgacmn_tf.datasets.distribution import Distribution, Files
from xgacmn_tf.datasets.feature_file import numbered_ids
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.pascal_sentence.captions import CLASSES, DescribedImage, described
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_files

# Images of every class that train and validate; the others, 5 of the real 50, test.
PROTOCOLS: dict[str, dict[str, int]] = {
    "900": {"train": 45, "validation": 0},
    "800": {"train": 40, "validation": 5},
    "900_sentences": {"train": 45, "validation": 0},
}
# Protocols in which each sentence is a text of its own, paired with its image.
SENTENCES_APART = ("900_sentences",)

FEATURES = tuple(
    f"{part}_{kind}.mat" for part in ("train", "test") for kind in ("img", "txt", "img_lab")
)
# The release does not name its classes. Of all orders, this one makes the similarities of the
# classes' mean features agree best with those of their sentences.
RELEASE_CLASSES = (*CLASSES[1:], CLASSES[0])

DISTRIBUTION = Distribution(
    name="pascal_sentence",
    origin=(
        "Images and sentences come from the page of Rashtchian et al. 2010 (UIUC, "
        "pascal-sentences), the features from the release of Zhen et al. 2019 (DSCMR); they "
        "cannot be downloaded by a program."
    ),
    layout=(
        "Its folder holds dataset/<class>/2008_000716.jpg and sentence/<class>/2008_000716.txt, a "
        "sentence a line, or instead of the latter the saved page (.html) or pascal_sentences.json "
        f"(needed for features made anew), or {', '.join(FEATURES)}, each with one array named as "
        "its file (needed for the released features). Only names matter: the files may lie in any "
        "folders below it, or in zip archives."
    ),
)


def load(files: Files, protocol: str | None = None, seed: int = 0) -> PairedDataset:
    """Return the released features in the release's own split, 800 pairs to train and 100 to test.

    Images are VGG-19's 4096-D `fc7`, texts 300-D. The pairs have no ids, titles or thumbnails.

    Args:
        files: the files of the release.
        protocol: "800" or None; the release holds no other split.
        seed: without effect, as nothing is drawn.

    Raises:
        InputError: if the protocol is another one, files are missing, or their content is broken.
    """
    if protocol not in (None, "800"):
        raise InputError(
            f"The released features of data set 'pascal_sentence' have a split of their own, 800, "
            f"and not {protocol!r}; leave the protocol out, or name image_features and "
            "text_features, which are made from the images and sentences."
        )
    note = (
        "To make features from the images and sentences instead, name image_features and "
        "text_features."
    )
    if any(map(files.has, FEATURES)):
        note = (
            "Every file of the release is needed: the rows of its arrays carry no ids, so features "
            f"made from the images cannot replace a missing one. {note}"
        )
    files.require(FEATURES, note)
    splits = {}
    for part in ("train", "test"):
        image, text, label = (_array(files, f"{part}_{k}") for k in ("img", "txt", "img_lab"))
        # MATLAB's vectors are columns.
        label = label.ravel() if label.ndim == 2 and 1 in label.shape else label
        splits[part] = Split(image, text, label, numbered_ids(part, len(image)))
    files.log()
    return PairedDataset(
        "pascal_sentence_released",
        splits["train"],
        splits["test"],
        RELEASE_CLASSES,
        source=str(files.folder),
    )


def load_raw(files: Files, protocol: str | None = None, seed: int = 0) -> RawPairs:
    """Read the images with their sentences.

    Args:
        files: images and sentences.
        protocol: "900" (as is None) draws 45 images of every class for training, "800" draws 40
            and 5 more for validation; the others, 5 of 50, test. An image's sentences are joined
            to one text. "900_sentences" is the split of "900" with a pair for each sentence.
        seed: draws the split.

    Raises:
        InputError: if images or sentences are missing, a text is empty or not UTF-8, or a class
            has too few pairs.
    """
    protocol = protocol or "900"
    images = described(files)
    files.log()
    generator = np.random.default_rng(seed)
    counts = PROTOCOLS[protocol]
    splits: dict[str, list[RawPair]] = {"train": [], "validation": [], "test": []}
    apart = protocol in SENTENCES_APART
    for label, of_class in enumerate(images):
        learning = sum(counts.values())
        if len(of_class) <= learning:
            raise InputError(
                f"{files.folder}: class {CLASSES[label]} has {len(of_class)} images; protocol "
                f"{protocol} needs more than {learning} in each class."
            )
        order = generator.permutation(len(of_class))
        for part, rows in zip(
            splits, np.split(order, np.cumsum(list(counts.values()))), strict=True
        ):
            for row in np.sort(rows):
                splits[part] += _pairs_of(of_class[row], label, apart)
    return RawPairs(
        f"pascal_sentence_{protocol}",
        tuple(splits["train"]),
        tuple(splits["test"]),
        CLASSES,
        tuple(splits["validation"]),
    )


def _pairs_of(image: DescribedImage, label: int, apart: bool) -> list[RawPair]:
    if not apart:
        return [RawPair(image.name, image.path, " ".join(image.sentences), label)]
    return [
        RawPair(f"{image.name}#{number}", image.path, sentence, label, group=image.name)
        for number, sentence in enumerate(image.sentences, 1)
    ]


def _array(files: Files, key: str) -> np.ndarray:
    """Return the array of a file that is named as its array is."""
    return array_files.read_named(files.path(f"{key}.mat"), [key])[key]
