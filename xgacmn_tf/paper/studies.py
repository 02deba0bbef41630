"""The data sets, protocols and features of the paper's tables, and the flag files of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from xgacmn_tf.paper.published import PUBLISHED, PUBLISHED_DEEP, Row


@dataclasses.dataclass(frozen=True)
class Study:
    """One data set under one protocol with one kind of features.

    Attributes:
      label: its flag file without ".flags"; run folders and files are called so.
      title: what a reader calls it.
      table: where the systems are compared on it, one of `contents.TABLES`.
      folder: where its files are, below --data_dir; None for what comes with the package.
      published: system → the paper's figures, image → text and text → image.
      tuned: choose the compared systems' settings on validation pairs. Otherwise they have their
        defaults: those that docs/results.md lists were chosen on validation parts of the training
        split of Wikipedia 2173, shallow features.
    """

    label: str
    title: str
    table: str
    folder: str | None
    published: Mapping[str, Row]
    tuned: bool = True


_SHALLOW, _DEEP = "128-D SIFT and 10-D LDA", "4096-D VGG-19 and 1000-D bag of words"
STUDIES = (
    Study(
        "wikipedia_shallow_1300",
        f"Wikipedia 1300/1566, shallow features ({_SHALLOW})",
        "1",
        "wikipedia",
        PUBLISHED["wikipedia_1300"],
        tuned=False,
    ),
    Study(
        "wikipedia_deep_1300",
        f"Wikipedia 1300/1566, deep features ({_DEEP})",
        "1",
        "wikipedia",
        PUBLISHED_DEEP["wikipedia_1300"],
    ),
    Study(
        "wikipedia_shallow_2173",
        f"Wikipedia 2173/693, shallow features ({_SHALLOW})",
        "1",
        "wikipedia",
        PUBLISHED["wikipedia_2173"],
        tuned=False,
    ),
    Study(
        "wikipedia_deep_2173",
        f"Wikipedia 2173/693, deep features ({_DEEP})",
        "1",
        "wikipedia",
        PUBLISHED_DEEP["wikipedia_2173"],
    ),
    Study(
        "pascal_sentence_900",
        f"Pascal Sentence 900/100 ({_DEEP})",
        "2",
        "pascal_sentence",
        PUBLISHED_DEEP["pascal_sentence_900"],
    ),
    Study(
        "nuswide_10k",
        f"NUS-WIDE-10k 8000/1000 ({_DEEP})",
        "2",
        "nuswide",
        PUBLISHED_DEEP["nuswide_10k"],
    ),
    Study(
        "openclipart",
        "Open clip art 1969/563 (1280-D EfficientNet-Lite2 and 384-D MiniLM)",
        "openclipart",
        None,
        {},
    ),
)

# The study that the paper takes apart in Table 3 and draws in Fig. 4.
ABLATED = "wikipedia_shallow_2173"


def study(label: str) -> Study:
    """The study called so."""
    return next(study for study in STUDIES if study.label == label)


def folder_of(label: str) -> str | None:
    """Where the files of a flag file's data set are, below --data_dir.

    Flag files of ablations and of Fig. 4 are no studies of their own: they change settings of one.
    """
    return next((s.folder for s in STUDIES if s.label == label), study(ABLATED).folder)
