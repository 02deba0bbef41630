"""The bundled clip art: what its README promises, and how metadata become texts."""

import collections
import re

import pytest

from tools import rebuild_openclipart as rebuild
from xgacmn_tf.datasets.openclipart import OPENCLIPART


@pytest.fixture(scope="module")
def data():
    return OPENCLIPART.load("bow")


@pytest.fixture(scope="module")
def rows():
    return OPENCLIPART.entries()


@pytest.fixture(scope="module")
def readme():
    return (OPENCLIPART.data.parent / "README.md").read_text(encoding="utf-8")


def test_counts_are_those_of_the_readme(data, readme):
    table = re.findall(r"^\| (\w[\w ]*?) \| (\d+) \| (\d+) \| (\d+) \|$", readme, re.MULTILINE)
    stated = {name: tuple(map(int, counts)) for name, *counts in table}
    assert len(data.label_names) == 10
    sizes = {
        name: tuple(int((split.label == label).sum()) for _, split in data.splits())
        for label, name in enumerate(data.label_names)
    }
    sizes["all"] = tuple(len(split) for _, split in data.splits())
    assert stated == sizes


def test_texts_without_a_counted_word_are_as_many_as_the_readme_says(data, readme):
    (stated,) = re.findall(r"(\d+), (\d+) and (\d+) texts of the three splits", readme)
    empty = [int((split.text.sum(axis=1) == 0).sum()) for _, split in data.splits()]
    assert list(map(int, stated)) == empty


def test_no_id_text_or_picture_is_in_two_splits(data, rows):
    where = collections.defaultdict(set)
    for row in rows:
        where["id", row["id"]].add(row["split"])
        where["text", " ".join(sorted(set(row["text"].split())))].add(row["split"])
    for name, split in data.splits():
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
    assert set(OPENCLIPART.vocabulary()) & leaks == set()


def test_counts_are_the_words_of_the_texts(data, rows):
    """By hand: the texts are lower-case words with blanks between them."""
    words = OPENCLIPART.vocabulary()
    for name, split in data.splits():
        texts = [row["text"] for row in rows if row["split"] == name]
        for row in range(0, len(split), 97):
            counted = collections.Counter(texts[row].split())
            assert split.text[row].tolist() == [counted[word] for word in words]


def test_words_are_split_folded_and_freed_of_digits():
    assert rebuild.words("BlueMan_01 caf\u00e9 R&amp;D 2nd") == ["blue", "man", "cafe", "nd"]


def test_folder_words_are_removed_in_singular_and_plural():
    removed = rebuild.folder_words(["food/breads_and_carbs/bun", "people/smilies/x", "geography/y"])
    assert {"food", "foods", "bread", "breads", "carb", "breadsandcarbs", "smily"} <= removed
    assert "bun" not in removed  # The file's own name is no folder.


def metadata(title: str, author: str = "", *keywords: str) -> rebuild.ElementTree.Element:
    """The work in the metadata of a drawing."""
    work = rebuild.ElementTree.Element("Work")
    node = rebuild.ElementTree.SubElement
    node(work, f"{rebuild._DC}title").text = title
    creator = node(work, f"{rebuild._DC}creator")
    node(creator, f"{rebuild._DC}title").text = author
    subject = node(work, f"{rebuild._DC}subject")
    for keyword in keywords:
        node(subject, f"{rebuild._RDF}li").text = keyword
    return work


def test_entries_of_metadata():
    removed = frozenset({"animals", "animal"})
    work = metadata("Red Owl_02", "Ann Lee", "Ann Lee", "animal", "bird", "hash(0x1)")
    entry = rebuild.read_entry("animals/red_owl_02", work, removed)
    assert (entry.title, entry.text) == ("Red Owl_02", "red owl bird")
    assert entry.series == "red owl"  # Of `red owl 01` as well.
    assert entry.more == {"author": "Ann Lee"}
    assert (entry.category, entry.folder) == ("animals", "animals")
    for title in ("", "Animals", "the animal"):
        assert rebuild.read_entry("animals/x", metadata(title), removed) is None
