"""The bundled emoji: splits without leaks, texts without group words, and how texts are made."""

import collections
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from tools import rebuild_emoji as rebuild
from xgacmn_tf.datasets.bundled import SHORT
from xgacmn_tf.datasets.emoji import EMOJI
from xgacmn_tf.features.registry import load_extractor

SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}


@pytest.fixture(scope="module")
def data():
    return EMOJI.load("bow")


@pytest.fixture(scope="module")
def rows():
    return EMOJI.entries()


@pytest.fixture(scope="module")
def split_of(rows):
    return {row["title"]: row["split"] for row in rows}


def captions(rows, name):
    """The texts of a split's pairs: the training split has a name twice that is not the text."""
    own = [row for row in rows if row["split"] == name]
    texts = [row["text"] for row in own]
    if name == "train":
        texts += [row["title"] for row in own if row["title"] != row["text"]]
    return texts


def first(split):
    """(n,) bool, False for pairs of an emoji's name alone."""
    return ~np.char.endswith(split.id, SHORT)


def test_counts_are_those_of_the_readme(data):
    readme = (EMOJI.data.parent / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\w[\w ]*?) \| (\d+) \| (\d+) \| (\d+) \|$", readme, re.MULTILINE)
    stated = {name: tuple(map(int, counts)) for name, *counts in table}
    sizes = {
        name: tuple(int((split.label[first(split)] == label).sum()) for _, split in data.splits())
        for label, name in enumerate(data.label_names)
    }
    sizes["all"] = tuple(int(first(split).sum()) for _, split in data.splits())
    assert stated == sizes
    pairs = f"The training split therefore has {len(data.train):,} pairs."
    assert pairs in " ".join(readme.split())


def test_nine_categories(data):
    assert len(data.label_names) == 9
    assert {"flags", "food and drink", "people and body"} <= set(data.label_names)


def test_no_id_text_or_image_is_in_two_splits(data, rows):
    where = collections.defaultdict(set)
    for row in rows:
        where["id", row["id"]].add(row["split"])
        where["title", row["title"].lower()].add(row["split"])
        where["characters", row["emoji"]].add(row["split"])
        words = frozenset(re.findall(r"\w+", row["text"].lower()))
        where["text", words].add(row["split"])
    for name, split in data.splits():
        for thumbnail, image in zip(split.thumbnail, split.image, strict=True):
            where["thumbnail", thumbnail].add(name)
            where["image", image.tobytes()].add(name)
    assert len(where) > 5 * len(rows)
    assert [key for key, splits in where.items() if len(splits) > 1] == []


def test_no_nearly_equal_images_are_in_two_splits(data):
    unit = [s.image / np.linalg.norm(s.image, axis=1, keepdims=True) for _, s in data.splits()]
    for one, other in itertools.combinations(unit, 2):
        # Features are rounded, and the bound was applied before.
        assert (one @ other.T).max() < 0.981


def test_no_skin_tones(rows):
    assert not any(SKIN_TONES & set(row["emoji"]) for row in rows)
    assert not any("skin tone" in row["title"] for row in rows)


def test_variants_of_a_motif_are_in_one_split(rows, split_of):
    for variants in (
        ("person running", "man running", "woman running"),
        ("one o’clock", "twelve-thirty", "seven o’clock"),
        ("family: man, woman, boy", "family: woman, girl"),
        ("couple with heart", "couple with heart: man, man"),
        ("man health worker", "woman health worker", "health worker"),
    ):
        assert len({split_of[name] for name in variants}) == 1, variants
    motifs = collections.defaultdict(set)
    sizes: collections.Counter[tuple[str, str]] = collections.Counter()
    for row in rows:
        motif = re.sub(r"^(person|man|woman|men|women|people)\b:? ?", "", row["title"].lower())
        key = row["id"].rpartition("/")[0], motif or row["title"]
        motifs[key].add(row["split"])
        sizes[key] += 1
    assert sum(size > 1 for size in sizes.values()) > 50
    assert [key for key, splits in motifs.items() if len(splits) > 1] == []


def test_without_group_words_no_text_names_its_group(data, rows):
    words = EMOJI.vocabulary()
    groups = {row["id"].partition("/")[0] for row in rows}
    named = {word for group in groups for word in group.split("_")}
    named |= {word.removesuffix("s") for word in named} | {"activity", "body", "smiley"}
    assert {"flag", "flags", "food", "animals", "animal"} <= named
    columns = [number for number, word in enumerate(words) if word in named]
    assert {"flag", "food"} <= {words[column] for column in columns}
    without = EMOJI.load("bow", "without_group_words")
    for (name, split), (_, other) in zip(data.splits(), without.splits(), strict=True):
        assert split.text[:, columns].any()
        used = other.text[:, columns].any(axis=1)
        # Texts of nothing but such words are left as they are.
        texts = captions(rows, name)
        assert len(texts) == len(split)
        for row in np.flatnonzero(used):
            assert set(re.findall(r"[a-z]+", texts[row].lower())) <= named | {"and"}
        np.testing.assert_array_equal(split.id, other.id)


def test_texts_of_both_protocols_are_those_of_the_rebuild(rows):
    removed = rebuild.group_words({row["id"].partition("/")[0].replace("_", " ") for row in rows})
    without = EMOJI.load("bow", "without_group_words")
    extractor = load_extractor(Path(without.source) / "text")
    for name, split in without.splits():
        texts = [rebuild.without(text, removed) for text in captions(rows, name)]
        np.testing.assert_array_equal(split.text, extractor.encode(texts))


def test_group_words_in_singular_and_plural():
    words = rebuild.group_words({"Food & Drink", "Activities"})
    assert {"food", "foods", "drink", "drinks", "activities", "activity"} <= words


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("flag: Peru, flag", "Peru"),
        ("red apple, fruit, food", "red apple, fruit"),
        ("Food", "Food"),  # Nothing would be left.
        ("a flag, a", "a"),
    ],
)
def test_without_group_words(text, rest):
    assert rebuild.without(text, frozenset({"flag", "food"})) == rest


def test_texts_are_names_and_keywords():
    emoji = rebuild.Emoji("x", "red Apple", "Food & Drink", "food-fruit")
    assert rebuild.text_of(emoji, ["apple", "red apple", "fruit"]) == "red Apple, apple, fruit"
    assert rebuild.text_of(emoji, []) == "red Apple"
    assert rebuild.folder_of(emoji) == "food_and_drink/food-fruit"


def test_series():
    for names in (
        ("person running", "man running", "woman running"),
        ("one o’clock", "six-thirty"),
        ("family", "family: man, boy"),
        ("kiss: man, man", "kiss: woman, man"),
        ("Mrs. Claus", "mx claus"),
    ):
        assert len({rebuild.series_of(name) for name in names}) == 1, names
    assert rebuild.series_of("man") == "man"  # Nothing would be left.
    assert rebuild.series_of("running shoe") != rebuild.series_of("man running")


def test_the_list_of_emoji_is_read_without_skin_tones(tmp_path):
    lines = [
        "# group: Food & Drink",
        "# subgroup: food-fruit",
        "1F34E ; fully-qualified     # 🍎 E0.6 red apple",
        "263A  ; unqualified         # ☺ E0.6 smiling face",
        "# group: People & Body",
        "# subgroup: hands",
        "1F44B ; fully-qualified     # 👋 E0.6 waving hand",
        "1F44B 1F3FB ; fully-qualified # 👋🏻 E1.0 waving hand: light skin tone",
    ]
    (tmp_path / "emoji-test.txt").write_text("\n".join(lines), encoding="utf-8")
    assert list(rebuild.read_emoji(tmp_path / "emoji-test.txt")) == [
        ("🍎", "red apple", "Food & Drink", "food-fruit"),
        ("👋", "waving hand", "People & Body", "hands"),
    ]


def test_keywords_are_read_from_both_files_of_cldr(tmp_path):
    for folder, content in (
        (
            "annotations",
            '<annotation cp="🍎">apple | red</annotation>'
            '<annotation cp="🍎" type="tts">red apple</annotation>',
        ),
        ("annotationsDerived", '<annotation cp="🏃‍♂">man | running</annotation>'),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "en.xml").write_text(f"<ldml>{content}</ldml>", encoding="utf-8")
    assert rebuild.read_keywords(tmp_path) == {"🍎": ["apple", "red"], "🏃‍♂": ["man", "running"]}
