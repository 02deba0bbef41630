"""Queries to hits on a live gallery."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from xgacmn_tf.features.words import typed_words
from xgacmn_tf.gallery import shown_categories
from xgacmn_tf.model.encoders import MATCH_DEPTH, is_poor_match
from xgacmn_tf.names import OTHER
from xgacmn_tf.serve import schemas
from xgacmn_tf.serve.encoder import Encoded, Encoder
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.live_gallery import Entry, LiveGallery

_MAX_WORDS = 100
_MAX_CATEGORIES = 20


def search(gallery: LiveGallery, request: schemas.SearchRequest) -> schemas.SearchAnswer:
    """Return the items of a gallery that are nearest to a query."""
    encoder = gallery.encoder
    ((modality, (form, value)),) = request.sources().items()
    find = request.find or OTHER[modality]
    (encoded,) = encoder.encode(modality, form, [value])
    query = schemas.Query(modality=modality, find=find, understood=encoded is not None)
    if request.text is not None:
        _describe_words(query, encoder, request.text, encoded)
    hits, no_good_match = [], None
    if encoded is not None:
        embedding = gallery.query_embedding(modality, find, encoded)
        (category,) = _categories(encoder, embedding[np.newaxis], [""])
        query.category = category["category"]
        query.category_posterior = category["category_posterior"]
        depth = max(request.k, MATCH_DEPTH)
        compared = encoder.query_by(request.similarity, embedding)
        nearest = gallery.shelves[find].nearest(compared, depth, request.category)
        # Thresholds were chosen with queries of the other modality, ranked by the run's similarity.
        threshold = encoder.match_threshold(gallery.split, modality) if find != modality else None
        if threshold is not None and compared is embedding:
            best = [encoder.items_of(entry.embedding) for entry, _ in nearest[:MATCH_DEPTH]]
            own = encoder.items_of(embedding)
            no_good_match = is_poor_match(own, np.array(best), threshold)
        hits = _hits(gallery, nearest[: request.k])
    if request.category is not None and not hits:
        _check_category(gallery, request.category)
    return schemas.SearchAnswer(
        query=query,
        hits=hits,
        no_good_match=no_good_match,
        model_version=encoder.version.number,
    )


def _check_category(gallery: LiveGallery, category: str) -> None:
    """Raise a `RequestError` if no item that can be found and no class has a category."""
    items = set().union(*(shelf.categories() for shelf in gallery.shelves.values()))
    known = sorted(items | set(gallery.encoder.label_names or ()))
    if category not in known:
        some = ", ".join(known[:_MAX_CATEGORIES]) + ", …" * (len(known) > _MAX_CATEGORIES)
        there = f"expected one of {some}" if known else "the items have none"
        raise RequestError(f"category: no item has {category!r}; {there}")


def _describe_words(
    query: schemas.Query, encoder: Encoder, text: str, encoded: Encoded | None
) -> None:
    query.known_words = 0 if encoded is None else encoded.known_words
    words = typed_words(text)[:_MAX_WORDS]
    if words and query.known_words is not None and query.known_words < len(words):
        known = encoder.encode("text", "raw", words)
        query.unknown_words = [w for w, each in zip(words, known, strict=True) if each is None]


def _hits(gallery: LiveGallery, nearest: list[tuple[Entry, float]]) -> list[schemas.Hit]:
    if not nearest:
        return []
    embeddings = np.stack([entry.embedding for entry, _ in nearest])
    shown = _categories(gallery.encoder, embeddings, [entry.category for entry, _ in nearest])
    return [
        schemas.Hit(
            rank=rank,
            id=entry.id,
            score=score,
            title=" ".join(entry.title.split()) or entry.id,
            thumbnail=thumbnail_path(gallery, entry.id, entry.image_revision),
            **category,
        )
        for rank, ((entry, score), category) in enumerate(zip(nearest, shown, strict=True), 1)
    ]


def _categories(
    encoder: Encoder, embeddings: np.ndarray, categories: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the fields on categories that a hit has, for n embeddings (n, e)."""
    posteriors = encoder.posteriors_of(embeddings)
    return [
        {
            "category": shown.name or None,
            "category_posterior": shown.posterior,
            "category_known": shown.is_given,
        }
        for shown in shown_categories(posteriors, encoder.label_names, categories)
    ]


def thumbnail_path(gallery: LiveGallery, key: str, revision: int | None) -> str | None:
    """Return the address of an item's thumbnail, or None without one.

    Args:
      gallery: has the item.
      key: its id.
      revision: of a written item with an image; None to look in the base gallery.
    """
    version = str(revision)
    if revision is None:
        data = gallery.base_thumbnail(key)
        if not data:
            return None
        version = f"{zlib.crc32(data):08x}"  # Another gallery may have another image.
    return f"/items/{quote(key, safe='')}/thumbnail?v={version}"
