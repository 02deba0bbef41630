"""TFDS builder of Pascal Sentence: `tfds.load("pascal_sentence/deep_900")`."""

import tensorflow_datasets as tfds

from xgacmn_tf.datasets.paired_builder import PairedBuilder, PairedConfig
from xgacmn_tf.datasets.pascal_sentence import DISTRIBUTION, RELEASE_CLASSES, SENTENCES_APART
from xgacmn_tf.datasets.pascal_sentence.captions import CLASSES

_SPLIT = {
    "900": "45 training and 5 test pairs of each class",
    "800": "40 training, 5 validation and 5 test pairs of each class",
    "900_sentences": "45 training and 5 test images of each class, a pair for each sentence",
}


class Builder(PairedBuilder):
    """Images of 20 classes with about five sentences each, as features."""

    READER = "pascal_sentence"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = DISTRIBUTION.instructions
    BUILDER_CONFIGS = [
        PairedConfig(
            name=f"deep_{protocol}",
            description=f"4096-D VGG-19 fc2 and 1000-D bags of words; {split}.",
            protocol=protocol,
            image_features="vgg19",
            text_features="bow",
            label_names=CLASSES,
            image_dim=4096,
            text_dim=1000,
            described=True,
            has_thumbnails=True,
            grouped=protocol in SENTENCES_APART,
        )
        for protocol, split in _SPLIT.items()
    ] + [
        PairedConfig(
            name="released",
            description="The released features, 4096-D VGG-19 fc7 and 300-D texts; 800 training "
            "and 100 test pairs.",
            label_names=RELEASE_CLASSES,
            image_dim=4096,
            text_dim=300,
        )
    ]
