"""Text as users type it → the word counts that the text encoder reads, in pure TensorFlow.

It counts as `features.words.BagOfWords` does, in both of its ways. Both come down to runs of word
characters, looked up in the vocabulary; which words are too short or too common was settled when
the vocabulary was made.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.features.words import BagOfWords
from xgacmn_tf.run_folder import RunFolder

# RE2's names for what Python's \w matches, without and with decimal digits and the underscore.
_LETTERS = r"\p{L}\p{Nl}\p{No}"
_WORD_CHARACTERS = r"\p{L}\p{N}_"
# Stands for "this character stays": a zero byte is no result of folding.
_STAYS = "\0"


class WordCounter(tf.Module):
    """Texts (n,) UTF-8 → counts (n, words) float32.

    Args:
      vocabulary: the words in the order of the columns, lower-case.
      plain: remove accents, part camelCase and count letters only, as `plain_words` does; else
        letters, digits and underscores.

    Text that is not UTF-8 raises `tf.errors.InvalidArgumentError`.
    """

    def __init__(self, vocabulary: Sequence[str], plain: bool):
        super().__init__()
        self.size = len(vocabulary)
        self.columns = _table(list(vocabulary), list(range(self.size)), tf.string, tf.int64, -1)
        self.plain = plain
        if plain:
            folded = _folded_letters()
            self.folded = _table(list(folded), list(folded.values()), tf.int64, tf.string, _STAYS)

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        codes = tf.strings.unicode_decode(texts, "UTF-8", errors="strict")
        characters = tf.strings.unicode_encode(tf.expand_dims(codes.flat_values, 1), "UTF-8")
        if self.plain:
            folded = self.folded.lookup(tf.cast(codes.flat_values, tf.int64))
            characters = tf.where(folded == _STAYS, characters, folded)
        texts = tf.strings.reduce_join(codes.with_flat_values(characters), axis=-1)
        if self.plain:
            texts = tf.strings.regex_replace(texts, "([a-z])([A-Z])", r"\1 \2")
        texts = tf.strings.lower(texts, encoding="utf-8")
        kept = _LETTERS if self.plain else _WORD_CHARACTERS
        words = tf.strings.split(tf.strings.regex_replace(texts, f"[^{kept}]+", " "))
        column = self.columns.lookup(words.flat_values)
        places = tf.stack([words.value_rowids(), column], axis=1)
        places = tf.boolean_mask(places, column >= 0)
        ones = tf.ones(tf.shape(places)[:1])
        # Where a word stands twice, scatter_nd adds up.
        return tf.scatter_nd(places, ones, [tf.shape(texts, tf.int64)[0], self.size])


def word_counter_of(folder: RunFolder) -> WordCounter | None:
    """The counter for a run's text features; None where they are no word counts we know of."""
    if not (folder.extractors / "text").is_dir():
        return None
    extractor = load_extractor(folder.extractors / "text")
    if not isinstance(extractor, BagOfWords):
        return None
    return WordCounter(extractor.vocabulary, extractor.plain)


def _table(
    keys: list[int] | list[str],
    values: list[int] | list[str],
    key: tf.DType,
    value: tf.DType,
    default: Any,
) -> tf.lookup.StaticHashTable:
    initializer = tf.lookup.KeyValueTensorInitializer(keys, values, key, value)
    return tf.lookup.StaticHashTable(initializer, default)


def _folded_letters() -> dict[int, str]:
    """What each character becomes without accents, where it changes: é → e, ﬁ → fi, U+0301 → "".

    Hangul is left out: its 11,172 syllables fall apart into letters of no vocabulary here.
    """
    folded = {}
    for code in range(0x80, 0x20000):
        if 0xAC00 <= code <= 0xD7A3 or 0xD800 <= code <= 0xDFFF:
            continue
        parts = unicodedata.normalize("NFKD", chr(code))
        plain = "".join(part for part in parts if not unicodedata.combining(part))
        if plain != chr(code):
            folded[code] = plain
    return folded
