"""Data sets that come with the package: their common layout, features, protocols and errors."""

import configparser
import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf import datasets
from xgacmn_tf.datasets import load
from xgacmn_tf.datasets.bundled import (
    EXTRACTORS,
    SHORT,
    SPLITS,
    TEXT_FEATURES,
    TEXTS,
    THUMBNAILS,
)
from xgacmn_tf.datasets.catalog import BUNDLED
from xgacmn_tf.datasets.emoji import EMOJI
from xgacmn_tf.datasets.openclipart import OPENCLIPART
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.gallery import from_dataset
from xgacmn_tf.settings.config import Config

ROOT = Path(__file__).parent.parent.parent
DATA_SETS = {"emoji": EMOJI, "openclipart": OPENCLIPART}
THUMBNAIL_SIDE = {"emoji": 136, "openclipart": 144}


@pytest.fixture(scope="module", params=DATA_SETS)
def bundled(request):
    return DATA_SETS[request.param]


@pytest.fixture(scope="module")
def data(bundled):
    return bundled.load()


@pytest.fixture(scope="module")
def counted(bundled):
    return bundled.load("bow")


def short_rows(bundled, file=TEXTS):
    """Rows of the table whose images have a further caption."""
    with np.load(bundled.data / file, allow_pickle=False) as arrays:
        return arrays["short_row"].tolist()


def pairs_of(bundled, name):
    """(row of the table, whether it is the pair of its further caption) of each pair of a split."""
    rows = bundled.entries()
    pairs = [(row, False) for row in rows if row["split"] == name]
    return pairs + [(rows[n], True) for n in short_rows(bundled) if rows[n]["split"] == name]


def test_every_bundled_data_set_is_tested_here():
    assert set(DATA_SETS) == set(BUNDLED)
    assert all(name == bundled.name for name, bundled in DATA_SETS.items())


def test_shapes_dtypes_and_ranges(bundled, data, counted):
    assert data.name == counted.name == bundled.name
    for name, split in data.splits():
        other = dict(counted.splits())[name]
        assert split.image.shape == (len(split), 1280) and split.image.dtype == np.float32
        assert 0 <= split.image.min() and 0 < split.image.max() <= 6.0001
        assert split.text.shape == (len(split), 384) and split.text.dtype == np.float32
        # Embeddings of unit length, rounded to 11 bits.
        np.testing.assert_allclose(np.linalg.norm(split.text, axis=1), 1, atol=1e-3)
        assert other.text.shape == (len(split), 1000) and other.text.dtype == np.float32
        assert (other.text == np.rint(other.text)).all() and other.text.min() == 0
        assert split.label.shape == (len(split),) and split.label.dtype == np.int32
        assert set(split.label) == set(range(len(data.label_names)))


def test_text_features_differ_in_the_texts_alone(data, counted):
    for name, split in data.splits():
        other = dict(counted.splits())[name]
        for field in ("image", "label", "id", "title", "fine_label"):
            np.testing.assert_array_equal(getattr(split, field), getattr(other, field))
        assert split.thumbnail == other.thumbnail
    assert data.label_names == counted.label_names
    assert data.fingerprint != counted.fingerprint


def test_rows_are_those_of_the_table(bundled, data):
    rows = bundled.entries()
    assert [row["split"] for row in rows] == sorted(
        (row["split"] for row in rows), key=SPLITS.index
    )
    for name, split in data.splits():
        pairs = pairs_of(bundled, name)
        own = [row for row, _ in pairs]
        assert list(split.id) == [row["id"] + SHORT * short for row, short in pairs]
        assert list(split.title) == [row["title"] for row in own]
        named = [data.label_names[label].replace(" ", "_") for label in split.label]
        assert named == [row["id"].partition("/")[0] for row in own]
        assert list(split.fine_label) == [row["id"].rpartition("/")[0] for row in own]
    short = short_rows(bundled)
    assert sum(len(split) for _, split in data.splits()) == len(rows) + len(short)
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["title"] and row["text"] for row in rows)


def test_counts_are_the_words_of_the_texts(bundled, counted):
    extractor = load_extractor(Path(counted.source) / "text")
    assert tuple(extractor.vocabulary) == bundled.vocabulary()
    assert len(set(bundled.vocabulary())) == 1000
    for name, split in counted.splits():
        texts = [row["title" if short else "text"] for row, short in pairs_of(bundled, name)]
        np.testing.assert_array_equal(split.text, extractor.encode(texts))


def test_the_vocabulary_is_learned_on_the_training_split(counted):
    assert (counted.train.text.sum(axis=0) > 0).all()


def test_every_thumbnail_is_a_picture(bundled, data):
    side = THUMBNAIL_SIDE[bundled.name]
    for _, split in data.splits():
        for thumbnail in split.thumbnail:
            with Image.open(io.BytesIO(thumbnail)) as picture:
                assert picture.format == "WEBP" and picture.size == (side, side)
                picture.load()


def test_loading_twice_gives_the_same(bundled, data):
    again = bundled.load()
    for name, split in data.splits():
        other = dict(again.splits())[name]
        np.testing.assert_array_equal(split.image, other.image)
        np.testing.assert_array_equal(split.text, other.text)
        np.testing.assert_array_equal(split.id, other.id)
    assert data.fingerprint == again.fingerprint


def test_by_name_it_is_the_same(bundled, data, counted):
    assert load(bundled.name).fingerprint == data.fingerprint
    assert load(bundled.name, text_features="minilm").fingerprint == data.fingerprint
    assert load(bundled.name, text_features="bow").fingerprint == counted.fingerprint
    named = load(bundled.name, image_features="efficientnet_lite2", text_features="bow")
    assert named.fingerprint == counted.fingerprint
    assert load(bundled.name, protocol=None).fingerprint == data.fingerprint


@pytest.mark.parametrize("text_features", TEXT_FEATURES)
def test_sources_name_what_makes_such_features(bundled, text_features):
    source = Path(bundled.load(text_features).source)
    assert source == bundled.data / EXTRACTORS / text_features
    image, text = load_extractor(source / "image"), load_extractor(source / "text")
    assert (image.name, image.modality, image.dim) == ("efficientnet_lite2", "image", 1280)
    assert (text.name, text.modality) == (text_features, "text")
    # Clip art stands small on its page, and an emoji fills it.
    assert image.crop == (bundled.name == "openclipart")
    assert {file.suffix for file in source.rglob("*") if file.is_file()} == {".json"}


def test_embeddings_are_those_of_the_texts(bundled, data):
    extractor = load_extractor(Path(data.source) / "text")
    if extractor.missing():
        pytest.skip(f"minilm needs what is not installed: {', '.join(extractor.missing())}")
    texts = [row["text"] for row in bundled.entries() if row["split"] == "test"][::40]
    encoded = extractor.encode([extractor.prepare(text) for text in texts])
    np.testing.assert_allclose(encoded, data.test.text[::40], atol=2e-4)
    pairs = pairs_of(bundled, "train")
    further = [row for row, (_, short) in enumerate(pairs) if short][::100]
    assert bool(further) == (bundled.name == "emoji")
    if further:
        encoded = extractor.encode([extractor.prepare(pairs[row][0]["title"]) for row in further])
        np.testing.assert_allclose(encoded, data.train.text[further], atol=2e-4)


def test_further_captions_are_of_training_images_alone(bundled, data):
    rows = bundled.entries()
    for file in bundled.texts.values():
        short = short_rows(bundled, file)
        assert len(set(short)) == len(short)
        assert {rows[n]["split"] for n in short} <= {"train"}
    ids = data.train.id.tolist()
    place = {name: row for row, name in enumerate(ids)}
    further = [row for row, name in enumerate(ids) if name.endswith(SHORT)]
    assert len(further) == len(short_rows(bundled)) == {"emoji": 1230, "openclipart": 0}[data.name]
    first = [place[ids[row].removesuffix(SHORT)] for row in further]
    for field in ("image", "label", "title", "fine_label"):
        values = getattr(data.train, field)
        np.testing.assert_array_equal(values[further], values[first])
    assert [data.train.thumbnail[row] for row in further] == [
        data.train.thumbnail[row] for row in first
    ]
    assert not any(
        name.endswith(SHORT) for split in (data.validation, data.test) for name in split.id
    )
    if further:  # They are other texts.
        own, other = data.train.text[first], data.train.text[further]
        assert np.linalg.norm(own - other, axis=1).min() > 0.01
        # Searches find each text once and each image once; a few emoji look alike.
        gallery = from_dataset(data, "all")
        assert len(gallery) == len(rows) + len(further)
        texts, images = (gallery.of_modality(modality) for modality in ("text", "image"))
        assert sorted(texts.id) == sorted(row["id"] for row in rows)
        assert sorted(texts.title) == sorted(row["title"] for row in rows)
        assert set(images.id.tolist()) < set(texts.id.tolist())
        assert len(images) == len(set(gallery.thumbnail))


def test_unknown_text_features(bundled):
    for read in (bundled.load, lambda name: load(bundled.name, text_features=name)):
        with pytest.raises(
            InputError,
            match=f"--text_features=lda: data set '{bundled.name}' comes with minilm and bow",
        ):
            read("lda")


def test_image_features_of_another_network(bundled):
    with pytest.raises(
        InputError,
        match="--image_features=vgg19: data set .* comes with .* efficientnet_lite2 .*; leave",
    ):
        load(bundled.name, image_features="vgg19", text_features="bow")


def test_data_are_read_from_the_package_alone(bundled):
    with pytest.raises(InputError, match=f"'{bundled.name}' comes with the package"):
        load(bundled.name, data_dir="folder")


def test_protocols():
    assert OPENCLIPART.protocols == ("all_words",)
    for protocol in ("all_words", "without_group_words"):
        with pytest.raises(InputError, match="for data set 'openclipart'; allowed is none"):
            OPENCLIPART.load(protocol=protocol)
    assert EMOJI.protocols == ("all_words", "without_group_words")
    assert EMOJI.load(protocol="all_words").fingerprint == EMOJI.load().fingerprint
    for text_features in TEXT_FEATURES:
        every, without = (EMOJI.load(text_features, protocol) for protocol in EMOJI.protocols)
        assert every.fingerprint != without.fingerprint
        np.testing.assert_array_equal(every.test.image, without.test.image)
        assert every.test.text.shape == without.test.text.shape
    with pytest.raises(
        InputError, match="'2173' for data set 'emoji'; allowed is one of all_words, without_group"
    ):
        load("emoji", protocol="2173")


def test_a_validation_split_of_its_own_or_a_part_of_the_training_split(bundled, data):
    """A run on emoji trains on all pairs in the end, and on all of them where none is held out."""
    assert data.held_out == (bundled.name == "emoji")
    assert [name for name, _ in data.splits()] == list(SPLITS)
    for _, split in data.splits():
        shares = np.bincount(split.label) / sum(np.bincount(s.label) for _, s in data.splits())
        assert len(split) > 0 and shares.max() - shares.min() < 0.12
    config = Config.of(dataset=bundled.name)
    assert datasets.for_config(config).fingerprint == data.fingerprint
    whole = datasets.for_config(config.replace(validation_fraction=0.0))
    if not data.held_out:
        assert whole.fingerprint == data.fingerprint
    else:
        assert whole.validation is None
        assert set(whole.train.id) == {*data.train.id, *data.validation.id}
        assert len(whole.train) == len(data.train) + len(data.validation)


def test_a_data_set_elsewhere_is_read_alike(tmp_path):
    shutil.copytree(EMOJI.data, tmp_path / "data")
    moved = dataclasses.replace(EMOJI, data=tmp_path / "data")
    assert moved.load("bow").fingerprint == EMOJI.load("bow").fingerprint
    assert moved.load("bow").source == str(tmp_path / "data" / "extractors" / "bow")


def test_thumbnails_fill_their_file(bundled):
    with np.load(bundled.data / THUMBNAILS, allow_pickle=False) as arrays:
        webp, offset = arrays["webp"], arrays["offset"]
    assert offset[0] == 0 and offset[-1] == len(webp) and (np.diff(offset) > 0).all()
    assert len(offset) == len(bundled.entries()) + 1


def test_all_data_are_packaged_and_small():
    """What setup.cfg takes into the wheel; `test_distribution` builds one."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]
    total = 0
    for name, bundled in DATA_SETS.items():
        folder = bundled.data.parent
        stated = [p.strip() for p in patterns[f"xgacmn_tf.datasets.{name}"].split(",")]
        packaged = {file for pattern in stated for file in folder.glob(pattern) if file.is_file()}
        present = {file for file in bundled.data.rglob("*") if file.is_file()}
        assert present <= packaged
        total += sum(file.stat().st_size for file in packaged)
    assert total < 25e6
