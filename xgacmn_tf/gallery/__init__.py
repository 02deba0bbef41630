"""Galleries: the items that are searched, their files and their embeddings."""

from xgacmn_tf.gallery.categories import categories_with_posteriors, shown_categories
from xgacmn_tf.gallery.data_set import ALL, TEST, TRAIN, from_dataset, from_split, searched_split
from xgacmn_tf.gallery.embeddings import (
    combines,
    compares_features,
    query_embeddings,
    search_embeddings,
)
from xgacmn_tf.gallery.files import from_file
from xgacmn_tf.gallery.items import SEPARATOR, Gallery, join

__all__ = [
    "ALL",
    "SEPARATOR",
    "TEST",
    "TRAIN",
    "Gallery",
    "categories_with_posteriors",
    "combines",
    "compares_features",
    "from_dataset",
    "from_file",
    "from_split",
    "join",
    "query_embeddings",
    "search_embeddings",
    "searched_split",
    "shown_categories",
]
