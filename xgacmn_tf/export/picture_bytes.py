"""JPEG and PNG files in strings → pixels, in pure TensorFlow, and clear words for bad ones.

Pixels are those of `features.pictures.open_picture`. Refused, though Pillow reads them: other
formats, CMYK JPEGs, and PNGs with a wrong checksum or without their end.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from PIL import Image

from xgacmn_tf.export.picture_metadata import (
    JPEG,
    PNG,
    Metadata,
    number,
    read_metadata,
    starts_with,
)
from xgacmn_tf.features.pictures import MAX_PIXELS

_BROKEN = "broken or cut off; expected a whole JPEG or PNG file"


class Picture(NamedTuple):
    """A picture as its file stores it.

    Attributes:
      pixels: (height, width, 1 to 4) uint8, grey or RGB, then opacity if the number is even.
      metadata: how to show them.
    """

    pixels: tf.Tensor
    metadata: Metadata


def for_each_picture(
    image_bytes: tf.Tensor, function: Callable[[Picture], tf.Tensor], spec: tf.TensorSpec
) -> tf.Tensor:
    """`function` of the picture in each of (n,) files, one after another: (n, …) as `spec` says.

    Raises (when it runs):
      tf.errors.InvalidArgumentError: naming the first file that is no JPEG or PNG, is broken, is in
        CMYK, or has more than `MAX_PIXELS`, which its header tells before anything is decoded.
    """
    count = tf.size(image_bytes, tf.int64)
    stand_in = _smallest_jpeg()

    def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        data = image_bytes[index]
        problem = _problem(data, stand_in)
        # Without a branch, which is slow in data sets.
        return index, problem, _decode(tf.where(problem == "", data, stand_in))

    # A graph cannot catch errors. But a data set can leave out what fails, and the gap shows.
    files = tf.data.Dataset.range(count).map(read).ignore_errors()
    pictures = iter(files.with_options(_plain_options()))

    def step(index: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        next_picture = pictures.get_next_as_optional()
        with tf.control_dependencies([_require(index, next_picture.has_value(), _BROKEN)]):
            found, problem, pixels = next_picture.get_value()
        problem = tf.where(found == index, problem, _BROKEN)
        with tf.control_dependencies([_require(index, problem == "", problem)]):
            picture = Picture(tf.identity(pixels), read_metadata(image_bytes[index]))
        return index + 1, results.write(tf.cast(index, tf.int32), function(picture))

    results = tf.TensorArray(spec.dtype, tf.size(image_bytes), element_shape=spec.shape)
    start = (tf.constant(0, tf.int64), results)
    _, results = tf.while_loop(lambda i, _: i < count, step, start, parallel_iterations=1)
    return results.stack()


def on_white(pixels: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """The opaque picture: (height, width, 1 to 4) uint8 → (height, width, 3) uint8.

    Args:
      pixels: as in `Picture`.
      key: `Metadata.key`.
    """

    def composed() -> tf.Tensor:
        wide = tf.cast(pixels, tf.int32)
        colour, opacity = wide[..., :-1], wide[..., -1:]
        sums = colour * opacity + 255 * (255 - opacity)
        return tf.cast((sums + 127) // 255, tf.uint8)

    height, width, channels = tf.unstack(tf.shape(pixels))
    opaque = tf.cond(channels % 2 == 0, composed, lambda: pixels)
    opaque = tf.broadcast_to(opaque, [height, width, 3])

    def without_key() -> tf.Tensor:
        transparent = tf.reduce_all(opaque == tf.cast(key, tf.uint8), axis=2, keepdims=True)
        return tf.where(transparent, tf.constant(255, tf.uint8), opaque)

    return tf.cond(key[0] >= 0, without_key, lambda: opaque)


def _decode(data: tf.Tensor) -> tf.Tensor:
    # The operation reads PNGs as well, and leaves it to the file how many channels there are.
    return tf.io.decode_jpeg(data, fancy_upscaling=True, dct_method="INTEGER_ACCURATE")


def _problem(data: tf.Tensor, stand_in: bytes) -> tf.Tensor:
    """What is wrong by a file's header, in words; "" if nothing is."""
    is_jpeg, is_png = starts_with(data, JPEG), starts_with(data, PNG)
    jpeg_size = tf.io.extract_jpeg_shape(tf.where(is_jpeg, data, stand_in), tf.int64)
    png_size = tf.stack([number(data, 20, 4), number(data, 16, 4), 3])
    height, width, channels = tf.unstack(tf.where(is_jpeg, jpeg_size, png_size))
    too_large = tf.strings.join(
        [
            tf.strings.as_string(width),
            " × ",
            tf.strings.as_string(height),
            f" pixels; a picture may have {MAX_PIXELS:,} at most",
        ]
    )
    problem = tf.where(width * height > MAX_PIXELS, too_large, "")
    problem = tf.where(channels == 4, "a CMYK JPEG; expected one in RGB or grey", problem)
    return tf.where(is_jpeg | is_png, problem, "no picture; expected a JPEG or PNG file")


def _require(index: tf.Tensor, fine: tf.Tensor, problem: tf.Tensor | str) -> tf.Operation:
    words = tf.strings.join(["image_bytes[", tf.strings.as_string(index), "]: ", problem])
    return tf.debugging.Assert(fine, [words])


def _plain_options() -> tf.data.Options:
    """Without what makes long pipelines faster, and every request wait."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _smallest_jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "JPEG")
    return stream.getvalue()
