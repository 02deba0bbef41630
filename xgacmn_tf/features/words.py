"""Texts as word counts (1000-D) and as topics (10-D LDA), both learned on the training split.

The paper's text features of Pascal Sentence and NUS-WIDE are bags of words, those of Wikipedia are
topics (§4.1). Both come from scikit-learn.
"""

import functools
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.io import array_files
from xgacmn_tf.io.files import atomic_path, read_json, write_json

_VOCABULARY = "vocabulary.json"
_TOPICS = "topics.npz"


# Scripts that put no blanks between words, as ranges of a regular expression, and the lengths of
# the character n-grams that stand for their words. Words of Han and kana are mostly one or two
# characters long, syllables of Thai, Lao, Burmese and Khmer about three.
HAN_AND_KANA = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
SOUTH_EAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
NGRAMS = ((HAN_AND_KANA, (1, 2)), (SOUTH_EAST_ASIAN, (3,)))


def typed_words(text: str) -> list[str]:
    """Return the distinct words of a text as typed, such as "don't" and "T-shirt"."""
    return list(dict.fromkeys(re.findall(r"\w+(?:['-]\w+)*", text)))


def words(text: str) -> list[str]:
    """Return the words of a lower-case text, and character n-grams where no blanks part words.

    A word is two or more letters, digits or underscores with their combining marks. Runs of Chinese
    and Japanese characters become single characters and pairs of neighbors, as search engines index
    them; runs of Thai, Lao, Burmese and Khmer become three characters each, or one shorter run.
    """
    spaced, *runs = _patterns()
    text = unicodedata.normalize("NFC", text)
    tokens: list[str] = spaced.findall(text)
    if text.isascii():
        return tokens
    for pattern, (_, lengths) in zip(runs, NGRAMS, strict=True):
        for run in pattern.findall(text):
            if len(run) < lengths[0]:
                tokens.append(run)
            for length in lengths:
                tokens += [run[i : i + length] for i in range(len(run) - length + 1)]
    return tokens


@functools.cache
def _patterns() -> list[re.Pattern[str]]:
    """Return a word of a script with blanks, and the runs of the scripts without."""
    # Python's \\w has no combining marks, which would cut Hindi and Thai words at their vowels.
    marks = "".join(map(chr, range(sys.maxunicode + 1)))
    marks = "".join(c for c in marks if unicodedata.category(c).startswith("M"))
    unspaced = "".join(ranges for ranges, _ in NGRAMS)
    spaced = rf"(?:(?![{unspaced}])[\w{marks}]){{2,}}"
    runs = (rf"(?:(?=[{ranges}])[\w{marks}])+" for ranges, _ in NGRAMS)
    return [re.compile(pattern) for pattern in (spaced, *runs)]


def plain_words(text: str) -> list[str]:
    """Return lower-case words of at least two letters, without accents, camelCase split."""
    letters = unicodedata.normalize("NFKD", text)
    letters = "".join(letter for letter in letters if not unicodedata.combining(letter))
    letters = re.sub(r"([a-z])([A-Z])", r"\1 \2", letters)
    return re.findall(r"[^\W\d_]{2,}", letters.lower())


class BagOfWords(Extractor):
    """Counts of the most frequent words of the training texts that are no English stop words.

    Words are in lower case, see `words`. A text without any of them is a row of zeros. Fewer words
    than `size` in the training texts make fewer features.

    Args:
        size: maximum number of words to count.
        plain: count `plain_words` instead, as it was done for the bundled clip art.
        ngrams: count `words`; False for extractors that were saved before: two or more letters or
            digits, whatever their script.
    """

    modality: ClassVar[str] = "text"
    learns: ClassVar[bool] = True

    def __init__(
        self, name: str = "bow", size: int = 1000, plain: bool = False, ngrams: bool = True
    ):
        self.name, self.size, self.plain, self.ngrams = name, size, plain, ngrams
        self.vocabulary: list[str] = []

    @property
    def dim(self) -> int:
        return len(self.vocabulary)

    def settings(self) -> dict[str, Any]:
        if self.plain:
            return {"size": self.size, "plain": True}
        return {"size": self.size, **({"ngrams": True} if self.ngrams else {})}

    def _vectorizer(self, **settings: Any) -> CountVectorizer:
        if self.plain:
            settings["tokenizer"], settings["token_pattern"] = plain_words, None
            settings["lowercase"] = False  # `plain_words` needs the capitals of camelCase.
        elif self.ngrams:
            settings["tokenizer"], settings["token_pattern"] = words, None
        return CountVectorizer(**settings)

    def fit(self, items: Iterable[str]) -> None:
        vectorizer = self._vectorizer(max_features=self.size, stop_words=sorted(ENGLISH_STOP_WORDS))
        try:
            vectorizer.fit(items)
        except ValueError as error:
            raise InputError(
                f"{self.name} features: the training texts hold no word to count ({error}); name "
                "other text features"
            ) from error
        self.vocabulary = vectorizer.get_feature_names_out().tolist()

    def counts(self, texts: Sequence[str]) -> Any:
        """Return (n, dim) word counts, a SciPy sparse matrix."""
        return self._vectorizer(vocabulary=self.vocabulary).transform(texts)

    def encode(self, prepared: Sequence[str]) -> np.ndarray:
        return self.counts(prepared).toarray().astype(np.float32)

    def _save_files(self, folder: Path) -> None:
        write_json(folder / _VOCABULARY, self.vocabulary)

    @classmethod
    def _load(cls, folder: Path, name: str, settings: dict[str, Any]) -> Self:
        plain, ngrams = settings.get("plain", False), settings.get("ngrams", False)
        loaded = cls(name, settings["size"], plain, ngrams)
        vocabulary = read_json(folder / _VOCABULARY)
        if not isinstance(vocabulary, list) or {type(word) for word in vocabulary} != {str}:
            raise ValueError(f"{_VOCABULARY} is no list of words")
        if len(set(vocabulary)) < len(vocabulary):
            raise ValueError(f"{_VOCABULARY} holds a word twice")
        loaded.vocabulary = vocabulary
        return loaded


class Topics(Extractor):
    """Proportions of latent topics (Blei, Ng and Jordan 2003); each row sums to 1.

    A text without any known word has equal proportions.

    Args:
        seed: draws the first topics.
        topics: their number. vocabulary_size: most words that they are made of.
    """

    modality: ClassVar[str] = "text"
    learns: ClassVar[bool] = True

    def __init__(
        self,
        name: str = "lda",
        seed: int = 0,
        topics: int = 10,
        vocabulary_size: int = 5000,
        ngrams: bool = True,
    ):
        self.name, self.seed, self.topics = name, seed, topics
        self.words = BagOfWords(name, vocabulary_size, ngrams=ngrams)
        self._model = LatentDirichletAllocation(topics, random_state=seed)

    @property
    def dim(self) -> int:
        return self.topics

    def settings(self) -> dict[str, Any]:
        words = self.words.settings()
        vocabulary_size = words.pop("size")
        return {
            "seed": self.seed,
            "topics": self.topics,
            "vocabulary_size": vocabulary_size,
            **words,
        }

    def fit(self, items: Iterable[str]) -> None:
        texts = list(items)
        self.words.fit(texts)
        self._model.fit(self.words.counts(texts))

    def encode(self, prepared: Sequence[str]) -> np.ndarray:
        return self._model.transform(self.words.counts(prepared)).astype(np.float32)

    def _save_files(self, folder: Path) -> None:
        self.words._save_files(folder)
        with atomic_path(folder / _TOPICS) as path:
            np.savez(
                path,
                word_weight=self._model.components_,
                expected_word=self._model.exp_dirichlet_component_,
            )

    @classmethod
    def _load(cls, folder: Path, name: str, settings: dict[str, Any]) -> Self:
        loaded = cls(name, settings["seed"], settings["topics"], settings["vocabulary_size"])
        words = {"size": settings["vocabulary_size"], "ngrams": settings.get("ngrams", False)}
        loaded.words = BagOfWords._load(folder, name, words)
        arrays = array_files.read(folder / _TOPICS)
        # What scikit-learn's `transform` reads of a fitted model.
        loaded._model.components_ = arrays["word_weight"]
        loaded._model.exp_dirichlet_component_ = arrays["expected_word"]
        shape = (settings["topics"], loaded.words.dim)
        for name, array in arrays.items():
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"{name} has shape {array.shape}, or NaN")
        loaded._model.doc_topic_prior_ = 1 / settings["topics"]
        loaded._model.n_features_in_ = loaded.words.dim
        return loaded
