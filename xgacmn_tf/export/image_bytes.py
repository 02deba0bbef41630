"""Decoding of batches of JPEG and PNG files in a graph, naming the first bad file.

Files are decoded by `features.image_preprocessing`. Rejected, though extraction and search read
them through Pillow: other formats, CMYK JPEGs, and PNGs with a wrong checksum or without their end.
"""

from collections.abc import Callable

import tensorflow as tf

from xgacmn_tf.features.image_metadata import read_metadata
from xgacmn_tf.features.image_preprocessing import (
    StoredImage,
    decode,
    header_problem,
    smallest_jpeg,
)

_BROKEN = "broken or cut off; expected a whole JPEG or PNG file"


def for_each_image(
    image_bytes: tf.Tensor, function: Callable[[StoredImage], tf.Tensor], spec: tf.TensorSpec
) -> tf.Tensor:
    """Return a function of the image in each of (n,) files, (n, …) as specified by `spec`.

    Raises (when it runs):
      tf.errors.InvalidArgumentError: naming the first file that is broken or has a
        `header_problem`, which is checked before decoding.
    """
    count = tf.size(image_bytes, tf.int64)
    stand_in = smallest_jpeg()

    def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        data = image_bytes[index]
        problem = header_problem(data, stand_in)
        # Without a branch, which is slow in data sets.
        return index, problem, decode(tf.where(problem == "", data, stand_in))

    # A graph cannot catch errors. But a data set can leave out what fails, and the gap shows.
    files = tf.data.Dataset.range(count).map(read).ignore_errors()
    images = iter(files.with_options(_plain_options()))

    def step(index: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        next_image = images.get_next_as_optional()
        with tf.control_dependencies([_require(index, next_image.has_value(), _BROKEN)]):
            place, problem, pixels = next_image.get_value()
        problem = tf.where(place == index, problem, _BROKEN)
        with tf.control_dependencies([_require(index, problem == "", problem)]):
            image = StoredImage(tf.identity(pixels), read_metadata(image_bytes[index]))
        return index + 1, results.write(tf.cast(index, tf.int32), function(image))

    results = tf.TensorArray(spec.dtype, tf.size(image_bytes), element_shape=spec.shape)
    start = (tf.constant(0, tf.int64), results)
    _, results = tf.while_loop(lambda i, _: i < count, step, start, parallel_iterations=1)
    return results.stack()


def _require(index: tf.Tensor, fine: tf.Tensor, problem: tf.Tensor | str) -> tf.Operation:
    words = tf.strings.join(["image_bytes[", tf.strings.as_string(index), "]: ", problem])
    return tf.debugging.Assert(fine, [words])


def _plain_options() -> tf.data.Options:
    """Return options without optimizations that delay every request."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options
