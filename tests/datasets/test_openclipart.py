"""The data set that comes with the package: what it promises in its README."""

import collections
import io
import re

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.datasets import openclipart
from xgacmn_tf.datasets.openclipart import rebuild


@pytest.fixture(scope="module")
def data():
    return openclipart.load()


@pytest.fixture(scope="module")
def rows():
    return openclipart.entries()


def splits(data):
    return {"train": data.train, "validation": data.validation, "test": data.test}


def test_shapes_dtypes_and_ranges(data):
    assert data.name == "openclipart"
    for split in splits(data).values():
        assert split.image.shape == (len(split), 1280) and split.image.dtype == np.float32
        assert split.text.shape == (len(split), 1000) and split.text.dtype == np.float32
        assert split.label.shape == (len(split),) and split.label.dtype == np.int32
        assert 0 <= split.image.min() and 0 < split.image.max() <= 6.0001
        assert (split.text == np.rint(split.text)).all() and split.text.min() == 0
        assert set(split.label) == set(range(10))


def test_labels_are_the_top_folders(data):
    assert len(data.label_names) == 10
    for split in splits(data).values():
        named = [data.label_names[label].replace(" ", "_") for label in split.label]
        assert named == [name.partition("/")[0] for name in split.id]


def test_counts_are_those_of_the_readme(data):
    readme = (openclipart.DATA.parent / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\w[\w ]*?) \| (\d+) \| (\d+) \| (\d+) \|$", readme, re.MULTILINE)
    stated = {name: tuple(map(int, counts)) for name, *counts in table}
    sizes = {
        name: tuple(int((split.label == label).sum()) for split in splits(data).values())
        for label, name in enumerate(data.label_names)
    }
    sizes["all"] = tuple(len(split) for split in splits(data).values())
    assert stated == sizes


def test_no_id_text_or_picture_is_in_two_splits(data, rows):
    where = collections.defaultdict(set)
    for row in rows:
        where["id", row["id"]].add(row["split"])
        where["text", " ".join(sorted(set(row["text"].split())))].add(row["split"])
    for name, split in splits(data).items():
        for thumbnail in split.thumbnail:
            where["picture", thumbnail].add(name)
    assert len(where) > 2 * len(rows)  # Ids and pictures at least are mostly different.
    assert [key for key, found in where.items() if len(found) > 1] == []


def test_no_class_or_folder_name_is_in_the_texts(rows):
    folders = {part for row in rows for part in row["id"].lower().split("/")[:-1]}
    names = {word for folder in folders for word in [folder, *folder.split("_")]}
    names = {word for word in names if len(word) > 1}
    assert {"animals", "mammals", "weapons", "symbols", "flags"} <= names
    singular = {word.removesuffix("s") for word in names}
    plural = {f"{word}s" for word in names}
    leaks = names | singular | plural
    used = {word for row in rows for word in row["text"].split()}
    assert used & leaks == set()
    assert set(openclipart.vocabulary()) & leaks == set()


def test_counts_are_the_words_of_the_texts(data, rows):
    words = openclipart.vocabulary()
    assert len(set(words)) == 1000
    texts = openclipart.texts()
    for name, split in splits(data).items():
        assert list(split.title) == [row["title"] for row in rows if row["split"] == name]
        for row in range(0, len(split), 97):
            counted = collections.Counter(texts[name][row].split())
            np.testing.assert_array_equal(split.text[row], [counted[word] for word in words])


def test_the_vocabulary_is_learned_on_the_training_split(data):
    assert (data.train.text.sum(axis=0) > 0).all()


def test_every_thumbnail_is_a_picture(data):
    for split in splits(data).values():
        for thumbnail in split.thumbnail:
            with Image.open(io.BytesIO(thumbnail)) as picture:
                assert picture.format == "WEBP" and picture.size == (72, 72)
                picture.load()


def test_loading_twice_gives_the_same(data):
    again = openclipart.load()
    for name, split in splits(data).items():
        other = splits(again)[name]
        np.testing.assert_array_equal(split.image, other.image)
        np.testing.assert_array_equal(split.id, other.id)
    assert data.fingerprint == again.fingerprint


def test_the_package_is_small():
    size = sum(path.stat().st_size for path in openclipart.DATA.parent.rglob("*") if path.is_file())
    assert size < 12e6


def test_words_are_split_folded_and_freed_of_digits():
    assert rebuild.words("BlueMan_01 caf\u00e9 R&amp;D 2nd") == ["blue", "man", "cafe", "nd"]


def test_folder_words_are_removed_in_singular_and_plural():
    removed = rebuild.folder_words(["food/breads_and_carbs/bun", "people/smilies/x", "geography/y"])
    assert {"food", "foods", "bread", "breads", "carb", "breadsandcarbs", "smily"} <= removed
    assert "bun" not in removed  # The file's own name is no folder.


def entry(name: str, title: str, text: str) -> rebuild.Entry:
    return rebuild.Entry(name, "somebody", title, text)


def test_groups_join_texts_pictures_and_numbered_titles():
    entries = [
        entry("a/one", "red fox", "red fox"),
        entry("b/two", "fox", "fox the red"),  # the words of row 0 but for a stop word
        entry("a/owl_01", "Owl 01", "owl night"),
        entry("a/owl_02", "owl_02", "owl day"),  # the title of row 2 but for digits
        entry("b/owl", "Owl", "owl"),  # the same title in another folder
        entry("c/cat", "cat", "cat"),
        entry("c/tom", "tom", "tom"),  # the picture of row 5
    ]
    features = np.eye(7)
    features[6] = features[5] * 3 + 0.01
    groups = rebuild.group(entries, features)
    expected = [0, 0, 1, 1, 2, 3, 3]
    same = groups[:, None] == groups
    np.testing.assert_array_equal(same, np.equal.outer(expected, expected))


def test_assignment_keeps_groups_and_shares():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [300, 100])
    groups = rng.integers(0, 150, 400)
    groups[:20] = 1000  # Too large to be held out.
    found = np.array(rebuild.assign(groups, labels))
    assert all(len(set(found[groups == group])) == 1 for group in set(groups))
    assert set(found[:20]) == {"train"}
    for label, size in ((0, 300), (1, 100)):
        for split, share in rebuild.SHARES.items():
            count = ((labels == label) & (found == split)).sum()
            assert share * size - 8 <= count <= share * size
    assert list(found) == rebuild.assign(groups, labels)


def test_quantisation_errs_by_half_a_step_at_most():
    features = np.random.default_rng(0).random((50, 4)).astype(np.float32) * [0.1, 1, 6, 0]
    codes, step = rebuild.quantise(features)
    assert codes.dtype == np.uint8 and step.dtype == np.float32
    assert (np.abs(codes * step - features) <= step / 2 + 1e-6).all()
