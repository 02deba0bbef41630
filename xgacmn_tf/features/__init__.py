"""Raw pictures and texts → features: `extract_features`, or `python -m xgacmn_tf.features`."""

from xgacmn_tf.features.extraction import extract_features
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
    "extract_features",
    "image_extractor",
    "load_extractor",
    "text_extractor",
]
