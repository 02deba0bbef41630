"""Queries to hits on a live gallery."""

from __future__ import annotations

import re
from urllib.parse import quote

import numpy as np

from xgacmn_tf.model.encoders import MATCH_DEPTH
from xgacmn_tf.names import OTHER
from xgacmn_tf.serve import schemas
from xgacmn_tf.serve.encoder import Encoded, Encoder
from xgacmn_tf.serve.live_gallery import LiveGallery
from xgacmn_tf.serve.ranking import categories_of, is_no_good_match
from xgacmn_tf.serve.shelf import Entry

_WORD = re.compile(r"\w+(?:['-]\w+)*")
_MAX_WORDS = 100


def search(
    gallery: LiveGallery, version: int, request: schemas.SearchRequest
) -> schemas.SearchAnswer:
    """Return the items of a version's gallery that are nearest to a query."""
    encoder = gallery.encoder
    ((modality, form, value),) = request.queries()
    find = request.find or OTHER[modality]
    encoded = encoder.encode(modality, form, value)
    query = schemas.Query(modality=modality, find=find, understood=encoded is not None)
    if request.text is not None:
        _describe_words(query, encoder, request.text, encoded)
    answer = schemas.SearchAnswer(query=query, hits=[], no_good_match=None, model_version=version)
    if encoded is None:
        return answer
    embedding = gallery.query_embedding(modality, find, encoded)
    (category,) = categories_of(encoder, embedding[np.newaxis], [""])
    query.category, query.category_posterior = category.category, category.posterior
    depth = max(request.k, MATCH_DEPTH)
    nearest = gallery.shelves[find].nearest(embedding, depth, request.category)
    # Thresholds were chosen with queries of the other modality.
    threshold = encoder.match_threshold(gallery.split, modality) if find != modality else None
    if threshold is not None:
        hits = [entry.embedding for entry, _ in nearest]
        answer.no_good_match = is_no_good_match(encoder, embedding, hits, threshold)
    answer.hits = _hits(gallery, nearest[: request.k])
    return answer


def _describe_words(
    query: schemas.Query, encoder: Encoder, text: str, encoded: Encoded | None
) -> None:
    query.known_words = 0 if encoded is None else encoded.known_words
    words = list(dict.fromkeys(_WORD.findall(text)))[:_MAX_WORDS]
    if words and query.known_words is not None and query.known_words < len(words):
        known = encoder.known_words(words)
        query.unknown_words = [w for w, is_known in zip(words, known, strict=True) if not is_known]


def _hits(gallery: LiveGallery, nearest: list[tuple[Entry, float]]) -> list[schemas.Hit]:
    if not nearest:
        return []
    embeddings = np.stack([entry.embedding for entry, _ in nearest])
    shown = categories_of(gallery.encoder, embeddings, [entry.category for entry, _ in nearest])
    hits = []
    for rank, ((entry, score), category) in enumerate(zip(nearest, shown, strict=True), 1):
        if entry.image_revision is not None:
            thumbnail: str | None = thumbnail_path(entry.id, entry.image_revision)
        else:
            thumbnail = base_thumbnail_path(gallery, entry.id)
        hits.append(
            schemas.Hit(
                rank=rank,
                id=entry.id,
                score=score,
                title=" ".join(entry.title.split()) or entry.id,
                category=category.category,
                category_posterior=category.posterior,
                category_known=category.known,
                thumbnail=thumbnail,
            )
        )
    return hits


def base_thumbnail_path(gallery: LiveGallery, key: str) -> str | None:
    row, thumbnails = gallery.base_row(key), gallery.base.thumbnail
    if row is None or thumbnails is None or not thumbnails[row]:
        return None
    return thumbnail_path(key, 0)


def thumbnail_path(key: str, revision: int) -> str:
    return f"/items/{quote(key, safe='')}/thumbnail?v={revision}"
