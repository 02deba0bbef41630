"""TFDS builder of the Wikipedia pairs: `tfds.load("wikipedia_pairs/shallow_2173")`.

It is not called `wikipedia`, which is TFDS's own data set of whole articles.
"""

from typing import Any

import tensorflow_datasets as tfds

from xgacmn_tf.datasets.paired_builder import PairedBuilder, PairedConfig
from xgacmn_tf.datasets.wikipedia import DISTRIBUTION, PROTOCOLS

CATEGORIES = (
    "art", "biology", "geography", "history", "literature", "media", "music", "royalty", "sport",
    "warfare",
)  # fmt: skip
_SPLIT = {
    "2173": "the shipped split, 2,173 training and 693 test pairs",
    "1300": "130 random training pairs of each category, 1,566 test pairs",
}
_FEATURES: dict[str, dict[str, Any]] = {
    "shallow": {
        "description": "128-D SIFT words and 10-D LDA topics",
        "image_dim": 128,
        "text_dim": 10,
    },
    "deep": {
        "description": "4096-D VGG-19 fc2 and 1000-D bags of words",
        "image_dim": 4096,
        "text_dim": 1000,
        "image_features": "vgg19",
        "text_features": "bow",
        "described": True,
        "has_thumbnails": True,
    },
}


class Builder(PairedBuilder):
    """Images with sections of articles in 10 categories, as features."""

    name = "wikipedia_pairs"
    READER = "wikipedia"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = DISTRIBUTION.instructions
    BUILDER_CONFIGS = [
        PairedConfig(
            **{**settings, "description": f"{settings['description']}; {_SPLIT[protocol]}."},
            name=f"{features}_{protocol}",
            protocol=protocol,
            label_names=CATEGORIES,
        )
        for features, settings in _FEATURES.items()
        for protocol in PROTOCOLS
    ]
