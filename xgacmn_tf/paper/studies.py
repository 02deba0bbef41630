"""Studies: the data sets, protocols and features of the paper's tables, with their flag files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xgacmn_tf.paper.published import PUBLISHED, PUBLISHED_DEEP, Scores


class Study(NamedTuple):
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


_SHALLOW = "128-D SIFT and 10-D LDA"
_DEEP = "4096-D VGG-19 and 1000-D bag of words"


def _wikipedia(protocol: str, sizes: str, deep: bool) -> Study:
    kind, features = ("deep", _DEEP) if deep else ("shallow", _SHALLOW)
    title = f"Wikipedia {sizes}, {kind} features ({features})"
    scores = (PUBLISHED_DEEP if deep else PUBLISHED)[f"wikipedia_{protocol}"]
    return Study(f"wikipedia_{kind}_{protocol}", title, "1", "wikipedia", scores, tuned=deep)


def _deep(label: str, title: str, folder: str) -> Study:
    return Study(label, f"{title} ({_DEEP})", "2", folder, PUBLISHED_DEEP[label])


_CLIP_ART = "Open clip art 1969/563 (1280-D EfficientNet-Lite2 and 384-D MiniLM)"
STUDIES = (
    _wikipedia("1300", "1300/1566", deep=False),
    _wikipedia("1300", "1300/1566", deep=True),
    _wikipedia("2173", "2173/693", deep=False),
    _wikipedia("2173", "2173/693", deep=True),
    _deep("pascal_sentence_900", "Pascal Sentence 900/100", "pascal_sentence"),
    _deep("nuswide_10k", "NUS-WIDE-10k 8000/1000", "nuswide"),
    Study("openclipart", _CLIP_ART, "openclipart", None, {}),
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
