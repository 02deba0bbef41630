"""Studies: the data sets, protocols and features of the paper's tables, with their flag files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from xgacmn_tf.paper.published import PUBLISHED, PUBLISHED_DEEP, Scores


@dataclasses.dataclass(frozen=True)
class Study:
    """One data set with one protocol and one type of features.

    Attributes:
      label: name of its flag file without ".flags"; run folders and files are named after it.
      title: name in captions.
      table: the table that it belongs to, one of `reproduce_command.TABLES`.
      folder: folder of its files below --data_dir; None for data of the package.
      published: system → the paper's scores, image → text and text → image.
      tuned: whether the compared systems' settings are chosen on validation pairs. Otherwise they
        are the defaults: those that docs/results.md lists were chosen on validation parts of the
        training split of Wikipedia 2173, shallow features.
    """

    label: str
    title: str
    table: str
    folder: str | None
    published: Mapping[str, Scores]
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

# The study of the ablations in Table 3 and of Fig. 4.
ABLATED = "wikipedia_shallow_2173"


def study(label: str) -> Study:
    """Return the study with this label."""
    return next(study for study in STUDIES if study.label == label)


def folder_of(label: str) -> str | None:
    """Return the folder of a flag file's data set below --data_dir.

    Flag files of ablations and of Fig. 4 change settings of the study `ABLATED`.
    """
    return next((s.folder for s in STUDIES if s.label == label), study(ABLATED).folder)
