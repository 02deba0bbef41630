"""Texts as users type them: counted in TensorFlow as they were counted in Python."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.datasets.emoji import EMOJI
from xgacmn_tf.datasets.openclipart import OPENCLIPART
from xgacmn_tf.export.raw_text import WordCounter
from xgacmn_tf.export.savedmodel import export_run
from xgacmn_tf.features import text_extractor
from xgacmn_tf.features.words import BagOfWords, plain_words
from xgacmn_tf.settings.config import Config


@pytest.fixture(scope="module")
def clip_art_export(make_clip_art_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip_art")
    folder, encoder = make_clip_art_run(path / "run")
    shutil.rmtree(folder.extractors / "image")  # Its network is not the point here, and large.
    version = export_run(folder.path, path / "models", gallery=["test"])
    return tf.saved_model.load(str(version)).signatures, encoder


def texts_of(bundled, split):
    """The texts of a split's pairs; the training split of the emoji has their names as well."""
    rows = [row for row in bundled.entries() if row["split"] == split]
    texts = [row["text"] for row in rows]
    if bundled is EMOJI and split == "train":
        texts += [row["title"] for row in rows if row["title"] != row["text"]]
    return texts


@pytest.mark.parametrize("bundled", [OPENCLIPART, EMOJI], ids=lambda bundled: bundled.name)
def test_raw_text_counts_are_the_shipped_ones(bundled):
    plain = bundled is OPENCLIPART  # see `BagOfWords`
    counter = tf.function(WordCounter(bundled.vocabulary(), plain=plain))
    for name, split in bundled.load("bow").splits():
        np.testing.assert_array_equal(counter(tf.constant(texts_of(bundled, name))), split.text)


def test_raw_text_is_cleaned_as_the_bundled_texts_were():
    vocabulary = ["cafe", "dog", "fish", "frog", "red", "stadion"]
    texts = [
        "A RED dog, red-dog; red_dog2!",
        "CaféFrog Cafe\u0301 \ufb01sh ｒｅｄ Stadion",
        "αdog dogß 犬 dog犬 dog½",
        "",
        "\n\t",
    ]
    counts = WordCounter(vocabulary, plain=True)(tf.constant(texts)).numpy()
    expected = [[plain_words(text).count(word) for word in vocabulary] for text in texts]
    np.testing.assert_array_equal(counts, expected)
    # And by hand: red ×3 and dog ×3; café ×2, frog, fish, red, stadion.
    assert counts[:2].tolist() == [[0, 3, 0, 0, 3, 0], [2, 0, 1, 1, 1, 1]]


def test_raw_text_is_counted_as_bag_of_words_does():
    bag = text_extractor("bow")
    bag.fit(["The red cat_2, a CAFÉ! 4x4", "red dogs ÄRA x2"])
    texts = ["Red-RED cat_2 cat café cafe", "4X4 ära x2x, X2", "", "dogs½"]
    counts = WordCounter(bag.vocabulary)(tf.constant(texts))
    np.testing.assert_array_equal(counts, bag.encode(texts))
    assert np.asarray(counts).sum() == 7  # red ×2, cat_2, café; 4x4, ära, x2


def test_raw_text_without_blanks_is_counted_as_bag_of_words_does():
    texts = [
        "今天我的苹果在桌上 iPhone手机",
        "日本語のテキスト・カー",
        "สวัสดีครับ งู",
        "हिन्दी में पाठ",
        "한국어 手",
    ]
    bag = text_extractor("bow")
    bag.fit(texts)
    texts += ["苹果", "งู ครับ", "フ。ラ、、", ""]
    counts = WordCounter(bag.vocabulary)(tf.constant(texts))
    np.testing.assert_array_equal(counts, bag.encode(texts))
    assert np.asarray(counts).sum(axis=1)[:6].min() > 0


def test_extractors_saved_before_count_as_they_did():
    """Their vocabularies hold whole clauses, and words that a combining mark ends."""
    texts = ["今天我的苹果 red", "cafe\u0301 red"]
    bag = BagOfWords(ngrams=False)
    bag.fit(texts)
    assert bag.vocabulary == ["cafe", "red", "今天我的苹果"]
    counts = WordCounter(bag.vocabulary, ngrams=False)(tf.constant(texts))
    np.testing.assert_array_equal(counts, bag.encode(texts))
    assert bag.settings() == {"size": 1000}


def test_raw_text_signatures(clip_art, clip_art_export):
    signatures, encoder = clip_art_export
    texts = tf.constant(texts_of(OPENCLIPART, "test"))
    counts = clip_art.test.text
    _, codes = encoder.codes(clip_art.test.image[:1], counts)
    outputs = signatures["encode_raw_text"](text=texts)
    np.testing.assert_allclose(
        outputs["embedding"], encoder.represent(codes, "cosine"), atol=1e-6, rtol=0
    )
    np.testing.assert_array_equal(outputs["known_words"], counts.sum(axis=1))
    raw = signatures["search_images_by_raw_text"](text=texts)
    plain = signatures["search_images_by_text"](text_features=tf.constant(counts))
    np.testing.assert_array_equal(raw["ids"], plain["ids"])
    title_of = dict(zip(clip_art.test.id, clip_art.test.title, strict=True))
    assert [title_of[i.decode()] for i in raw["ids"].numpy()[0]] == [
        title.decode() for title in raw["titles"].numpy()[0]
    ]
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid formatting"):
        signatures["encode_raw_text"](text=tf.constant([b"\xff"]))


@pytest.mark.parametrize("text", ["a red apple", [["a red apple"]]], ids=["scalar", "matrix"])
def test_texts_that_are_no_vector_are_rejected(clip_art_export, text):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible with expected shape"):
        clip_art_export[0]["encode_raw_text"](text=tf.constant(text))


def test_a_text_without_a_known_word_finds_nothing(clip_art_export):
    signatures, _ = clip_art_export
    found = signatures["search_images_by_raw_text"](text=tf.constant(["xyzzy", "a red apple", ""]))
    assert found["known_words"].numpy().tolist() == [0, 2, 0]
    for row in (0, 2):
        for key, nothing in {"ids": b"", "titles": b"", "scores": 0}.items():
            assert set(found[key][row].numpy().tolist()) == {nothing}
    assert all(found["ids"][1].numpy().tolist())


def test_words_of_a_kept_extractor_come_along(pairs, make_run, tmp_path):
    folder, encoder = make_run(tmp_path / "run", pairs, Config.of(dataset="gone.npz"))
    bag = text_extractor("bow")
    bag.fit(["red dog"])
    bag.save(folder.extractors / "text")
    np.savez(tmp_path / "new.npz", text=np.eye(2), id=np.array(["dogs", "reds"]))
    # The data set is not needed once there is a gallery.
    version = export_run(folder.path, tmp_path / "models", gallery=[tmp_path / "new.npz"])
    outputs = tf.saved_model.load(str(version)).signatures["encode_raw_text"](
        text=tf.constant(["Red dog red"])
    )
    codes = encoder.encode_text([[1.0, 2.0]], output="code")
    np.testing.assert_allclose(
        outputs["embedding"], encoder.represent(codes, "cosine"), atol=1e-6, rtol=0
    )
