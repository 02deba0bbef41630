"""Extractors: networks, words and topics that turn images and texts into features."""

from xgacmn_tf.features.registry import (
    IMAGE_EXTRACTORS,
    TEXT_EXTRACTORS,
    image_extractor,
    load_extractor,
    text_extractor,
)

__all__ = [
    "IMAGE_EXTRACTORS",
    "TEXT_EXTRACTORS",
    "image_extractor",
    "load_extractor",
    "text_extractor",
]
