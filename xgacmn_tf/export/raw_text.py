"""Features of raw texts in TensorFlow graphs.

Sentence embeddings come from `features.sentences.SentenceReader`, word counts from `WordCounter`,
which counts as `features.words.BagOfWords` does, in all of its ways. They come down to runs of word
characters, or n-grams of these, looked up in the vocabulary; which words are too short or too
common was decided when the vocabulary was built. Accented letters must be single characters
(Unicode NFC), as keyboards produce them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import tensorflow as tf
from absl import logging

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.features.sentences import Sentences
from xgacmn_tf.features.words import NGRAMS, BagOfWords
from xgacmn_tf.runs.folder import RunFolder

# RE2's names for what Python's \w matches, without and with decimal digits and the underscore.
_LETTERS = r"\p{L}\p{Nl}\p{No}"
_WORD_CHARACTERS = r"\p{L}\p{N}_"
_MARKS = r"\p{M}"
# Stands for "this character stays": a zero byte is no result of folding.
_STAYS = "\0"


class TextReader(Protocol):
    """Encodes texts as an extractor does."""

    def read(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Texts (n,) UTF-8 → features (n, d) float32 and numbers of known words (n,) int32.

        Text that is not UTF-8 raises `tf.errors.InvalidArgumentError`.
        """


class WordCounter(tf.Module):
    """Texts (n,) UTF-8 → counts (n, words) float32.

    Args:
      vocabulary: the words in the order of the columns, lower-case.
      plain: remove accents, part camelCase and count letters only, as `plain_words` does; else
        letters, digits and underscores.
      ngrams: count `words`, n-grams of scripts without blanks among them.

    Text that is not UTF-8 raises `tf.errors.InvalidArgumentError`.
    """

    def __init__(self, vocabulary: Sequence[str], plain: bool = False, ngrams: bool = True):
        super().__init__()
        self.size = len(vocabulary)
        self.columns = _table(list(vocabulary), list(range(self.size)), tf.string, tf.int64, -1)
        self.plain, self.ngrams = plain, ngrams and not plain
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
        places = [self._places(words) for words in self._words(texts)]
        places_of_all = tf.concat(places, axis=0)
        ones = tf.ones(tf.shape(places_of_all)[:1])
        # scatter_nd adds up the ones of a repeated word.
        return tf.scatter_nd(places_of_all, ones, [tf.shape(texts, tf.int64)[0], self.size])

    def read(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the counts, and their sums as (n,) int32; see `TextReader`."""
        counts = self(texts)
        return counts, tf.cast(tf.reduce_sum(counts, axis=1), tf.int32)

    def _words(self, texts: tf.Tensor) -> Iterator[tf.RaggedTensor]:
        """Yield the words of each text, and then the n-grams of each length."""
        if not self.ngrams:
            yield _runs(texts, _LETTERS if self.plain else _WORD_CHARACTERS)
            return
        texts = tf.strings.regex_replace(texts, f"[^{_WORD_CHARACTERS}{_MARKS}]+", " ")
        unspaced = "".join(ranges for ranges, _ in NGRAMS)
        yield tf.strings.split(tf.strings.regex_replace(texts, f"[{unspaced}]+", " "))
        for ranges, lengths in NGRAMS:
            runs = _runs(texts, ranges)
            characters = tf.strings.unicode_split(runs, "UTF-8")
            for length in lengths:
                grams = tf.strings.ngrams(
                    characters, length, separator="", preserve_short_sequences=length == lengths[0]
                )
                yield grams.merge_dims(1, 2)

    def _places(self, words: tf.RaggedTensor) -> tf.Tensor:
        """Return (known words, 2) row and column of each known word."""
        column = self.columns.lookup(words.flat_values)
        places = tf.stack([words.value_rowids(), column], axis=1)
        return tf.boolean_mask(places, column >= 0)


def _runs(texts: tf.Tensor, characters: str) -> tf.RaggedTensor:
    """Return the runs of these characters, a regular expression's ranges, in each text."""
    return tf.strings.split(tf.strings.regex_replace(texts, f"[^{characters}]+", " "))


def text_reader_of(folder: RunFolder) -> TextReader | None:
    """Return the reader for a run's text features; None where TensorFlow cannot compute them.

    None as well where packages or weights are missing, and with a warning where weights differ.
    """
    if not (folder.extractors / "text").is_dir():
        return None
    extractor = load_extractor(folder.extractors / "text")
    if isinstance(extractor, BagOfWords):
        return WordCounter(extractor.vocabulary, extractor.plain, extractor.ngrams)
    if not isinstance(extractor, Sentences) or extractor.missing():
        return None
    try:
        return extractor.reader
    except InputError as error:
        logging.warning("the exported model takes no sentences: %s", error)
        return None


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
    """Return the characters that change without accents: é → e, ﬁ → fi, U+0301 → "".

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
