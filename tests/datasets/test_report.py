"""The report on a data set before training: what is counted, noted and warned of."""

import io

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.report import data_report

NAMES = ("apple", "bear", "chair", "dune")


def split(part: str, label, seed: int, **fields) -> Split:
    """Random features; `fields` replace some of the arrays."""
    rng, label = np.random.default_rng(seed), np.asarray(label)
    arrays = {
        "image": rng.normal(size=(len(label), 5)).astype(np.float32),
        "text": rng.normal(size=(len(label), 4)).astype(np.float32),
        "label": label,
        "id": np.array([f"{part}-{row}" for row in range(len(label))]),
    }
    return Split(**(arrays | fields))


def made(train=None, test=None, **fields) -> PairedDataset:
    """A data set without findings, but for the fields that replace its own."""
    labels = np.arange(80) % 4
    if not isinstance(train, Split):
        train = split("train", **({"label": labels, "seed": 0} | (train or {})))
    if not isinstance(test, Split):
        test = split("test", **({"label": labels[:40], "seed": 1} | (test or {})))
    return PairedDataset("made", train, test, NAMES, **fields)


def features(rows: int, columns: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def encoded(color, side: int = 40, noise: bool = False) -> bytes:
    pixels = np.full((side, side, 3), color, np.uint8)
    if noise:
        pixels[::2, ::3] = 255 - pixels[::2, ::3]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_data_set_without_findings():
    report = data_report(made())
    assert report.notes == report.warnings == () and not report.unusable
    assert report.splits["test"] == {
        "pairs": 40,
        "groups": 40,
        "images": 40,
        "texts": 40,
        "labels/pair": 1.0,
    }
    header, train, test = str(report).splitlines()
    assert train.split() == ["train", "80", "80", "80", "80", "1"]
    assert report.as_dict() == {"splits": report.splits, "notes": [], "warnings": []}


@pytest.mark.parametrize("modality", ["image", "text"])
def test_constant_features(modality):
    dims = {"image": 5, "text": 4}[modality]
    report = data_report(made({modality: np.full((80, dims), 2.5)}))
    assert list(report.unusable) == [modality]
    assert f"all {dims} {modality} features are constant" in " ".join(report.warnings)
    some = features(80, dims)
    some[:, :2] = 7.3
    report = data_report(made({modality: some}))
    assert not report.unusable and not report.warnings
    assert report.notes[0].startswith(f"2 of {dims} {modality} features are constant")


def test_texts_without_a_known_word_are_counted_and_warned_of_where_they_are_many():
    text = features(40, 4)
    text[:2] = 0
    (note,) = data_report(made(test={"text": text})).notes
    assert note.startswith(
        "2 of 40 test texts carry no information (no known word), such as test-0"
    )
    text[:10] = 0
    (warning,) = data_report(made(test={"text": text})).warnings
    assert warning.startswith("10 of 40 test texts carry no information")


def test_empty_texts_and_images_of_one_color():
    titles = np.array(["a cat", " "] + ["dog"] * 78)
    thumbnails = (encoded(9), encoded((3, 200, 90)), *[encoded(100, noise=True)] * 78)
    report = data_report(made({"title": titles, "thumbnail": thumbnails}))
    empty, single = report.notes
    assert empty.startswith("1 of 80 train texts are empty, such as train-1")
    assert single.startswith("2 of 80 train images have a single color, such as train-0, train-1")


def test_one_array_for_both_modalities():
    same = features(80, 5)
    report = data_report(made({"image": same, "text": same}, {"text": features(40, 5, 9)}))
    assert "the image and text features are the same array" in report.warnings[0]


def test_texts_that_stand_in_both_splits():
    text, test = features(80, 4), features(40, 4, 6)
    test[:3] = text[7]
    (note,) = data_report(made({"text": text}, {"text": test})).notes
    assert note == "3 of 40 test texts are also in the training split"


def test_categories_without_training_pairs_or_with_one():
    train = split("train", [0] * 30 + [1] * 31 + [2], 0)
    test = split("test", [0, 1, 3, 3, 3], 1)
    report = data_report(made(train, test))
    (warning,) = report.warnings
    assert warning.startswith(
        "1 of 4 categories has test pairs but no training pair: dune (3); their queries are also "
        "scored apart"
    )
    assert report.notes[:2] == (
        "1 of 4 categories has no test pair: chair",
        "1 of 4 categories has a single training pair: chair",
    )


def test_names_without_pairs():
    report = data_report(made(split("train", [0, 1] * 30, 0), split("test", [0, 1] * 5, 1)))
    assert report.notes == ("2 of 4 categories have no pair: chair, dune",)


def test_imbalance():
    train = split("train", [0] * 60 + [1] * 2 + [2] * 20 + [3] * 20, 0)
    (note,) = data_report(made(train)).notes
    assert note.startswith("the categories are imbalanced: apple has 60 training pairs, bear has 2")
    train = split("train", [0] * 97 + [1, 2, 3], 0)
    assert (
        "97.0% of the training pairs have the category 'apple'"
        in data_report(made(train)).warnings[0]
    )


def test_labels_per_pair():
    hot = np.eye(4, dtype=np.uint8)[np.arange(80) % 4]
    hot[:40, 0] = 1
    report = data_report(made({"label": hot}, {"label": hot[:40]}))
    assert report.splits["train"]["labels/pair"] == 1.375


def test_notes_of_the_reader_come_first():
    assert data_report(made(notes=("3 of 9 pairs are left out",))).notes[0].startswith("3 of 9")
