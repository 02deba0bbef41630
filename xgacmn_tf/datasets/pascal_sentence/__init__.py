"""Pascal Sentence (paper, §4.2): 1,000 pictures of 20 classes with about five sentences each.

`load` reads the release of features, `load_raw` the pictures and sentences. README.md in this
folder tells where both come from and how they are laid out.

Reference: Rashtchian et al., "Collecting Image Annotations Using Amazon's Mechanical Turk", 2010.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets import array_files
from xgacmn_tf.datasets.distribution import Distribution, read_text
from xgacmn_tf.datasets.feature_file import numbered_ids
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError

PICTURES, SENTENCES = "dataset", "sentence"
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
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
# The release numbers its classes so, without saying it: of all orders, this one makes the
# likeness of its classes' mean features follow that of the classes' sentences.
RELEASE_CLASSES = (*CLASSES[1:], CLASSES[0])

DISTRIBUTION = Distribution(
    name="pascal_sentence",
    origin=(
        "Pictures and sentences come from the page of Rashtchian et al. 2010 (UIUC, "
        "pascal-sentences), the features from the release of Zhen et al. 2019 (DSCMR); they "
        "cannot be downloaded by a program."
    ),
    layout=(
        f"Its folder holds {PICTURES}/<class>/2008_000716.jpg and {SENTENCES}/<class>/"
        "2008_000716.txt, a sentence a line (needed for features made anew), or "
        f"{', '.join(FEATURES)}, each with one array named as its file (needed for the released "
        "features)."
    ),
    below=("pascal_sentence", "pascal-sentences", "pascal"),
)


def load(data_dir: str | None, protocol: str | None = None, seed: int = 0) -> PairedDataset:
    """The released features in the release's own split, 800 pairs to train and 100 to test.

    Images are VGG-19's 4096-D `fc7`, texts 300-D. The pairs have no ids, titles or thumbnails.

    Args:
        data_dir: the folder of the release.
        protocol: "800" or None; the release holds no other split.
        seed: without effect, as nothing is drawn.

    Raises:
        InputError: if the protocol is another one, files are missing, or their content is broken.
    """
    if protocol not in (None, "800"):
        raise InputError(
            f"The released features of data set 'pascal_sentence' have a split of their own, 800, "
            f"and not {protocol!r}; leave the protocol out, or name image_features and "
            "text_features, which are made from the pictures and sentences."
        )
    try:
        folder = DISTRIBUTION.find(data_dir, FEATURES)
    except InputError as error:
        raise InputError(
            f"{error} To make features from the pictures and sentences instead, name "
            "image_features and text_features."
        ) from None
    splits = {}
    for part in ("train", "test"):
        image, text, label = (_array(folder, f"{part}_{k}") for k in ("img", "txt", "img_lab"))
        # MATLAB's vectors are columns.
        label = label.ravel() if label.ndim == 2 and 1 in label.shape else label
        splits[part] = Split(image, text, label, numbered_ids(part, len(image)))
    return PairedDataset(
        "pascal_sentence_released",
        splits["train"],
        splits["test"],
        RELEASE_CLASSES,
        source=str(folder),
    )


def load_raw(data_dir: str | None, protocol: str | None = None, seed: int = 0) -> RawPairs:
    """Read the images with their sentences.

    Args:
        data_dir: the folder that holds `dataset` and `sentence`.
        protocol: "900" (as is None) draws 45 images of every class for training, "800" draws 40
            and 5 more for validation; the others, 5 of 50, test. An image's sentences are joined
            to one text. "900_sentences" is the split of "900" with a pair for each sentence.
        seed: draws the split.

    Raises:
        InputError: if the protocol is unknown, folders, pictures or sentences are missing, a text
            is empty or no UTF-8, or a class has too few pairs.
    """
    if protocol not in (None, *PROTOCOLS):
        raise InputError(
            f"Pascal Sentence's protocols are {', '.join(PROTOCOLS)}, found {protocol!r}."
        )
    protocol = protocol or "900"
    folder = DISTRIBUTION.find(data_dir, (PICTURES, SENTENCES))
    images = _images(folder)
    generator = np.random.default_rng(seed)
    counts = PROTOCOLS[protocol]
    splits: dict[str, list[RawPair]] = {"train": [], "validation": [], "test": []}
    apart = protocol in SENTENCES_APART
    for label, of_class in enumerate(images):
        learning = sum(counts.values())
        if len(of_class) <= learning:
            raise InputError(
                f"{folder / PICTURES / CLASSES[label]} holds {len(of_class)} pictures; protocol "
                f"{protocol} needs more than {learning} in each class."
            )
        order = generator.permutation(len(of_class))
        for part, rows in zip(
            splits, np.split(order, np.cumsum(list(counts.values()))), strict=True
        ):
            for row in np.sort(rows):
                name, image, sentences = of_class[row]
                splits[part] += _pairs_of(name, image, sentences, label, apart)
    return RawPairs(
        f"pascal_sentence_{protocol}",
        tuple(splits["train"]),
        tuple(splits["test"]),
        CLASSES,
        tuple(splits["validation"]),
    )


def _pairs_of(
    name: str, image: Path, sentences: list[str], label: int, apart: bool
) -> list[RawPair]:
    if not apart:
        return [RawPair(name, image, " ".join(sentences), label)]
    return [
        RawPair(f"{name}#{number}", image, sentence, label, group=name)
        for number, sentence in enumerate(sentences, 1)
    ]


def _images(folder: Path) -> list[list[tuple[str, Path, list[str]]]]:
    """Return the images of each class, by name: name, file and sentences."""
    lacking: list[str] = []
    images: list[list[tuple[str, Path, list[str]]]] = []
    for name in CLASSES:
        pictures = _files(folder / PICTURES / name, ".jpg")
        # The usual script to fetch the sentences leaves the dot before "txt" out.
        texts = _files(folder / SENTENCES / name, "txt") | _files(folder / SENTENCES / name, ".txt")
        if not pictures:
            lacking.append(f"{PICTURES}/{name}/*.jpg")
        if not texts:
            lacking.append(f"{SENTENCES}/{name}/*.txt")
        if pictures and texts:
            bare = sorted(pictures.keys() - texts.keys())
            lacking += [f"{SENTENCES}/{name}/{stem}.txt" for stem in bare]
            unseen = sorted(texts.keys() - pictures.keys())
            lacking += [f"{PICTURES}/{name}/{stem}.jpg" for stem in unseen]
        if not lacking:
            images.append(
                [
                    (f"{name}/{stem}", pictures[stem], _sentences(texts[stem]))
                    for stem in sorted(pictures)
                ]
            )
    if lacking:
        raise DISTRIBUTION.missing(folder, lacking)
    return images


def _files(folder: Path, ending: str) -> dict[str, Path]:
    """The files whose names end so, in any case, by what stands before; hidden ones left out."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        stem = path.name[: -len(ending)]
        if path.name.lower().endswith(ending) and not stem.endswith(".") and path.name[0] != ".":
            found[stem] = path
    return found


def _sentences(path: Path) -> list[str]:
    sentences = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not sentences:
        raise InputError(f"{path} is empty; expected one sentence a line, 3 to 6 of them.")
    return sentences


def _array(folder: Path, key: str) -> np.ndarray:
    path = folder / f"{key}.mat"

    def check_names(names: Collection[str]) -> None:
        if key not in names:
            raise InputError(
                f"{path} holds {', '.join(sorted(names)) or 'nothing'}; expected one array named "
                f"{key}, as its file is."
            )

    return array_files.read(path, check_names)[key]
