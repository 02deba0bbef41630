"""Pairs that share an image: how they are found, and what is reported of them."""

import hashlib

import numpy as np
import pytest

from xgacmn_tf.datasets.paired import PairedDataset, Split, give_back, hold_out
from xgacmn_tf.datasets.report import data_report
from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import content_keys, file_keys, first_rows, in_part, without_large


def split(prefix: str, images, classes: int = 3, group=None) -> Split:
    """A pair for each number in `images`; equal numbers share their image."""
    images = np.asarray(images)
    rows = len(images)
    features = np.stack([images, images**2, images % 7 + 0.5], axis=1).astype(np.float32)
    return Split(
        image=features,
        text=np.random.default_rng(rows).normal(size=(rows, 2)),
        label=images % classes,
        id=np.array([f"{prefix}-{row}" for row in range(rows)]),
        group=None if group is None else np.array(group),
    )


def dataset(train, test, **splits) -> PairedDataset:
    return PairedDataset("made", train, test, ("a", "b", "c"), **splits)


def test_keys_depend_on_values_alone():
    rows = np.array([[1.0, 0.0], [1.0, -0.0], [0.0, 1.0], [1.0, 0.0]], np.float32)
    keys = content_keys(rows)
    assert first_rows(keys).tolist() == [0, 0, 2, 0]
    np.testing.assert_array_equal(content_keys(np.asfortranarray(rows)), keys)


@pytest.mark.parametrize(("same", "used"), [(10, True), (11, False)])
def test_more_than_a_twentieth_of_identical_rows_is_no_group(same, used):
    # Of 200 rows 5 % are 10.
    rows = np.arange(200)
    rows[:same] = 0
    found = without_large(first_rows(content_keys(rows[:, np.newaxis])))
    assert found.tolist() == (rows if used else np.arange(200)).tolist()


def test_files_of_equal_content_have_one_key_and_are_read_once(tmp_path):
    contents = {"a": b"12", "b": b"34", "copy of a": b"12", "long": b"567"}
    paths = [tmp_path / name for name in (*contents, "a")]
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert first_rows(file_keys(paths)).tolist() == [0, 1, 0, 3, 0]


def test_a_file_is_read_again_only_if_it_changed(tmp_path, monkeypatch):
    read = []
    real = hashlib.file_digest

    def counting(file, name):
        read.append(file.name)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"before")
    (before,) = file_keys([path])
    assert file_keys([path, path]) == [before, before] and len(read) == 1
    path.write_bytes(b"afterwards")
    assert file_keys([path]) != [before] and len(read) == 2
    path.unlink()
    assert file_keys([path]) == [f"path:{path}"]


def test_a_part_is_drawn_by_key_and_seed():
    keys = [f"image {k}" for k in range(4000)]
    drawn = np.array([[in_part(key, 0.2, seed) for key in keys] for seed in (0, 1)])
    # Four standard deviations of a share of .2 over 4,000.
    assert np.abs(drawn.mean(axis=1) - 0.2).max() < 0.0253
    assert abs((drawn[0] & drawn[1]).mean() - 0.04) < 0.0124


@pytest.mark.parametrize("explicit", [False, True])
def test_validation_is_drawn_by_group(explicit):
    """Drawn by row, validation would hold images that are trained on."""
    images = np.repeat(np.arange(60), 5)
    train = split("train", images, group=[f"g{k}" for k in images] if explicit else None)
    if explicit:  # Features of their own: the groups decide.
        train = Split(**{**vars(train), "image": np.random.default_rng(1).normal(size=(300, 3))})
    test = split("test", [91, 92, 93], group=["x", "y", "z"] if explicit else None)
    held = hold_out(dataset(train, test), 0.2, seed=5)
    groups = held.groups
    assert not np.intersect1d(groups["train"], groups["validation"]).size
    assert len(held.validation) == 60 and len(held.train) == 240
    # Stratified: 20 images of each class, of which 4 are held out.
    assert np.bincount(held.validation.label).tolist() == [20, 20, 20]
    assert give_back(held).train.id.tolist() != train.id.tolist()
    assert set(give_back(held).train.id) == set(train.id)


def test_validation_without_shared_images_is_drawn_as_ever():
    """The part that the published figures were measured with."""
    train = split("train", np.arange(60))
    held = hold_out(dataset(train, split("test", [91, 92, 93])), 0.2, seed=5)
    rows = (7, 9, 19, 20, 21, 27, 41, 46, 47, 54, 55, 59)
    assert held.validation.id.tolist() == [f"train-{row}" for row in rows]


def test_every_class_with_two_groups_keeps_one_in_training():
    images = np.repeat([0, 3, 1, 4, 2, 5], 4)
    held = hold_out(dataset(split("train", images), split("test", [7, 8, 9])), 0.4, seed=0)
    assert set(held.train.label) == {0, 1, 2}


def test_groups_in_some_splits_only_are_rejected():
    with pytest.raises(InputError, match="group_test is given but group_train is missing"):
        dataset(split("train", range(6)), split("test", range(7, 10), group=["a", "b", "c"]))


def test_a_group_for_each_pair():
    with pytest.raises(InputError, match="group_train has 5 rows, image_train has 6"):
        dataset(split("train", range(6), group=["a"] * 5), split("test", range(7, 10)))


def test_groups_are_part_of_the_fingerprint_where_they_are_not_those_of_the_images():
    """Run folders of data whose groups add nothing are found again."""
    plain = dataset(split("train", range(6)), split("test", range(7, 10)))
    given = [
        dataset(
            split("train", range(6), group=list(g)), split("test", range(7, 10), group=[*"xyz"])
        )
        for g in ("abcdef", "abcdee")
    ]
    assert plain.fingerprint == given[0].fingerprint != given[1].fingerprint


def test_nothing_to_report():
    report = data_report(dataset(split("train", range(60)), split("test", range(90, 120))))
    assert report.notes == report.warnings == () and report.unusable == {}


def test_divided_groups_are_reported_with_counts_and_a_sample():
    train, test = np.repeat(np.arange(60), 2), [3, 3, 3, 4, 61, 62, 63]
    report = data_report(dataset(split("train", train), split("test", test)))
    (shared,), (divided,) = report.notes, report.warnings
    assert "120 train pairs in 60 groups, 7 test pairs in 5 groups" in shared
    assert "4 of 7 test pairs share an image or group with training pairs" in divided
    assert "such as test-0, test-1, test-2 and 1 more" in divided
    # The validation split that is held out later neither hides nor doubles it.
    held = hold_out(dataset(split("train", train), split("test", test)), 0.2, seed=0)
    assert data_report(held).warnings == (divided,)


def test_a_given_validation_split_that_divides_groups_is_reported():
    made = dataset(
        split("train", range(60)),
        split("test", [91, 92, 93]),
        validation=split("validation", [5, 6, 70]),
    )
    assert "2 of 3 validation pairs share an image" in data_report(made).warnings[0]


def test_constant_features_are_reported_and_not_used():
    """Grouped, 40 pairs without an image would move whole splits."""
    images = np.arange(100)
    images[:40] = 3
    made = dataset(split("train", images), split("test", [191, 192, 193]))
    assert len(np.unique(made.groups["train"])) == 100
    (warning,) = data_report(made).warnings
    assert warning.startswith("40 of 103 pairs are in groups of more than 5% of all pairs")


def test_explicit_groups_stay_together_whatever_their_size():
    """Eight products with 25 images each, say."""
    group = [f"product {row // 25}" for row in range(200)]
    made = dataset(
        split("train", range(200), group=group), split("test", [201, 202, 203], group=[*"xyz"])
    )
    held = hold_out(made, 0.25, seed=0)
    assert len(held.validation) == 50
    assert not np.intersect1d(held.groups["train"], held.groups["validation"]).size
    notes = data_report(made).notes
    assert (
        "200 of 203 pairs are in groups of more than 5% of all pairs, which stay together"
        in notes[1]
    )


def test_pairs_without_a_group_belong_to_those_with_the_same_image():
    group = ["", "", "a", "a", "", "b"]
    made = dataset(
        split("train", [1, 1, 2, 3, 2, 4], group=group), split("test", [7, 8, 9], group=[*"xyz"])
    )
    assert first_rows(made.groups["train"]).tolist() == [0, 0, 2, 2, 4, 5]
