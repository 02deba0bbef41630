"""Bags of words and topics: counted by hand, learned on training texts only, saved whole."""

import json

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.features import load_extractor, text_extractor
from xgacmn_tf.features.words import words

TRAIN = ["The red cat, a CAT!", "red dogs", "cats and a red cat"]


def test_counts_by_hand():
    bag = text_extractor("bow")
    bag.fit(TRAIN)
    # "the", "a" and "and" are stop words; "a" is too short besides.
    assert bag.vocabulary == ["cat", "cats", "dogs", "red"]
    rows = bag.encode(["Cat cat red", "a blue bird", ""])
    assert rows.dtype == np.float32
    assert rows.tolist() == [[2, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_the_most_frequent_words_are_kept():
    bag = text_extractor("bow")
    bag.size = 2
    bag.fit(TRAIN)
    assert bag.vocabulary == ["cat", "red"]  # 3 and 3 times; the others once


def test_texts_without_blanks_are_counted_by_characters():
    bag = text_extractor("bow")
    bag.fit(["今天红苹果很大", "昨天手机", "สวัสดีครับ"])
    same, other, thai, unknown = bag.encode(["一个红苹果", "手机iphone", "ครับ", "ปู"])
    assert {bag.vocabulary[i] for i in np.flatnonzero(same)} == {"红", "苹", "果", "红苹", "苹果"}
    assert {bag.vocabulary[i] for i in np.flatnonzero(other)} == {"手", "机", "手机"}
    assert thai.sum() == 2 and unknown.sum() == 0


def test_combining_marks_belong_to_their_word():
    assert words("हिन्दी में cafe\u0301") == ["हिन्दी", "में", "café"]


def test_texts_without_words():
    with pytest.raises(InputError, match="bow features: the training texts hold no word"):
        text_extractor("bow").fit(["", "the"])


def topics_of_two_kinds(seed=0):
    """Texts of two vocabularies that never meet."""
    generator = np.random.default_rng(seed)
    kinds = (["goal", "team", "match", "score"], ["oven", "flour", "butter", "sugar"])
    return [" ".join(generator.choice(kinds[row % 2], 12)) for row in range(60)]


def test_topics_tell_two_kinds_of_text_apart():
    lda = text_extractor("lda", seed=1)
    lda.fit(topics_of_two_kinds())
    rows = lda.encode(topics_of_two_kinds(seed=9))
    assert rows.shape == (60, 10) and rows.dtype == np.float32
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    same = np.arange(60)[:, None] % 2 == np.arange(60) % 2
    # Ten topics for two kinds: each kind has several, and shares none with the other.
    assert (unit @ unit.T)[same].mean() > 10 * (unit @ unit.T)[~same].mean()


def test_a_text_of_unknown_words_has_equal_topics():
    lda = text_extractor("lda")
    lda.fit(topics_of_two_kinds())
    np.testing.assert_allclose(lda.encode(["", "unheard of"]), np.full((2, 10), 0.1), rtol=1e-5)


def test_topics_do_not_depend_on_the_batch():
    lda = text_extractor("lda")
    texts = topics_of_two_kinds()
    lda.fit(texts)
    alone = np.concatenate([lda.encode([text]) for text in texts[:5]])
    np.testing.assert_array_equal(alone, lda.encode(texts)[:5])


@pytest.mark.parametrize("name", ["bow", "lda"])
def test_saved_ones_give_the_same(tmp_path, name):
    extractor = text_extractor(name, seed=3)
    extractor.fit(topics_of_two_kinds())
    extractor.save(tmp_path / "saved")
    loaded = load_extractor(tmp_path / "saved")
    assert (loaded.name, loaded.dim, loaded.settings()) == (
        name,
        extractor.dim,
        extractor.settings(),
    )
    texts = topics_of_two_kinds(seed=4)
    np.testing.assert_array_equal(loaded.encode(texts), extractor.encode(texts))
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} <= {".json", ".npz"}


def test_names_and_weights_that_make_no_sense():
    with pytest.raises(InputError, match="unknown text features 'bert'; expected one of bow, lda"):
        text_extractor("bert")
    with pytest.raises(InputError, match="'bow' are learned .* take no weights, found 'x'"):
        text_extractor("bow", weights="x")


def test_a_folder_without_an_extractor(tmp_path):
    with pytest.raises(InputError, match="cannot be read as a saved feature extractor"):
        load_extractor(tmp_path)
    manifest = {"modality": "text", "name": "bow", "settings": {"size": 5}}
    (tmp_path / "extractor.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="vocabulary.json"):
        load_extractor(tmp_path)
