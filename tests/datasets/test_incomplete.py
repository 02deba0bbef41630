"""Training pairs without an image, a text or a category."""

import dataclasses

import numpy as np
import pytest

from xgacmn_tf.datasets import feature_file
from xgacmn_tf.datasets.extraction.extractor_files import write_feature_file
from xgacmn_tf.datasets.loading import load_dataset
from xgacmn_tf.datasets.paired import PairedDataset, Split, give_back, hold_out
from xgacmn_tf.datasets.report import data_report
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import FEW_PAIRS

ROWS = 40
HAS_IMAGE = np.arange(ROWS) % 5 != 1
HAS_TEXT = np.arange(ROWS) % 5 != 2
LABELED = np.arange(ROWS) % 5 != 3


def make_split(part: str, rows: int, **changes) -> Split:
    generator = np.random.default_rng(len(part))
    values = {
        "image": generator.normal(size=(rows, 4)).astype(np.float32),
        "text": generator.normal(size=(rows, 3)).astype(np.float32),
        "label": np.arange(rows) % 2,
        "id": np.array([f"{part}-{row}" for row in range(rows)]),
    }
    return Split(**(values | changes))


def incomplete(**changes) -> PairedDataset:
    train = make_split("train", ROWS)
    values = {
        "image": train.image * HAS_IMAGE[:, None],
        "text": train.text * HAS_TEXT[:, None],
        "label": np.where(LABELED, train.label, -1),
        "has_image": HAS_IMAGE,
        "has_text": HAS_TEXT,
    }
    train = dataclasses.replace(train, **(values | changes))
    return PairedDataset("toy", train, make_split("test", 8), ("cat", "dog"), source="toy.npz")


def test_pairs_are_told_by_what_they_have():
    train = incomplete().train
    np.testing.assert_array_equal(train.has("image"), HAS_IMAGE)
    masks = train.masks()
    assert list(masks) == ["has_image", "has_text", "has_label"]
    np.testing.assert_array_equal(masks["has_label"], LABELED)
    assert len(train.paired()) == (HAS_IMAGE & HAS_TEXT).sum()
    whole = train.complete()
    assert len(whole) == (HAS_IMAGE & HAS_TEXT & LABELED).sum() and whole.masks() == {}
    assert whole.complete() is whole
    # Images that are missing are not the same image.
    assert len(np.unique(train.image_keys)) == len(np.unique(train.text_keys)) == ROWS


def test_masks_that_are_all_true_are_dropped():
    split = make_split("train", ROWS, has_image=np.ones(ROWS, np.uint8))
    dataset = PairedDataset("toy", split, make_split("test", 8), ("cat", "dog"))
    assert dataset.train.has_image is None
    plain = PairedDataset("toy", make_split("train", ROWS), dataset.test, ("cat", "dog"))
    assert dataset.fingerprint == plain.fingerprint != incomplete().fingerprint


def test_a_feature_file_holds_incomplete_pairs(tmp_path):
    dataset = incomplete()
    write_feature_file(dataset, tmp_path / "pairs.npz")
    read = feature_file.load(tmp_path / "pairs.npz")
    assert read.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(read.train.has_text, HAS_TEXT)
    # Unlabeled rows are not a class, even without names.
    with np.load(tmp_path / "pairs.npz") as arrays:
        arrays = {name: array for name, array in arrays.items() if name != "label_names"}
    np.savez(tmp_path / "nameless.npz", **arrays)
    assert feature_file.load(tmp_path / "nameless.npz").label_names == ("0", "1")
    # Among names, an empty one marks them.
    named = {name: np.array(["cat", "dog", ""])[arrays[name]] for name in arrays if "label" in name}
    np.savez(tmp_path / "named.npz", **arrays | named)
    read = feature_file.load(tmp_path / "named.npz")
    assert read.label_names == ("cat", "dog")
    np.testing.assert_array_equal(read.train.masks()["has_label"], LABELED)


def test_only_complete_pairs_are_held_out_and_no_group_is_divided():
    group = np.arange(ROWS) // 2
    plain = incomplete()
    dataset = dataclasses.replace(
        plain,
        train=dataclasses.replace(plain.train, group=group.astype(str)),
        test=dataclasses.replace(plain.test, group=plain.test.id),
    )
    held = hold_out(dataset, 0.3, seed=0)
    assert held.validation.masks() == {} and len(held.validation)
    complete = HAS_IMAGE & HAS_TEXT & LABELED
    whole_groups = {str(g) for g in range(ROWS // 2) if complete[group == g].all()}
    assert set(held.validation.group.tolist()) <= whole_groups
    again = give_back(held).train
    assert sorted(again.id.tolist()) == sorted(dataset.train.id.tolist())
    assert again.masks()["has_image"].sum() == HAS_IMAGE.sum()


def test_batches_have_masks_only_where_something_is_missing():
    (batch,) = incomplete().train.batches(ROWS)
    np.testing.assert_array_equal(batch["has_label"], LABELED)
    (batch,) = make_split("train", ROWS).batches(ROWS)
    assert set(batch) == {"image", "text", "label"}


def test_the_report_counts_what_is_missing():
    report = data_report(incomplete())
    notes = "\n".join(report.notes)
    for what in ("image", "text", "category"):
        assert f"8 of 40 train pairs have no {what}" in notes
    assert "carry no information" not in notes and not report.warnings
    assert report.splits["train"]["images"] == HAS_IMAGE.sum()
    assert report.splits["train"]["labels/pair"] == 0.8


TWO_HOT = np.eye(2, dtype=np.uint8)[np.arange(8) % 2]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"has_image": HAS_IMAGE[:-1]}, r"has_image_train has shape \(39,\).*each of 40 pairs"),
        ({"has_image": HAS_IMAGE * 2}, "has_image_train holds values other than 0 and 1"),
        ({"has_image": HAS_IMAGE.astype(str)}, "has_image_train has shape .* dtype <U5"),
        ({"image": np.ones((ROWS, 4))}, "has_image_train is false in row 1, which has features"),
        ({"has_text": HAS_IMAGE, "text": np.zeros((ROWS, 3))}, "8 pairs of train have neither"),
        ({"label": np.full(ROWS, -2)}, "label_train holds -2 at row 0"),
        ({"label": np.where(LABELED, 0, -1)}, "label_train holds 1 class"),
    ],
)
def test_contradictions_are_rejected(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        incomplete(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"label": np.full(8, -1)}, "label_test has no label in row 0 .*the training split"),
        ({"label": TWO_HOT * 0}, "label_test has no label in row 0"),
        ({"has_text": np.arange(8) > 0, "text": np.zeros((8, 3))}, "has_text_test is false in row"),
    ],
)
def test_the_test_split_is_complete(changes, message):
    train = make_split("train", 8)
    if changes.get("label", train.label).ndim == 2:
        train = dataclasses.replace(train, label=TWO_HOT)
    with pytest.raises(InputError, match=message):
        PairedDataset("toy", train, make_split("test", 8, **changes), ("cat", "dog"))


def test_no_validation_split_of_few_pairs_in_complete_groups(tmp_path):
    rows = 2 * FEW_PAIRS
    train, test = make_split("train", rows), make_split("test", 8)
    arrays = {"group_train": np.arange(rows) // 2, "group_test": np.arange(8) + rows}
    for part, split in (("train", train), ("test", test)):
        for name in ("image", "text", "label", "id"):
            arrays[f"{name}_{part}"] = getattr(split, name)
    # One pair of each group but the last has no category.
    label = arrays["label_train"] = arrays["label_train"].copy()
    label[:-2:2] = -1
    np.savez(tmp_path / "pairs.npz", **arrays)
    dataset = load_dataset(str(tmp_path / "pairs.npz"))
    assert dataset.validation is None
    assert dataset.notes[-1].startswith("2 training pairs in complete groups are too few")
