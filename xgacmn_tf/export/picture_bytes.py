"""JPEG and PNG files in strings → pixels, in pure TensorFlow, and clear words for bad ones.

Pixels are those of `features.pictures.open_picture` to the bit, where libjpeg is the same. Refused,
though Pillow reads them: other formats, CMYK JPEGs, and PNGs with a wrong checksum.
"""

from collections.abc import Callable

import tensorflow as tf

from xgacmn_tf.export.orientation import jpeg_orientation, png_orientation
from xgacmn_tf.features.pictures import MAX_PIXELS

_JPEG = b"\xff\xd8\xff"
# The signature, and the chunk with the size, which must come first: 13 bytes long.
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
UNREADABLE = "broken or cut off; expected a whole JPEG or PNG file"


def checked(image_bytes: tf.Tensor) -> tf.Tensor:
    """The same (n,) string, once every header says JPEG or PNG and an allowed size.

    Nothing is decoded to learn that. Else `tf.errors.InvalidArgumentError` says which item is the
    first bad one, and what was expected.
    """
    sizes = for_each(_size, image_bytes, tf.TensorSpec([3], tf.int64), UNREADABLE)
    width, height, channels = tf.unstack(sizes, axis=1)
    pixels = tf.strings.join([tf.strings.as_string(width), " × ", tf.strings.as_string(height)])
    too_many = tf.strings.join([pixels, f" pixels; a picture may have {MAX_PIXELS:,} at most"])
    problem = tf.where(width * height > MAX_PIXELS, too_many, "")
    problem = tf.where(channels == 4, "a CMYK JPEG; expected one in RGB or grey", problem)
    problem = tf.where(channels == 0, "no picture; expected a JPEG or PNG file", problem)
    bad = tf.where(problem != "")[:, 0]
    words = tf.strings.join([_name(bad), ": ", tf.gather(problem, bad)])
    fine = tf.debugging.Assert(tf.size(bad) == 0, [tf.strings.reduce_join(words[:1])])
    with tf.control_dependencies([fine]):
        return tf.identity(image_bytes)


def decode(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A checked file → its pixels, (height, width, 3 or 4) uint8, and its int32 orientation.

    Pixels lie as they are stored, with opacity in the fourth channel; `orientation` has the code.
    """
    return tf.cond(_starts(data, _PNG), lambda: _decode_png(data), lambda: _decode_jpeg(data))


def on_white(pixels: tf.Tensor) -> tf.Tensor:
    """(height, width, 3 or 4) → (height, width, 3) uint8, rounded to the nearest."""

    def compose():
        wide = tf.cast(pixels, tf.int32)
        colour, opacity = wide[..., :3], wide[..., 3:]
        sums = colour * opacity + 255 * (255 - opacity)
        return tf.cast((sums + 127) // 255, tf.uint8)

    return tf.cond(tf.shape(pixels)[2] == 4, compose, lambda: pixels)


def for_each(
    function: Callable[[tf.Tensor], tf.Tensor],
    items: tf.Tensor,
    spec: tf.TensorSpec,
    problem: str,
) -> tf.Tensor:
    """`function` of each item of (n,) `items`, one after another: (n, …) of `spec`.

    Unlike `tf.map_fn`, it says which item it was where an operation fails.

    Raises (when it runs):
      tf.errors.InvalidArgumentError: naming the first item that failed, with `problem`.
    """
    count = tf.size(items, tf.int64)
    numbered = tf.data.Dataset.range(count).map(lambda i: (i, function(items[i])))
    done = numbered.ignore_errors().batch(tf.maximum(count, 1)).with_options(_plain_options())
    nothing = (tf.zeros([0], tf.int64), tf.zeros([0, *spec.shape], spec.dtype))
    numbers, outputs = done.reduce(nothing, lambda _, batch: batch)
    succeeded = tf.size(numbers, tf.int64)
    in_place = tf.cast(numbers == tf.range(succeeded), tf.int64)
    first_failed = tf.reduce_sum(tf.math.cumprod(in_place))
    words = tf.strings.join([_name(first_failed), ": ", problem])
    with tf.control_dependencies([tf.debugging.Assert(succeeded == count, [words])]):
        return tf.ensure_shape(outputs, [None, *spec.shape])


def _plain_options() -> tf.data.Options:
    """Without the machinery that long pipelines want and one request would wait for."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _name(index: tf.Tensor) -> tf.Tensor:
    return tf.strings.join(["image_bytes[", tf.strings.as_string(index), "]"])


def _starts(data: tf.Tensor, label: bytes) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(label)) == label


def _size(data: tf.Tensor) -> tf.Tensor:
    """(3,) int64 width, height and channels as the header has them; zeros for other files."""

    def jpeg():
        height, width, channels = tf.unstack(tf.io.extract_jpeg_shape(data, tf.int64))
        return tf.stack([width, height, channels])

    def png():
        size = tf.strings.substr(data, 16, 8)
        size = tf.io.decode_raw(size, tf.int32, little_endian=False, fixed_length=8)
        width, height = tf.unstack(tf.cast(size, tf.int64))
        return tf.stack([width, height, 3])

    nothing = tf.zeros([3], tf.int64)
    return tf.case([(_starts(data, _JPEG), jpeg), (_starts(data, _PNG), png)], lambda: nothing)


def _decode_jpeg(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    pixels = tf.io.decode_jpeg(data, 3, fancy_upscaling=True, dct_method="INTEGER_ACCURATE")
    return pixels, jpeg_orientation(data)


def _decode_png(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    header = tf.io.decode_raw(tf.strings.substr(data, 24, 2), tf.uint8, fixed_length=2)
    depth, kind = tf.unstack(header)
    grey, palette, plain = kind == 0, kind == 3, (kind == 0) | (kind == 2)
    # With four channels, TensorFlow makes palettes nearly transparent, and Pillow does not see a
    # colour that stands for transparency in 16 bits.
    channels = tf.where(palette, 0, tf.where(plain & (depth == 16), 1, 2))
    pixels = tf.switch_case(
        channels, [lambda count=count: tf.io.decode_png(data, count) for count in (0, 3, 4)]
    )

    def with_opacity_mended():
        # In greys of less than 8 bits TensorFlow takes 1, 3 or 15 for opaque, and Pillow sees a
        # colour that stands for transparency in 1 bit, but if it is black in 2 and 4 bits.
        seen = (depth == 1) | (pixels[..., :1] == 0)
        opacity = tf.where((pixels[..., 3:] == 0) & seen, 0, 255)
        return tf.concat([pixels[..., :3], tf.cast(opacity, tf.uint8)], axis=2)

    pixels = tf.cond(grey & (depth < 8), with_opacity_mended, lambda: pixels)
    return pixels, png_orientation(data)
