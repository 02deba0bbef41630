"""TFDS builder of NUS-WIDE: `tfds.load("nuswide/lowlevel_10k")`."""

from typing import Any

import tensorflow_datasets as tfds

from xgacmn_tf.datasets.nuswide import DISTRIBUTION
from xgacmn_tf.datasets.nuswide.sources import LOW_LEVEL, NUM_TAGS
from xgacmn_tf.datasets.nuswide.splits import CONCEPTS_10K
from xgacmn_tf.datasets.paired_builder import PairedBuilder, PairedConfig

# As `Concepts81.txt` has them.
CONCEPTS = (
    "airport", "animal", "beach", "bear", "birds", "boats", "book", "bridge", "buildings", "cars",
    "castle", "cat", "cityscape", "clouds", "computer", "coral", "cow", "dancing", "dog",
    "earthquake", "elk", "fire", "fish", "flags", "flowers", "food", "fox", "frost", "garden",
    "glacier", "grass", "harbor", "horses", "house", "lake", "leaf", "map", "military", "moon",
    "mountain", "nighttime", "ocean", "person", "plane", "plants", "police", "protest", "railroad",
    "rainbow", "reflection", "road", "rocks", "running", "sand", "sign", "sky", "snow", "soccer",
    "sports", "statue", "street", "sun", "sunset", "surf", "swimmers", "tattoo", "temple", "tiger",
    "tower", "town", "toy", "train", "tree", "valley", "vehicle", "water", "waterfall", "wedding",
    "whales", "window", "zebra",
)  # fmt: skip
_SPLIT: dict[str, dict[str, Any]] = {
    "10k": {
        "description": "8,000 training, 1,000 validation and 1,000 test pairs of ten concepts",
        "label_names": CONCEPTS_10K,
    },
    "full": {
        "description": "all pairs with any of the 81 concepts, in the distribution's two lists",
        "label_names": CONCEPTS,
        "multi_label": True,
    },
}
_IMAGES: dict[str, dict[str, Any]] = {
    "lowlevel": {
        "description": "1134-D low-level features and 1000-D tags",
        "image_dim": sum(source.columns for source in LOW_LEVEL.values()),
    },
    "deep": {
        "description": "4096-D VGG-19 fc2 and 1000-D tags",
        "image_dim": 4096,
        "image_features": "vgg19",
        # Many images have been deleted from Flickr.
        "on_bad_image": "skip",
        "has_thumbnails": True,
    },
}


class Builder(PairedBuilder):
    """Images of Flickr with tags, in ten or 81 concepts, as features."""

    READER = "nuswide"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = DISTRIBUTION.instructions
    BUILDER_CONFIGS = [
        PairedConfig(
            **{**image, **split, "description": f"{image['description']}; {split['description']}."},
            name=f"{features}_{protocol}",
            protocol=protocol,
            text_dim=NUM_TAGS,
            described=True,
        )
        for features, image in _IMAGES.items()
        for protocol, split in _SPLIT.items()
    ]
