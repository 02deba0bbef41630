"""Features of image files in a graph, for the signatures of an exported model.

The results are those of `features.image_files.open_image`, `prepare` and `encode`.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
from absl import logging

from xgacmn_tf.blocks import over_blocks
from xgacmn_tf.errors import InputError
from xgacmn_tf.export.image_bytes import for_each_image
from xgacmn_tf.features.cnn import VGG19, EfficientNetLite
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.runs.folder import RunFolder

# Images that go through the network together: bounds memory, however many are sent.
IMAGES_AT_ONCE = 32


class ImageReader:
    """JPEG or PNG files (n,) string → features (n, dim) float32.

    Images are decoded one after another. `tf.errors.InvalidArgumentError` names the first one
    that is of another format, broken, in CMYK or too large.

    Args:
      extractor: the extractor of the features that the run was trained on.
    """

    def __init__(self, extractor: EfficientNetLite | VGG19):
        network = extractor.network
        self.side, self.dim = extractor.side, int(network.output_shape[-1])
        self.square = extractor.square
        # SavedModel takes no names such as "_bn0/gamma", and all that Keras knows is no use to it.
        self.trained = _copies(network.trainable_variables)
        self.statistics = _copies(network.non_trainable_variables)
        # As an attribute, the network itself would come along.
        self.call_network: Callable[[tf.Tensor], tf.Tensor] = lambda pixels: network.stateless_call(
            self.trained, self.statistics, pixels, training=False
        )[0]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def __call__(self, image_bytes: tf.Tensor) -> tf.Tensor:
        squares = self.prepare(image_bytes)

        def features_of_block(first: tf.Tensor, last: tf.Tensor) -> list[tf.Tensor]:
            return [self.call_network(tf.cast(squares[first:last], tf.float32))]

        spec = tf.TensorSpec([None, self.dim], tf.float32)
        block = tf.constant(IMAGES_AT_ONCE)
        features = over_blocks(features_of_block, tf.shape(squares)[0], block, [spec])[0]
        return tf.reshape(features, [-1, self.dim])  # The loop forgets the width.

    def prepare(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """Return files (n,) string → what the network sees, (n, side, side, 3) uint8."""
        spec = tf.TensorSpec([self.side, self.side, 3], tf.uint8)
        # Images are decoded on the CPU; from there, their pixels are not worth a journey.
        with tf.device("CPU:0"):
            return for_each_image(image_bytes, self.square, spec)


def image_reader_of(folder: RunFolder) -> ImageReader | None:
    """Return the reader for a run's image features; None without a convolutional network.

    None as well where that network's weights are missing, and with a warning where they differ.
    """
    if not (folder.extractors / "image").is_dir():
        return None
    extractor = load_extractor(folder.extractors / "image")
    if not isinstance(extractor, EfficientNetLite | VGG19) or extractor.missing():
        return None
    try:
        return ImageReader(extractor)
    except InputError as error:
        logging.warning("The exported model takes no image files: %s", error)
        return None


def _copies(variables: list[keras.Variable]) -> list[tf.Variable]:
    return [tf.Variable(v.numpy(), trainable=False, name="image_network") for v in variables]
