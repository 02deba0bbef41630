"""`load`: which name leads where, and what it says about names that lead nowhere."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xgacmn_tf.datasets.extraction as extraction_package
from xgacmn_tf.datasets import (
    BUILDERS,
    PairedDataset,
    Split,
    cache_folder,
    load,
    load_raw,
    pascal_sentence,
    wikipedia,
)
from xgacmn_tf.datasets.catalog import BUNDLED
from xgacmn_tf.datasets.loading import load_dataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import FEW_PAIRS
from xgacmn_tf.settings.sections import FeatureSpec


@pytest.fixture
def features(tmp_path):
    np.savez(
        tmp_path / "mine.npz",
        image_train=np.ones((4, 3)), text_train=np.ones((4, 2)), label_train=[0, 1, 0, 1],
        image_test=np.ones((2, 3)), text_test=np.ones((2, 2)), label_test=[1, 0],
    )  # fmt: skip
    return tmp_path / "mine.npz"


@pytest.mark.parametrize("rows", [249, 250])
def test_a_validation_split_is_held_out_of_enough_pairs_or_where_a_fraction_is_given(
    rows, tmp_path, make_split
):
    arrays = {
        f"{name}_{part}": getattr(make_split(part, part_rows), name)
        for part, part_rows in (("train", rows), ("test", 6))
        for name in ("image", "text", "label", "id")
    }
    np.savez(tmp_path / "pairs.npz", **arrays)
    dataset = load_dataset(str(tmp_path / "pairs.npz"))
    if rows < FEW_PAIRS:
        assert dataset.validation is None and len(dataset.train) == rows
        assert dataset.notes[-1].startswith(f"{rows} training pairs are too few to hold out")
    else:
        assert len(dataset.validation) == 50 and dataset.held_out and not dataset.notes
    given = load_dataset(str(tmp_path / "pairs.npz"), validation_fraction=0.2)
    assert len(given.validation) == pytest.approx(0.2 * rows, abs=1) and not given.notes


def test_a_path_is_read_as_it_stands_or_from_data_dir(features, monkeypatch):
    expected = load(str(features)).fingerprint
    assert load("mine.npz", data_dir=str(features.parent)).fingerprint == expected
    assert load(str(features), data_dir="/nowhere").fingerprint == expected  # absolute paths win
    for name in ("mine.npz", "wikipedia", "nuswide"):
        with pytest.raises(InputError, match="--data_dir=/nowhere: there is no such folder"):
            load(name, data_dir="/nowhere")
    with pytest.raises(InputError, match="--data_dir=/nowhere: there is no such folder"):
        load_raw("pairs.csv", data_dir="/nowhere")
    monkeypatch.chdir(features.parent)
    assert load("mine.npz").fingerprint == expected


@pytest.mark.parametrize("reader", [wikipedia, pascal_sentence])
def test_distributed_data_sets_are_read_by_their_modules(reader, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(
        reader, "load", lambda files, *arguments: calls.append((str(files.folder), *arguments))
    )
    monkeypatch.setattr(
        reader,
        "load_raw",
        lambda files, *arguments: calls.append(("raw", str(files.folder), *arguments)),
    )
    protocol, folder = list(reader.PROTOCOLS)[1], str(tmp_path)
    load(reader.DISTRIBUTION.name, folder)
    load(reader.DISTRIBUTION.name, folder, protocol=protocol, seed=7)
    load_raw(reader.DISTRIBUTION.name, folder, protocol=protocol, seed=7)
    assert calls == [(folder, None, 0), (folder, protocol, 7), ("raw", folder, protocol, 7)]


@pytest.mark.parametrize("name", ["hf:", "tfds:"])
def test_a_prefix_without_a_name_is_an_error(name):
    with pytest.raises(InputError, match=f"--dataset={name} names no data set; expected {name}"):
        load(name)


def test_unknown_protocols(features):
    for read in (load, load_raw):
        with pytest.raises(InputError, match="'5000' for data set 'wikipedia'; .* 2173, 1300"):
            read("wikipedia", protocol="5000")
    for name in ("openclipart", str(features), "mnist", "pairs.csv"):
        with pytest.raises(InputError, match="allowed is none, as it has no protocols"):
            load(name, protocol="2173")


@pytest.fixture
def extraction(monkeypatch):
    """Stands for `extract_features`: records what it is asked for, hands out 3 + 2 pairs."""
    calls = []

    def split(part, rows):
        ids = np.array([f"{part}{row}" for row in range(rows)])
        return Split(np.ones((rows, 4)), np.zeros((rows, 2)), np.arange(rows) % 2, ids)

    def extract(pairs, features, seed):
        calls.append((pairs, features, seed))
        return PairedDataset("made", split("a", 3), split("b", 2), ("x", "y"), source="extractors")

    monkeypatch.setattr(extraction_package, "extract_features", extract)
    monkeypatch.setattr(wikipedia, "load_raw", lambda files, *arguments: ("raw", *arguments))
    return calls


def test_named_features_are_extracted_from_the_raw_pairs(extraction, tmp_path):
    settings = {
        "cache_dir": tmp_path,
        "image_weights": "w.h5",
        "text_weights": "preset",
        "on_bad_image": "skip",
    }
    names = {"image_features": "vgg19", "text_features": "bow"}
    dataset = load("wikipedia", str(tmp_path), "1300", 5, **names, **settings)
    spec = FeatureSpec(**names, **{**settings, "cache_dir": str(tmp_path)})
    assert extraction == [(("raw", "1300", 5), spec, 5)]
    assert dataset.source == "extractors"


def test_the_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "xgacmn_tf"
    assert cache_folder("features") == Path("features")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "xgacmn_tf"


def test_texts_features_of_the_data_sets_own_beside_images_made_anew(
    extraction, monkeypatch, tmp_path
):
    """`own_texts` is asked for the ids that were extracted, as bad pictures may be left out."""
    asked = []

    def own_texts(files, ids):
        asked.append((files.folder, ids.tolist()))
        return np.array([[int(name[1:]), 7, 7] for name in ids])

    monkeypatch.setattr(wikipedia, "own_texts", own_texts, raising=False)
    dataset = load("wikipedia", str(tmp_path), image_features="vgg19")
    assert asked == [(tmp_path, ["a0", "a1", "a2", "b0", "b1"])]  # once: it reads large files
    np.testing.assert_array_equal(dataset.train.text, [[0, 7, 7], [1, 7, 7], [2, 7, 7]])
    np.testing.assert_array_equal(dataset.test.text, [[0, 7, 7], [1, 7, 7]])
    np.testing.assert_array_equal(dataset.train.image, np.ones((3, 4)))
    assert dataset.source == ""  # the extractors there do not make these texts' features


def test_image_features_that_a_data_set_has_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(wikipedia, "IMAGE_FEATURES", ("ch", "cm55"), raising=False)
    monkeypatch.setattr(wikipedia, "load", lambda files, *arguments: arguments)
    assert load("wikipedia", str(tmp_path), image_features="cm55") == (None, 0, "cm55")
    with pytest.raises(InputError, match="leave text_features out"):
        load("wikipedia", image_features="ch", text_features="bow")


def test_features_that_cannot_be_made(features, tmp_path):
    for name in (str(features), "mnist"):
        with pytest.raises(InputError, match="comes with its features and takes no others"):
            load(name, image_features="vgg19", text_features="bow")
    for name in (*BUNDLED, str(features), "mnist"):
        with pytest.raises(InputError, match="has no images and texts"):
            load_raw(name)
    for one in ({"image_features": "vgg19"}, {"text_features": "bow"}):
        for name in ("wikipedia", "pairs.csv"):
            with pytest.raises(InputError, match=r"name both image_features \(.*vgg19.*bow"):
                load(name, **one)
    with pytest.raises(
        InputError, match="pairs.tsv is a table of .* holds no features: name both image_features"
    ):
        load("pairs.tsv")
    for one in ({"image_weights": "w.h5"}, {"text_weights": "preset"}):
        with pytest.raises(InputError, match="weights have no use without"):
            load("wikipedia", **one)


def test_pickles_are_refused_unread(tmp_path):
    (tmp_path / "deep.pkl").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(InputError, match="can run any program.*np.savez"):
        load("deep.pkl", str(tmp_path))
    assert not (tmp_path / "opened").exists()


def test_the_modules_of_tfds_builders_exist():
    for name, module in BUILDERS.items():
        assert importlib.util.find_spec(module) is not None, name


@pytest.mark.parametrize("name", ["", "data.json", "Wiki pedia", "../up", "a/b/c.txt", "gs:thing"])
def test_names_that_lead_nowhere_list_what_is_allowed(name):
    with pytest.raises(
        InputError, match=r"emoji, openclipart, wikipedia.*\), a path .*\.npz.*\.tsv.*TFDS name"
    ):
        load(name)


def test_reading_a_file_loads_neither_tensorflow_nor_tfds(features):
    """The readers of other data sets cost seconds to import."""
    code = (
        f"import sys; from xgacmn_tf.datasets import load; load({str(features)!r});"
        "print({'tensorflow', 'tensorflow_datasets', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
