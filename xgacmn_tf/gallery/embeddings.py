"""Embeddings of a gallery and of queries, whose inner products rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xgacmn_tf.gallery.items import Gallery
from xgacmn_tf.names import MODALITIES, OTHER

if TYPE_CHECKING:
    from xgacmn_tf.model.encoders import CommonSpaceEncoder

# Maximum number of values in the embeddings of images and captions.
MAX_COMBINED = 2**25
# Maximum number of dimensions of mapped text features that searches compare.
MAX_CAPTION_DIM = 2**12


def search_embeddings(
    encoder: CommonSpaceEncoder,
    similarity: str,
    gallery: Gallery,
    modality: str,
    captions: bool = True,
    caption_features: bool = True,
) -> tuple[Gallery, np.ndarray]:
    """Return the items of one modality and the embeddings that searches rank by inner product.

    Where both an item's image and its caption are known, the embedding is the mean of the two for
    similarity "item": the score of a query is then the mean of its scores for image and caption.
    Several captions of one image count together as much as the image. An image or caption that is
    missing, or whose features are all zero, is left out.

    Embeddings of images in a gallery of images and texts have caption features, too: the mean over
    the captions, and zeros without any, so that all have one width. The score of a text query is
    then higher by its weighted cosine with the captions, see `CommonSpaceEncoder.caption_features`.

    Args:
      encoder: the encoders.
      similarity: one that they define.
      gallery: what is searched.
      modality: "image" or "text", one that the gallery holds.
      captions: False for embeddings of that modality alone.
      caption_features: False for embeddings without them.

    Returns:
      m items, see `Gallery.distinct`, and (m, e) float32.
    """
    items, item = gallery.distinct(modality)
    own = _represented(encoder, similarity, modality, items.features[modality])
    if not (captions and combines(encoder, similarity, gallery)):
        return items, own
    other = OTHER[modality]
    known = np.flatnonzero(gallery.features[other].any(axis=1) & (item >= 0))
    features = gallery.features[other][known]
    count = np.bincount(item[known], minlength=len(items)).reshape(-1, 1)

    def mean(values: np.ndarray) -> np.ndarray:
        totals = np.zeros((len(items), values.shape[1]), np.float64)
        np.add.at(totals, item[known], values)
        return totals / np.maximum(count, 1)

    embeddings = own
    if len(known):
        more = mean(_represented(encoder, similarity, other, features))
        both = np.where(items.features[modality].any(axis=1, keepdims=True), (own + more) / 2, more)
        embeddings = np.where(count > 0, both, own).astype(np.float32)
    if modality == "image" and caption_features and compares_features(encoder, similarity, gallery):
        of_captions = np.zeros((len(items), encoder.text_map.output_dim), np.float32)
        if len(known):
            of_captions = mean(encoder.caption_features_of(features).numpy()).astype(np.float32)
        embeddings = encoder.with_caption_features(embeddings, of_captions).numpy()
    return items, embeddings


def query_embeddings(
    encoder: CommonSpaceEncoder,
    similarity: str,
    modality: str,
    features: np.ndarray,
    width: int | None = None,
) -> np.ndarray:
    """Return embeddings (n, e) of queries, float32, whose inner products with items rank.

    Args:
      encoder, similarity: as for the items.
      modality: of the queries, "image" or "text".
      features: (n, d) of them.
      width: the number of columns of the items' embeddings, which may have caption features; None
        for embeddings without.
    """
    embeddings = _represented(encoder, similarity, modality, features)
    if width is None or width <= embeddings.shape[1]:
        return embeddings
    captions = encoder.caption_features_of(features)
    return np.asarray(encoder.with_caption_features(embeddings, captions), np.float32)


def combines(encoder: CommonSpaceEncoder, similarity: str, gallery: Gallery) -> bool:
    """Whether searches of the gallery compare queries with images and captions.

    Not where the embeddings are too large to be stored, because of many categories.
    """
    if similarity != "item" or len(gallery.features) < len(MODALITIES):
        return False
    return len(gallery) * _item_width(encoder) <= MAX_COMBINED


def compares_features(encoder: CommonSpaceEncoder, similarity: str, gallery: Gallery) -> bool:
    """Whether searches of images compare typed queries with captions by their features, too.

    Not where embeddings with caption features are too large to be stored.
    """
    if not combines(encoder, similarity, gallery):
        return False
    dim = encoder.text_map.output_dim
    size = len(gallery) * (_item_width(encoder) + dim)
    return dim <= MAX_CAPTION_DIM and size <= MAX_COMBINED


def _item_width(encoder: CommonSpaceEncoder) -> int:
    """The number of columns of "item" embeddings."""
    return (encoder.num_classes or encoder.code_dim) + encoder.item_dim


def _represented(
    encoder: CommonSpaceEncoder, similarity: str, modality: str, features: np.ndarray
) -> np.ndarray:
    encodings = encoder.encodings_of(modality, features)
    return np.asarray(encoder.represent(encodings, similarity, modality), np.float32)
