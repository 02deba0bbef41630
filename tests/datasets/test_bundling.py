"""Files of a bundled data set: groups, splits, rounding, and what is written is read again."""

import collections
import io

import numpy as np
import pytest
from PIL import Image

from tools import bundling
from tools.bundling import BundledImage, Entry
from xgacmn_tf.datasets.bundled import SHORT, TEXTS, Bundled
from xgacmn_tf.features.extractor import Extractor


def test_groups_join_texts_pictures_and_series():
    entries = [
        Entry("a/one", "red fox", "red fox", "red fox"),
        Entry("b/two", "fox", "Fox, the red", "fox"),  # the words of row 0 but for a stop word
        Entry("a/owl_01", "Owl 01", "owl night", "owl"),
        Entry("a/owl_02", "owl_02", "owl day", "owl"),  # the series of row 2
        Entry("b/owl", "Owl", "owl", "owl"),  # the same series in another folder
        Entry("c/cat", "cat", "cat", "cat"),
        Entry("c/tom", "tom", "tom", "tom"),  # the picture of row 5
    ]
    features = np.eye(7)
    features[6] = features[5] * 3 + 0.01
    groups = bundling.group(entries, features)
    expected = [0, 0, 1, 1, 2, 3, 3]
    same = groups[:, None] == groups
    np.testing.assert_array_equal(same, np.equal.outer(expected, expected))


def test_groups_join_what_is_joined_by_another():
    entries = [Entry(f"a/{n}", str(n), f"word{n}", f"series {n // 2}") for n in range(6)]
    features = np.eye(6)
    features[2] = features[1]
    groups = bundling.group(entries, features)
    expected = [0, 0, 0, 0, 1, 1]  # 0 and 1 by their series, 1 and 2 by the image, 2 and 3 again
    np.testing.assert_array_equal(groups[:, None] == groups, np.equal.outer(expected, expected))


def test_assignment_keeps_groups_and_shares():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [300, 100])
    groups = rng.integers(0, 150, 400)
    groups[:20] = 1000  # Too large to be held out.
    found = np.array(bundling.assign(groups, labels))
    assert all(len(set(found[groups == group])) == 1 for group in set(groups))
    assert set(found[:20]) == {"train"}
    assert set(found) == {"train", "validation", "test"}
    for label, size in ((0, 300), (1, 100)):
        for split, share in bundling.SHARES.items():
            count = ((labels == label) & (found == split)).sum()
            assert share * size - 8 <= count <= share * size
    assert list(found) == bundling.assign(groups, labels)


def test_quantization_errs_by_half_a_step_at_most():
    features = np.random.default_rng(0).random((50, 4)).astype(np.float32) * [0.1, 1, 6, 0]
    codes, step = bundling.quantize(features)
    assert codes.dtype == np.uint8 and step.dtype == np.float32
    assert (np.abs(codes * step - features) <= step / 2 + 1e-6).all()


def test_thumbnails_are_webp_of_the_same_size():
    square = np.zeros((20, 20, 3), np.uint8)
    square[:, :10] = (200, 0, 0)
    with Image.open(io.BytesIO(bundling.webp(square))) as picture:
        assert picture.format == "WEBP" and picture.size == (20, 20)
        assert np.abs(np.asarray(picture.convert("RGB"), int) - square).mean() < 10


class Letters(Extractor):
    """In place of a sentence model: the number of each letter, at unit length."""

    name, modality, dim = "letters", "text", 384

    def settings(self):
        return {}

    def encode(self, prepared):
        counts = np.zeros((len(prepared), self.dim), np.float32)
        for row, text in enumerate(prepared):
            for letter in text:
                counts[row, ord(letter) % self.dim] += 1
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def _save_files(self, folder): ...

    @classmethod
    def _load(cls, folder, name, settings): ...


class Pixels(Letters):
    name, modality = "pixels", "image"


@pytest.fixture
def written(monkeypatch, tmp_path):
    """Entries, pictures and counts of a data set that was written; and the data set.

    Every second entry has a short caption, and in the protocol "other" every third.
    """
    monkeypatch.setattr(bundling, "text_extractor", lambda name: Letters())
    rng = np.random.default_rng(1)
    entries = [
        Entry(
            f"{category}/{kind}/{n:03}", f"{kind} {n}", f"{kind}, small{n} thing{n}", f"{n}",
            {"author": f"somebody {n}"}, f"{kind} thing{n}" if n % 2 else "",
        )
        for category, kind in (("cats", "tom"), ("dogs_and_wolves", "rex"))
        for n in range(60)
    ]  # fmt: skip
    pictures = {
        entry.id: BundledImage(
            f"picture of {entry.id}".encode(), 6 * rng.random(12).astype(np.float32)
        )
        for entry in reversed(entries)
    }
    other = {
        entry.id: (entry.text.partition(", ")[2], f"thing{n % 60}" if n % 3 == 0 else "")
        for n, entry in enumerate(entries)
    }
    counts = bundling.write(
        entries, pictures, Pixels(), tmp_path / "data", more_texts={"other.npz": other}
    )
    data_set = Bundled("made", tmp_path / "data", {"all": TEXTS, "other": "other.npz"})
    return entries, pictures, counts, data_set


def test_what_is_written_is_read_again(written):
    entries, pictures, counts, data_set = written
    data = data_set.load("bow")
    assert not data.held_out
    assert data.label_names == ("cats", "dogs and wolves")
    by_id = {entry.id: entry for entry in entries}
    read = collections.Counter()
    further = []
    for name, split in data.splits():
        for row, identity in enumerate(split.id):
            if identity.endswith(SHORT):
                assert name == "train"
                entry = by_id[identity.removesuffix(SHORT)]
                further.append(entry.id)
            else:
                entry = by_id[identity]
                read[entry.category, name] += 1
            assert split.title[row] == entry.title and split.fine_label[row] == entry.folder
            assert split.thumbnail[row] == pictures[entry.id].thumbnail
            np.testing.assert_allclose(split.image[row], pictures[entry.id].features, atol=0.013)
    assert read == counts and read.total() == len(entries)
    train = set(data.train.id.tolist())
    assert sorted(further) == sorted(e.id for e in entries if e.short and e.id in train)
    assert 0 < len(further) < sum(bool(entry.short) for entry in entries)
    assert all(row["author"].startswith("somebody") for row in data_set.entries())


def test_embeddings_and_counts_of_each_protocols_texts(written):
    entries, *_, data_set = written
    text_of = {"all": {}, "other": {}}
    for n, entry in enumerate(entries):
        text_of["all"] |= {entry.id: entry.text, entry.id + SHORT: entry.short}
        rest = entry.text.partition(", ")[2]
        text_of["other"] |= {entry.id: rest, entry.id + SHORT: f"thing{n % 60}"}
    words = data_set.vocabulary()
    assert {"tom", "rex"} < set(words)
    for protocol in data_set.protocols:
        counted, embedded = (data_set.load(name, protocol) for name in ("bow", "minilm"))
        for (_, split), (_, other) in zip(counted.splits(), embedded.splits(), strict=True):
            np.testing.assert_array_equal(split.id, other.id)
            texts = [text_of[protocol][identity] for identity in split.id]
            np.testing.assert_allclose(other.text, Letters().encode(texts), atol=1e-3)
            found = [collections.Counter(text.replace(",", "").split()) for text in texts]
            expected = [[count[word] for word in words] for count in found]
            np.testing.assert_array_equal(split.text, expected)


def test_words_are_those_of_the_training_split(written):
    *_, data_set = written
    train = [row["text"] for row in data_set.entries() if row["split"] == "train"]
    assert set(data_set.vocabulary()) == {
        word for text in train for word in text.replace(",", "").split()
    }
