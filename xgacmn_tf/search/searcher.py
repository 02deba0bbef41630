"""Queries in words or pictures → what a gallery holds nearest to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.pictures import open_picture, thumbnail
from xgacmn_tf.features.words import BagOfWords, Topics
from xgacmn_tf.gallery import Gallery
from xgacmn_tf.search.index import Index
from xgacmn_tf.search.indexing import readable
from xgacmn_tf.trained_run import TrainedRun

# Nobody expects these to be counted.
_SMALL_WORDS = frozenset(
    "a an and are as at be by for from in into is it its of on or that the this to was with".split()
)
# What each kind of query finds.
FINDS = {"text": "image", "image": "text"}


@dataclass(frozen=True)
class Query:
    """A question.

    Attributes:
      modality: "text" or "image".
      shown: the text, or the picture's name. item: the text, or the RGB picture.
      picture: a small encoded picture; None for texts.
    """

    modality: str
    shown: str
    item: Any
    picture: bytes | None = None


@dataclass(frozen=True)
class Hit:
    """One item found: its rank from 1 and its similarity; its category and picture if known."""

    rank: int
    score: float
    id: str
    title: str
    category: str
    picture: bytes


@dataclass(frozen=True)
class Answer:
    """What one query finds, best first.

    Attributes:
      query: the query. hits: what it finds; nothing if it was not understood.
      unknown: the words of the query that the run never counted.
      understood: whether the query says anything to the run: at least one word of a text is known,
        and its features and its embedding are not all zero.
    """

    query: Query
    hits: tuple[Hit, ...]
    unknown: tuple[str, ...] = ()
    understood: bool = True

    def note(self) -> str:
        """A sentence on what the run did not understand; empty if it understood everything."""
        if not self.understood and self.query.modality == "text":
            return "The run knows no word of this query, so that nothing is found."
        if not self.understood:
            return "All features of this image are zero, so that nothing is found."
        if self.unknown:
            words = ", ".join(f"“{word}”" for word in self.unknown)
            return f"Not among the words that the run knows, and passed over: {words}."
        return ""


def text_query(text: str) -> Query:
    """A question in words.

    Raises:
      InputError: there are none.
    """
    line = " ".join(text.split())
    if not line:
        raise InputError("an empty query finds nothing; give a few words")
    return Query("text", line, line)


def picture_query(path: str) -> Query:
    """A question by a picture file.

    Raises:
      InputError: it cannot be read as a picture.
    """
    picture = open_picture(Path(path))
    return Query("image", readable(Path(path).name), picture, thumbnail(picture))


def answer(
    run: TrainedRun,
    items: Gallery,
    index: Index,
    queries: Sequence[Query],
    k: int,
    category: str | None = None,
) -> list[Answer]:
    """The k items nearest to each query.

    Args:
      run: whose encoders made the index's embeddings.
      items: what is searched.
      index: holds the embeddings of `items` under their ids.
      queries: all of one modality, at least one.
      k: how many. category: None for items of all.

    Raises:
      InputError: the run takes no queries of this kind.
    """
    modality = queries[0].modality
    features = run.features(modality, [query.item for query in queries])
    embeddings = run.represent(modality, features)
    found = index.query(embeddings, k, category)
    row_of = {str(name): row for row, name in enumerate(items.id)}
    answers = []
    for row, query in enumerate(queries):
        unknown: tuple[str, ...] = ()
        known = bool(features[row].any() and embeddings[row].any())
        if modality == "text":
            unknown, counted = _words(run.extractor(modality), query.item)
            known = known and counted
        hits: tuple[Hit, ...] = ()
        if known:
            # Where fewer are found than asked for, the rest of the ids is empty.
            pairs = [
                (row_of[name], float(score))
                for name, score in zip(found.ids[row].tolist(), found.scores[row], strict=True)
                if name
            ]
            hits = tuple(_hit(items, at, rank, score) for rank, (at, score) in enumerate(pairs, 1))
        answers.append(Answer(query, hits, unknown, known))
    return answers


def _hit(items: Gallery, row: int, rank: int, score: float) -> Hit:
    return Hit(
        rank,
        score,
        id=str(items.id[row]),
        title=" ".join(str(items.title[row]).split()) or str(items.id[row]),
        category="" if items.category is None else str(items.category[row]),
        picture=b"" if items.thumbnail is None else items.thumbnail[row],
    )


def _words(extractor: Extractor, text: str) -> tuple[tuple[str, ...], bool]:
    """The words of `text` that features of counted words pass over, and whether any was counted."""
    if isinstance(extractor, Topics):
        extractor = extractor.words
    if not isinstance(extractor, BagOfWords):
        return (), True
    words = list(dict.fromkeys(re.findall(r"\w+(?:['-]\w+)*", text)))
    if not words:
        return (), False
    counted = np.asarray(extractor.counts(words).sum(axis=1)).ravel() > 0
    unknown = [
        word
        for word, known in zip(words, counted, strict=True)
        if not known and word.lower() not in _SMALL_WORDS
    ]
    return tuple(unknown), bool(counted.any())
