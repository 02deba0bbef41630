"""Texts and pictures of the Wikipedia distribution, on a copy of its layout, oddities included."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from xgacmn_tf.datasets import load, load_raw, wikipedia
from xgacmn_tf.datasets.wikipedia.pairs import document_text
from xgacmn_tf.errors import InputError

CATEGORIES = ("art", "biology", "sport")


def document(text: str) -> str:
    return (
        f'<document name="A_Name">\n<text>\n{text}\n</text>\n<imageset>\n'
        '<image name="x"/>\n</imageset>\n</document>\n'
    )


@pytest.fixture
def folder(tmp_path):
    """450 training and 9 test pairs in mixed order; every third picture lies flat."""
    folder = tmp_path / "wikipedia_dataset"
    (folder / "texts").mkdir(parents=True)
    (folder / "categories.list").write_text("\n".join(CATEGORIES) + "\n")
    generator = np.random.default_rng(0)
    features = {}
    for part, rows in (("train", 450), ("test", 9)):
        labels = generator.permutation(np.arange(rows) % 3)
        lines = []
        for row, label in enumerate(labels):
            text, image = f"{part}{row:03}ff-{row % 9}.1", f"{part}{row:03}ee"
            lines.append(f"{text}\t{image}\t{label + 1}\n")
            (folder / "texts" / f"{text}.xml").write_text(document(f"words of {text}"))
            inner = folder / "images" / ("" if row % 3 == 0 else CATEGORIES[label])
            inner.mkdir(parents=True, exist_ok=True)
            (inner / f"{image}.jpg").touch()
        (folder / f"{part}set_txt_img_cat.list").write_text("".join(lines))
        features[f"I_{part[:2]}"] = np.arange(rows)[:, None]
        features[f"T_{part[:2]}"] = np.arange(rows)[:, None]
    scipy.io.savemat(folder / "raw_features.mat", features)
    return tmp_path


@pytest.mark.parametrize("protocol", ["2173", "1300"])
def test_raw_pairs_and_shallow_features_are_the_same_pairs(folder, protocol):
    pairs = load_raw("wikipedia", str(folder), protocol, seed=4)
    dataset = load("wikipedia", str(folder), protocol, seed=4)
    assert pairs.label_names == dataset.label_names and pairs.name == dataset.name
    for part, split in dataset.splits():
        assert [pair.id for pair in pairs.splits()[part]] == split.id.tolist()
        assert [pair.label for pair in pairs.splits()[part]] == split.label.tolist()
    assert len(pairs.train) == {"2173": 450, "1300": 390}[protocol]
    for pair in pairs.train + pairs.test:
        assert pair.text == f"words of {pair.id}"
        assert pair.image.is_file() and pair.image.stem[:-2] == pair.id.split("ff")[0]


def test_shallow_features_are_not_needed(folder):
    (folder / "wikipedia_dataset" / "raw_features.mat").unlink()
    assert len(load_raw("wikipedia", str(folder)).train) == 450


def test_missing_texts_and_pictures_are_reported_together(folder):
    first = load_raw("wikipedia", str(folder)).train[0]
    flat = load_raw("wikipedia", str(folder)).train[3].image
    text = folder / "wikipedia_dataset" / "texts" / f"{first.id}.xml"
    text.unlink()
    flat.unlink()
    with pytest.raises(InputError) as caught:
        load_raw("wikipedia", str(folder))
    message = str(caught.value)
    assert f"texts/{first.id}.xml, images/" in message and flat.name in message
    assert "Rasiwasia et al. 2010" in message and "texts/<text id>.xml" in message


def test_missing_folders(folder):
    """Texts and images are found in any folder below the one that is named."""
    for name, message in (("texts", "Missing in .*: texts/.*and 454 more"), ("images", "0 of 459")):
        (folder / "wikipedia_dataset" / name).rename(folder / "gone")
        assert len(load_raw("wikipedia", str(folder)).train) == 450
        with pytest.raises(InputError, match=message):
            load_raw("wikipedia", str(folder / "wikipedia_dataset"))
        (folder / "gone").rename(folder / "wikipedia_dataset" / name)


@pytest.mark.parametrize("name", ["../../secret", "a/b", "a\\b", "a\0b"])
def test_ids_that_lead_out_of_the_folder_are_refused(folder, name):
    path = folder / "wikipedia_dataset" / "testset_txt_img_cat.list"
    path.write_text(path.read_text() + f"{name}\timage\t1\n")
    with pytest.raises(InputError, match="testset_txt_img_cat.list, line 10: found"):
        load_raw("wikipedia", str(folder))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (document("plain"), "plain"),
        (document("R&B, 2 < 3 &amp; caf&eacute;"), "R&B, 2 < 3 & café"),
        ('<?xml version="1.0"?>' + document("two\n\nparagraphs"), "two\n\nparagraphs"),
        ('<document><text lang="en">x</text></document>', "x"),
        ("<document><text>not closed\n<imageset><image/></imageset></document>", "not closed"),
        ("<document><text>not closed</document>", "not closed"),
        ("<document><textual>no</textual><text>yes</text></document>", "yes"),
        ("<document><text></text></document>", ""),
    ],
)
def test_texts_of_documents_that_are_no_xml(tmp_path, content, expected):
    (tmp_path / "a.xml").write_text(content, encoding="utf-8")
    assert document_text(tmp_path / "a.xml") == expected


def test_entities_that_a_file_defines_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a.xml").write_text(
        f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>' + document("&x;")
    )
    assert document_text(tmp_path / "a.xml") == "&x;"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.xml has no <text> element"),
        (b"<document></document>", "a.xml has no <text> element"),
        (b"<document><text>cut o", "a.xml ends inside its <text> element"),
        (b"<text>\ncaf\xe9</text>", "a.xml is not UTF-8 text: line 2 holds the byte 0xe9"),
    ],
)
def test_broken_documents(tmp_path, content, message):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(InputError, match=message):
        document_text(tmp_path / "a.xml")


def test_the_dummy_data_of_the_builder_have_the_layout():
    folder = wikipedia.__path__[0] + "/dummy_data"
    pairs = load_raw("wikipedia", folder)
    assert (len(pairs.train), len(pairs.test), len(pairs.label_names)) == (3, 2, 10)
    assert pairs.train[1].text == "A made-up text about biology & nothing else, number 00a2-3."
    with Image.open(pairs.train[1].image) as picture:
        assert picture.size == (8, 8)
