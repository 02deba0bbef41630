"""The TFDS reader, on small data sets that TFDS itself writes to disk."""

import numpy as np
import pytest

from xgacmn_tf.datasets import load
from xgacmn_tf.errors import InputError

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")
F = tfds.features

VECTORS = {
    "image": F.Tensor(shape=(4,), dtype=np.float32),
    "text": F.Tensor(shape=(2,), dtype=np.float32),
}


def columns(rows: int, first: int = 0) -> dict:
    generator = np.random.default_rng(first)
    return {
        "image": generator.normal(size=(rows, 4)).astype(np.float32),
        "text": generator.normal(size=(rows, 2)).astype(np.float32),
        "label": np.arange(rows) % 3,
    }


@pytest.fixture
def store(tmp_path):
    """Writes a TFDS data set called `pairs` and returns its data folder."""

    def write(features: dict, splits: dict, **kwargs) -> str:
        tfds.dataset_builders.store_as_tfds_dataset(
            name="pairs",
            version="1.2.0",
            data_dir=str(tmp_path),
            features=F.FeaturesDict(features),
            split_datasets={
                part: tf.data.Dataset.from_tensor_slices(content)
                for part, content in splits.items()
            },
            disable_shuffling=True,
            **kwargs,
        )
        return str(tmp_path)

    return write


@pytest.mark.parametrize("suffix", ["", ":1.2.0"])
def test_vectors_and_class_labels(store, suffix):
    train, test = columns(6), columns(3, first=1)
    features = {**VECTORS, "label": F.ClassLabel(names=["cat", "dog", "emu"])}
    dataset = load("pairs" + suffix, store(features, {"train": train, "test": test}))
    assert dataset.label_names == ("cat", "dog", "emu")
    assert dataset.validation is None
    for split, expected in ((dataset.train, train), (dataset.test, test)):
        np.testing.assert_array_equal(split.image, expected["image"])
        np.testing.assert_array_equal(split.text, expected["text"])
        np.testing.assert_array_equal(split.label, expected["label"])
    assert dataset.test.id.tolist() == ["test/0", "test/1", "test/2"]


def test_a_config(store):
    features = {**VECTORS, "label": F.ClassLabel(num_classes=3)}
    data_dir = store(features, {"train": columns(6), "test": columns(3, 1)}, config="shallow")
    assert len(load("pairs/shallow:1.2.0", data_dir).train) == 6
    assert len(load("pairs/shallow", data_dir).train) == 6


def test_all_optional_features_and_others_left_alone(store):
    def full(rows, prefix):
        return {
            **columns(rows),
            "id": [f"{prefix}{k}" for k in range(rows)],
            "group": [f"{prefix}{k // 2}" for k in range(rows)],
            "title": [f"café {k}" for k in range(rows)],
            "thumbnail": [b"\xff\xd8 %d" % k for k in range(rows)],
            "picture": np.zeros((rows, 5, 5, 3), np.uint8),
        }

    features = {
        **VECTORS,
        "label": F.Scalar(np.int64), "id": F.Text(), "title": F.Text(), "thumbnail": F.Text(),
        "picture": F.Image(shape=(None, None, 3)), "group": F.Text(),
    }  # fmt: skip
    splits = {"train": full(6, "a"), "validation": full(3, "b"), "test": full(4, "c")}
    dataset = load("pairs", store(features, splits))
    assert dataset.validation.id.tolist() == ["b0", "b1", "b2"]
    assert dataset.test.title[2] == "café 2"
    assert dataset.test.group.tolist() == ["c0", "c0", "c1", "c1"]
    assert dataset.train.thumbnail[5] == b"\xff\xd8 5"
    assert dataset.label_names == ("0", "1", "2")


def test_multi_hot_labels(store):
    hot = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]], np.uint8)
    features = {**VECTORS, "label": F.Tensor(shape=(3,), dtype=np.uint8)}
    splits = {part: {**columns(3), "label": hot} for part in ("train", "test")}
    dataset = load("pairs", store(features, splits))
    np.testing.assert_array_equal(dataset.train.label, hot)


def test_data_are_checked_like_any_others(store):
    train = columns(6)
    train["text"][4, 1] = np.nan
    features = {**VECTORS, "label": F.ClassLabel(num_classes=3)}
    data_dir = store(features, {"train": train, "test": columns(3)})
    with pytest.raises(InputError, match="pairs/1.2.0: text_train holds 1 .* row 4, column 1"):
        load("pairs", data_dir)


def test_a_missing_split(store):
    features = {**VECTORS, "label": F.ClassLabel(num_classes=3)}
    data_dir = store(features, {"train": columns(6), "dev": columns(3)})
    with pytest.raises(InputError, match="has the splits .*dev"):
        load("pairs", data_dir)


@pytest.mark.parametrize(
    ("feature", "value", "wrong"),
    [
        ({"image": F.Image(shape=(2, 2, 3))}, np.zeros((3, 2, 2, 3), np.uint8), "image"),
        ({"image": F.Tensor(shape=(None,), dtype=np.float32)}, np.ones((3, 4), "f4"), "image"),
        ({"text": F.Text()}, ["a", "b", "c"], "text"),
        ({"text": F.Tensor(shape=(2,), dtype=np.int64)}, np.ones((3, 2), int), "text"),
        ({"label": F.Text()}, ["a", "b", "c"], "label"),
        ({"label": F.Sequence(F.ClassLabel(num_classes=3))}, np.ones((3, 2), int), "label"),
        ({"title": F.Tensor(shape=(2,), dtype=np.float32)}, np.ones((3, 2), "f4"), "title"),
        ({"text": F.FeaturesDict({"a": F.Text()})}, {"a": ["a", "b", "c"]}, "text"),
    ],
)
def test_features_that_do_not_fit_are_named(store, feature, value, wrong):
    features = {**VECTORS, "label": F.ClassLabel(num_classes=3), **feature}
    content = {**columns(3), wrong: value}
    data_dir = store(features, {"train": content, "test": content})
    with pytest.raises(InputError) as caught:
        load("pairs", data_dir)
    assert f"pairs/1.2.0 does not fit in {wrong}. Its examples hold" in str(caught.value)
    assert "expected are image and text (vectors of floats)" in str(caught.value)


def test_unfit_data_sets_are_refused_before_anything_is_downloaded(tmp_path, monkeypatch):
    def download(*_, **__):
        raise AssertionError("started a download")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download)
    with pytest.raises(InputError, match="mnist.* does not fit in text, image"):
        load("mnist", str(tmp_path))


def test_failing_preparations_are_reported(tmp_path, monkeypatch, store):
    features = {**VECTORS, "label": F.ClassLabel(num_classes=3)}
    data_dir = store(features, {"train": columns(6), "test": columns(3)})

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match="could not be prepared in .*: no route to host"):
        load("pairs", data_dir)


@pytest.mark.parametrize("name", ["nosuchpairs", "mnist/nosuchconfig", "mnist:9.9.9"])
def test_unknown_names_list_what_is_allowed(tmp_path, name):
    with pytest.raises(InputError) as caught:
        load(name, str(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"unknown data set {name!r}; allowed are a built-in data set")
    assert "\n" not in message
