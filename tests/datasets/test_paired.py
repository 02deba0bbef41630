"""`PairedDataset`: what it makes of good data, and what it says about bad data."""

import re
from dataclasses import replace

import numpy as np
import pytest

from xgacmn_tf.datasets.paired import PairedDataset, Split, give_back, hold_out
from xgacmn_tf.errors import InputError

NAMES = ("cat", "dog", "emu")


@pytest.fixture
def make(make_split):
    """Makes a data set; keywords such as `text_test` replace one array of one split."""

    def make_dataset(label_names=NAMES, **arrays) -> PairedDataset:
        parts = {"train": {}, "test": {}}
        for name, value in arrays.items():
            field, part = name.split("_")
            parts.setdefault(part, {})[field] = value
        splits = {part: make_split(part, **fields) for part, fields in parts.items()}
        return PairedDataset(name="toy", label_names=label_names, source="toy.npz", **splits)

    return make_dataset


def refusal(make, **arrays) -> str:
    with pytest.raises(InputError) as caught:
        make(**arrays)
    return str(caught.value)


def test_types_are_cast_on_purpose(make):
    dataset = make(
        image_train=np.ones((6, 4), np.uint8),
        label_train=np.array([0.0, 1, 2, 0, 1, 2]),  # MATLAB's doubles
        id_train=np.arange(6),
        title_train=np.array([b"caf\xc3\xa9"] * 6),
    )
    assert dataset.train.image.dtype == np.float32
    assert dataset.test.text.dtype == np.float32
    assert dataset.train.label.dtype == np.int32
    assert dataset.train.id.tolist() == ["0", "1", "2", "3", "4", "5"]
    assert dataset.train.title[0] == "café"
    assert (dataset.num_classes, dataset.image_dim, dataset.text_dim) == (3, 4, 2)


def test_float32_features_are_not_copied(make):
    image = np.ones((6, 4), np.float32)
    assert np.shares_memory(make(image_train=image).train.image, image)


def test_targets_of_single_labels_and_of_multi_hot_ones(make):
    single = make(label_train=np.array([2, 0, 1, 2, 2, 0]))
    np.testing.assert_array_equal(single.train.targets(3)[:2], [[0, 0, 1], [1, 0, 0]])
    assert single.train.targets(3).dtype == np.float32
    hot = np.array([[1, 0, 1]] * 3 + [[0, 1, 0]] * 3, bool)
    multi = make(label_train=hot, label_test=hot)
    assert multi.train.label.dtype == np.uint8
    np.testing.assert_array_equal(multi.train.targets(3), hot.astype(np.float32))


def test_a_split_is_shown_by_the_shapes_of_its_arrays(make):
    dataset = make(thumbnail_train=(b"RIFF" * 1000,) * 6)
    expected = "Split(image (6, 4), text (6, 2), label (6,), id (6,), thumbnail (6,))"
    assert repr(dataset.train) == expected and expected in repr(dataset)


def test_take_keeps_pairs_together(make):
    dataset = make(
        title_train=np.array(list("abcdef")),
        thumbnail_train=(b"1", b"2", b"3", b"4", b"5", b"6"),
    )
    taken = dataset.train.take(np.array([4, 1]))
    assert taken.title.tolist() == ["e", "b"]
    assert taken.thumbnail == (b"5", b"2")
    assert taken.id.tolist() == ["train-4", "train-1"]
    np.testing.assert_array_equal(taken.image, dataset.train.image[[4, 1]])
    mask = np.array([0, 1, 0, 0, 1, 0], bool)
    assert dataset.train.take(mask).thumbnail == (b"2", b"5")


NAN = np.ones((6, 2))
NAN[2, 1], NAN[4, 0] = np.nan, np.inf
HUGE = np.ones((6, 4))
HUGE[5, 3] = 1e300
EMPTY_ROW = np.array([[1, 0, 0]] * 3 + [[0, 0, 0]] + [[0, 1, 0]] * 2)
TWO = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 1]] * 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"text_test": NAN}, "text_test holds 2 values .* first at row 2, column 1"),
        ({"image_train": HUGE}, "image_train holds 1 values .* first at row 5, column 3"),
        ({"image_train": np.ones((6, 4), complex)}, "image_train has dtype complex128"),
        ({"image_train": np.full((6, 4), "x")}, "image_train has dtype <U1"),
        ({"image_train": np.full((6, 4), None)}, "image_train has dtype object"),
        ({"text_train": np.ones(6)}, r"text_train has shape \(6,\)"),
        ({"text_train": np.ones((6, 0))}, r"text_train has shape \(6, 0\)"),
        ({"image_test": np.ones((0, 4))}, "image_test is empty"),
        ({"text_test": np.ones((5, 2))}, "text_test has 5 rows, image_test has 6"),
        ({"label_test": np.zeros(7, int)}, "label_test has 7 rows, image_test has 6"),
        ({"id_test": np.arange(5)}, "id_test has 5 rows"),
        ({"title_test": np.array(["a"])}, "title_test has 1 rows"),
        ({"thumbnail_test": (b"a",)}, "thumbnail_test has 1 rows"),
        ({"thumbnail_test": (b"a", b"b", "c", b"", b"e", b"f")}, "thumbnail_test .* at row 2"),
        ({"text_test": np.ones((6, 3))}, "text_test has 3 columns, text_train has 2"),
        ({"image_validation": np.ones((6, 5))}, "image_validation has 5 columns"),
        ({"label_train": np.array([0, 1, 3, 0, 1, 2])}, "label_train holds 3 at row 2.*0 to 2"),
        ({"label_train": np.array([0, -2, 1, 0, 1, 2])}, "label_train holds -2 at row 1"),
        ({"label_train": np.array([0, 1, 1.5, 0, 1, 2])}, "label_train holds 1.5 at row 2"),
        (
            {"label_train": np.array([0, 1, np.nan, 0, 1, 2])},
            r"label_train: 1 of 6 .* \(NaN\), in row 2 ",
        ),
        ({"label_train": np.array([0, 1, 2**40, 0, 1, 2])}, "label_train holds 1099511627776"),
        ({"label_train": np.array(list("abcabc"))}, "label_train has dtype <U1"),
        ({"label_train": np.zeros((6, 3, 1))}, r"label_train has shape \(6, 3, 1\)"),
        ({"label_train": np.ones((6, 4))}, "label_train has 4 columns.* 3 label names"),
        ({"label_train": TWO}, "label_train holds 2 at row 1, column 1"),
        (
            {"label_train": TWO.clip(max=1), "label_test": EMPTY_ROW},
            "label_test has no label in row 3",
        ),
        ({"label_test": np.array([0, -1, 1, 0, 1, 2])}, "label_test has no label in row 1"),
        ({"label_train": TWO.clip(max=1)}, "label_test and label_train differ in kind"),
        ({"label_train": np.ones(6, int)}, "label_train holds 1 class; .* at least 2"),
        ({"id_train": np.array(list("abcbad"))}, "id_train holds 'b' twice"),
        ({"id_test": np.array([*"abcde", "train-3"])}, "'train-3' is in both id_train and id_"),
        ({"id_test": np.ones(6)}, "id_test has dtype float64; expected strings"),
        ({"id_test": np.full((6, 2), "a")}, r"id_test has shape \(6, 2\)"),
        ({"title_test": np.array([b"\xff"] * 6)}, "title_test is not valid UTF-8"),
        ({"label_names": ("cat", "dog", "cat")}, "label_names holds 'cat' twice"),
        ({"label_names": ("cat", "dog")}, "label_train holds 2 at row 2; .* 2 label names"),
    ],
)
def test_bad_data_are_refused_by_name(make, arrays, message):
    found = refusal(make, **arrays)
    assert found.startswith("toy.npz: ")
    assert re.search(message, found), found
    assert "\n" not in found


def test_ids_of_validation_and_test_must_differ_too(make):
    found = refusal(make, id_validation=np.array(list("abcdef")), id_test=np.array(list("ghijka")))
    assert "'a' is in both id_validation and id_test" in found


def test_data_in_memory_are_named_by_the_data_set(make_split):
    with pytest.raises(InputError, match="data set 'mine': image_test is empty"):
        PairedDataset("mine", make_split(), make_split("test", image=np.ones((0, 4))), NAMES)


def test_fingerprint_depends_on_the_data_alone(make):
    base = make()
    assert re.fullmatch("[0-9a-f]{64}", base.fingerprint)
    assert replace(base, name="other", source="elsewhere").fingerprint == base.fingerprint
    # float64 in, float32 kept: the same values are the same data.
    assert make(image_train=base.train.image.astype(float)).fingerprint == base.fingerprint
    # Another memory order is the same data, too.
    assert make(image_train=np.asfortranarray(base.train.image)).fingerprint == base.fingerprint


def test_fingerprint_sees_every_part(make):
    base = make(title_train=np.array(list("abcdef")), thumbnail_train=(b"1",) * 6)
    nudged = base.train.image.copy()
    nudged[5, 3] = np.nextafter(nudged[5, 3], 9)
    train = base.train
    changed = [
        replace(base, train=replace(train, image=nudged)),
        replace(base, train=replace(train, text=train.text[::-1])),
        replace(base, train=replace(train, label=train.label[::-1])),
        replace(base, train=replace(train, id=train.id[::-1])),
        replace(base, train=replace(train, title=train.title[::-1])),
        replace(base, train=replace(train, title=None)),
        replace(base, train=replace(train, thumbnail=(b"2",) + (b"1",) * 5)),
        replace(base, label_names=("cat", "dog", "eel")),
        replace(base, label_names=("ca", "tdog", "emu")),
        replace(base, train=base.test, test=base.train),
    ]
    prints = {dataset.fingerprint for dataset in [base, *changed]}
    assert len(prints) == len(changed) + 1


def test_hold_out_gives_each_class_its_share(make):
    # 60, 30 and 10 pairs; a tenth of each is 6, 3 and 1.
    label = np.repeat([0, 1, 2], [60, 30, 10])
    dataset = large(make, label)
    held = hold_out(dataset, 0.1, seed=3)
    assert np.bincount(held.validation.label).tolist() == [6, 3, 1]
    assert np.bincount(held.train.label).tolist() == [54, 27, 9]
    assert sorted([*held.train.id, *held.validation.id]) == sorted(dataset.train.id)
    assert held.test is not None and held.test.id.tolist() == dataset.test.id.tolist()
    # Row i of every array is still the same pair.
    rows = np.array([int(name) for name in held.validation.id])
    np.testing.assert_array_equal(held.validation.image, dataset.train.image[rows])


def test_what_was_held_out_can_be_given_back(make):
    dataset = large(make, np.repeat([0, 1, 2], [60, 30, 10]))
    held = hold_out(dataset, 0.1, seed=3)
    whole = give_back(held)
    assert whole.validation is None and not whole.held_out
    assert sorted(whole.train.id) == sorted(dataset.train.id)
    rows = np.array([int(name) for name in whole.train.id])
    np.testing.assert_array_equal(whole.train.text, dataset.train.text[rows])
    # A data set's own validation split stays what it is.
    validation = dataset.train.take(np.arange(5))
    own = replace(dataset, train=dataset.train.take(np.arange(5, 100)), validation=validation)
    assert give_back(own) is own


def test_hold_out_is_a_function_of_the_seed(make):
    dataset = large(make, np.repeat([0, 1, 2], 40))
    first, again, other = (hold_out(dataset, 0.2, seed).validation.id for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_hold_out_of_many_small_classes_keeps_the_total_and_every_class(make):
    # A tenth of 4 pairs rounds to none; of all 50 classes together it is 20 pairs.
    dataset = large(make, np.repeat(np.arange(50), 4))
    held = hold_out(dataset, 0.1, seed=0)
    assert len(held.validation) == 20
    assert np.bincount(held.train.label).min() >= 3


def test_hold_out_leaves_a_single_pair_of_a_class_in_training(make):
    dataset = large(make, np.array([0, 1, 2, 2, 2, 2]))
    held = hold_out(dataset, 0.5, seed=0)
    assert set(held.train.label) == {0, 1, 2}


def test_hold_out_of_multi_hot_labels_keeps_each_labels_share(make):
    generator = np.random.default_rng(0)
    hot = (generator.random((2000, 5)) < [0.5, 0.3, 0.1, 0.05, 0.02]).astype(np.uint8)
    hot[~hot.any(axis=1), 0] = 1
    dataset = large(make, hot)
    held = hold_out(dataset, 0.1, seed=0)
    share = held.validation.label.sum(axis=0) / hot.sum(axis=0)
    # Drawn blindly the rarest label (about 40 pairs) would stray by .05; here rounding alone does.
    np.testing.assert_allclose(share, 0.1, atol=0.02)
    assert len(held.validation) == pytest.approx(200, abs=10)


def test_hold_out_keeps_some_of_every_label_in_training(make):
    # Label 2 occurs only beside labels 0 and 1; blind draws would take both of its pairs at times.
    hot = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]], np.uint8)
    for seed in range(20):
        held = hold_out(large(make, hot), 0.5, seed)
        assert held.train.label.any(axis=0).all()


def test_hold_out_respects_a_validation_split_that_is_there(make):
    dataset = make(image_validation=np.ones((6, 4)))
    assert hold_out(dataset, 0.5, seed=0) is dataset


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_hold_out_refuses_a_fraction_out_of_range(make, fraction):
    with pytest.raises(InputError, match="between 0 and 1"):
        hold_out(make(), fraction, seed=0)


def test_hold_out_refuses_a_fraction_that_leaves_nothing(make):
    with pytest.raises(InputError, match="gives an empty validation split"):
        hold_out(make(), 0.01, seed=0)


def large(make, label: np.ndarray) -> PairedDataset:
    """A data set with these training labels and ids "0", "1", …."""
    rows, classes = len(label), int(label.max()) + 1 if label.ndim == 1 else label.shape[1]
    test = label[:6] if label.ndim == 2 else np.zeros(6, int)
    return make(
        label_names=tuple(f"class {k}" for k in range(classes)),
        image_train=np.arange(rows * 4.0).reshape(rows, 4),
        text_train=np.ones((rows, 2)),
        label_train=label,
        id_train=np.arange(rows),
        image_test=np.ones((len(test), 4)),
        text_test=np.ones((len(test), 2)),
        label_test=test,
        id_test=np.array([f"test-{k}" for k in range(len(test))]),
    )


def test_splits_come_in_order(make):
    assert [part for part, _ in make().splits()] == ["train", "test"]
    with_validation = make(image_validation=np.ones((6, 4)))
    assert [part for part, _ in with_validation.splits()] == ["train", "validation", "test"]
    assert all(isinstance(split, Split) for _, split in with_validation.splits())
