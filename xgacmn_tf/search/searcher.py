"""Answers to queries in words or images: hits, categories and whether anything fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.image_files import open_image, thumbnail
from xgacmn_tf.features.words import BagOfWords, Topics, typed_words
from xgacmn_tf.gallery import TEST, Gallery, shown_categories
from xgacmn_tf.gallery.categories import ShownCategory
from xgacmn_tf.model.encoders import MATCH_DEPTH, is_poor_match
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.index import Index
from xgacmn_tf.search.sources import readable

# Words that no bag of words counts, and that are not reported as unknown.
_SMALL_WORDS = frozenset(
    "a an and are as at be by for from in into is it its of on or that the this to was with".split()
)
NO_GOOD_MATCH = "No good match: the nearest items are shown."


@dataclass(frozen=True)
class Query:
    """A query.

    Attributes:
      modality: "text" or "image".
      shown: the text, or the name of the image. item: the text, or the RGB image.
      thumbnail: a small encoded image; None for texts.
    """

    modality: str
    shown: str
    item: Any
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class Hit:
    """One hit.

    Attributes:
      rank: from 1. score: its similarity to the query, which is not a probability.
      id, title: as the gallery has them.
      category: as the gallery has it; where that has none, the most probable class of the item; ""
        where neither is known.
      thumbnail: an encoded thumbnail, or b"".
      category_posterior: the probability in [0, 1] of `category` by the item's own class posterior,
        whatever the query is; the sum for several categories; None where it is not known.
      category_known: whether the gallery has the category.
    """

    rank: int
    score: float
    id: str
    title: str
    category: str
    thumbnail: bytes
    category_posterior: float | None = None
    category_known: bool = True


@dataclass(frozen=True)
class Answer:
    """The hits of one query, best first.

    Attributes:
      query: the query. hits: none if it was not understood.
      unknown: the words of the query that the run never counted.
      understood: whether the query says anything to the run: at least one word of a text is known,
        and its features and its embedding are not all zero.
      category: the query's most probable class, with its posterior; "" and None where the
        similarity has no class posteriors.
      no_good_match: whether the nearest items fit so badly that nothing right is likely to be
        there, see `match_thresholds.choose_match_thresholds`; None where the run has no threshold.
    """

    query: Query
    hits: tuple[Hit, ...]
    unknown: tuple[str, ...] = ()
    understood: bool = True
    category: str = ""
    category_posterior: float | None = None
    no_good_match: bool | None = None

    def note(self) -> str:
        """Return a sentence on what the run did not understand; empty without such a part."""
        if not self.understood and self.query.modality == "text":
            return "The run knows no word of this query, so that nothing is found."
        if not self.understood:
            return "All features of this image are zero, so that nothing is found."
        if self.unknown:
            words = ", ".join(f"“{word}”" for word in self.unknown)
            return f"Not among the words that the run knows, and passed over: {words}."
        return ""

    def match_note(self) -> str:
        """Return a sentence where there is no good match; empty otherwise."""
        return NO_GOOD_MATCH if self.no_good_match and self.hits else ""


def text_query(text: str) -> Query:
    """Return a query in words.

    Raises:
      InputError: there are none, or the terminal sent bytes that are no text.
    """
    line = " ".join(text.split())
    if not line:
        raise InputError("an empty query finds nothing; give a few words")
    try:
        line.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the query {ascii(line)} is not UTF-8; type it again") from error
    return Query("text", line, line)


def image_query(path: str) -> Query:
    """Return a query by an image file.

    Raises:
      InputError: it cannot be read as an image.
    """
    image = open_image(Path(path))
    return Query("image", readable(Path(path).name), image, thumbnail(image))


def answer(
    run: TrainedRun,
    items: Gallery,
    index: Index,
    queries: Sequence[Query],
    k: int,
    category: str | None = None,
    split: str = TEST,
) -> list[Answer]:
    """Return the k items nearest to each query.

    Args:
      run: whose encoders made the index's embeddings.
      items: what is searched.
      index: holds the embeddings of `items` under their ids.
      queries: all of one modality, at least one.
      k: number of hits. category: None for items of all.
      split: "all" if the items include those that the run was trained on, else "test".

    Raises:
      InputError: the run takes no queries of this kind.
    """
    modality = queries[0].modality
    features = run.features(modality, [query.item for query in queries])
    (vectors,) = items.features.values()
    embeddings = run.represent(modality, features, vectors.shape[1])
    threshold = run.encoder.match_threshold(run.similarity, split, modality)
    depth = k if threshold is None else max(k, MATCH_DEPTH)
    nearest = index.query(embeddings, depth, category)
    row_of = {str(name): row for row, name in enumerate(items.id)}
    of_query = _categories(run, embeddings, [""] * len(queries))
    answers = []
    for row, query in enumerate(queries):
        unknown: tuple[str, ...] = ()
        counted = True
        if modality == "text":
            unknown, counted = _words(run.extractor(modality), query.item)
        if not (counted and features[row].any() and embeddings[row].any()):
            answers.append(Answer(query, (), unknown, understood=False))
            continue
        # Where there are fewer than `depth` hits, the rest of the ids is empty.
        rows = np.array([row_of[name] for name in nearest.ids[row].tolist() if name], np.int64)
        hits = _hits(run, items, rows[:k], nearest.scores[row])
        no_match = None
        if threshold is not None:
            own, best = map(run.encoder.items_of, (embeddings[row], vectors[rows[:MATCH_DEPTH]]))
            no_match = is_poor_match(own, best, threshold)
        shown = of_query[row]
        answers.append(Answer(query, hits, unknown, True, shown.name, shown.posterior, no_match))
    return answers


def _hits(run: TrainedRun, items: Gallery, rows: np.ndarray, scores: np.ndarray) -> tuple[Hit, ...]:
    """Return the items at `rows` (k,), best first; `scores` may be longer."""
    given = [""] * len(rows) if items.category is None else items.category[rows].tolist()
    (vectors,) = items.features.values()
    shown = _categories(run, vectors[rows], given)
    places = zip(rows.tolist(), scores[: len(rows)].tolist(), shown, strict=True)
    return tuple(
        Hit(
            rank,
            score,
            id=str(items.id[row]),
            title=" ".join(str(items.title[row]).split()) or str(items.id[row]),
            category=category.name,
            thumbnail=b"" if items.thumbnail is None else items.thumbnail[row],
            category_posterior=category.posterior,
            # Without a category and a class there is nothing to doubt.
            category_known=category.is_given or not category.name,
        )
        for rank, (row, score, category) in enumerate(places, 1)
    )


def _categories(
    run: TrainedRun, embeddings: np.ndarray, categories: Sequence[str]
) -> list[ShownCategory]:
    """Return `shown_categories` of embeddings, which may have no posteriors."""
    has_posteriors = run.encoder.has_posteriors(run.similarity)
    posteriors = run.encoder.posteriors_of(embeddings) if has_posteriors else None
    return shown_categories(posteriors, run.label_names, categories)


def _words(extractor: Extractor, text: str) -> tuple[tuple[str, ...], bool]:
    """Return the words of `text` that bags of words ignore, and whether any was counted."""
    if isinstance(extractor, Topics):
        extractor = extractor.words
    if not isinstance(extractor, BagOfWords):
        return (), True
    words = typed_words(text)
    if not words:
        return (), False
    counted = np.asarray(extractor.counts(words).sum(axis=1)).ravel() > 0
    unknown = [
        word
        for word, known in zip(words, counted, strict=True)
        if not known and word.lower() not in _SMALL_WORDS
    ]
    return tuple(unknown), bool(counted.any())
