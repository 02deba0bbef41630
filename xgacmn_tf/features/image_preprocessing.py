"""Image preprocessing in TensorFlow: decoding, orientation, transparency, cropping and resizing.

Feature extraction, search and the exported graph all call these functions, so that a file has the
same features everywhere. The functions on tensors run inside a graph; `read`, `letterbox` and
`squeeze` call compiled ones from plain Python, in any thread.

The file is over 300 lines because all steps work on the same stored pixels in one graph. Resizing
is `keras.layers.Resizing` with antialiasing. It pads an image to a square before it
resizes and works on float32, so larger images are first reduced by averaging whole pixels.
"""

import functools
import io
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from xgacmn_tf.blocks import over_blocks
from xgacmn_tf.features.image_files import MAX_PIXELS
from xgacmn_tf.features.image_metadata import (
    JPEG,
    PNG,
    Metadata,
    number,
    read_metadata,
    starts_with,
)

# By EXIF's orientation, from 0 on, which is none. Rows and columns are swapped before mirroring.
_SWAPPED = (False, False, False, False, False, True, True, True, True)
_UPSIDE_DOWN = (False, False, False, True, True, False, False, True, True)
_LEFT_TO_RIGHT = (False, False, True, True, False, False, True, True, False)
# Pixels that are processed at once, which bounds memory beside the decoded image.
_BLOCK_PIXELS = 2**19
# A reduced image has at least this many times the side of the square. From 3 on, averaging first
# makes no visible difference, see `reducing_gap` of Pillow's `Image.resize`.
_REDUCING_GAP = 3


class StoredImage(NamedTuple):
    """An image as its file stores it.

    Attributes:
        pixels: (height, width, 1 to 4) uint8, gray or RGB, then opacity if the number is even.
        metadata: how to show them.
    """

    pixels: tf.Tensor
    metadata: Metadata


class _Box(NamedTuple):
    """A part of an image as stored, in int32 pixels."""

    top: tf.Tensor
    left: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor


def read(data: bytes) -> np.ndarray | None:
    """Decode a JPEG or PNG file to an upright RGB image on white.

    Args:
        data: the file's content.

    Returns:
        (height, width, 3) uint8; None if the file is of another format, in CMYK, too large or
        damaged.
    """
    try:
        problem, pixels = _compiled_read()(data)
    except tf.errors.InvalidArgumentError:
        return None
    return None if problem.numpy() else pixels.numpy()


def letterbox(image: Image.Image | np.ndarray, side: int, crop: bool = False) -> np.ndarray:
    """Fit an image into a white square, keeping its proportions.

    Args:
        image: of any mode, or (height, width, channels) uint8 with 1 to 4 channels: gray or RGB,
            with or without opacity. Transparent pixels show white.
        side: of the square, in pixels.
        crop: whether to crop white margins first.

    Returns:
        (side, side, 3) uint8 RGB. A smaller image is enlarged.
    """
    return _compiled(letterboxed, side, crop)(_pixels(image)).numpy()


def squeeze(image: Image.Image | np.ndarray, side: int) -> np.ndarray:
    """Resize an image to a (side, side, 3) uint8 square, whatever its proportions.

    Args:
        image, side: see `letterbox`.
    """
    return _compiled(squeezed, side)(_pixels(image)).numpy()


def header_problem(data: tf.Tensor, stand_in: bytes) -> tf.Tensor:
    """Describe why an image is rejected by its file's header; "" if it is not.

    Args:
        data: scalar string, the file's content.
        stand_in: any JPEG file, see `smallest_jpeg`.
    """
    is_jpeg, is_png = starts_with(data, JPEG), starts_with(data, PNG)
    jpeg_size = tf.io.extract_jpeg_shape(tf.where(is_jpeg, data, stand_in), tf.int64)
    png_size = tf.stack([number(data, 20, 4), number(data, 16, 4), 3])
    height, width, channels = tf.unstack(tf.where(is_jpeg, jpeg_size, png_size))
    too_large = tf.strings.join(
        [
            tf.strings.as_string(width),
            " × ",
            tf.strings.as_string(height),
            f" pixels; an image may have {MAX_PIXELS:,} at most",
        ]
    )
    problem = tf.where(width * height > MAX_PIXELS, too_large, "")
    problem = tf.where(channels == 4, "a CMYK JPEG; expected one in RGB or gray", problem)
    return tf.where(is_jpeg | is_png, problem, "not an image; expected a JPEG or PNG file")


def decode(data: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG or PNG file to pixels as of `StoredImage`; check `header_problem` before."""
    # `tf.io.decode_image` has no option for the accurate DCT, and its fast one is less exact. This
    # operation reads PNG files as well, with as many channels as the file has.
    return tf.io.decode_jpeg(data, fancy_upscaling=True, dct_method="INTEGER_ACCURATE")


def smallest_jpeg() -> bytes:
    """Return a JPEG file of one pixel, which is decoded in place of a rejected file."""
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "JPEG")
    return stream.getvalue()


def on_white(pixels: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Compose pixels on white: (height, width, 1 to 4) uint8 → (height, width, 3) uint8.

    Args:
        pixels: as in `StoredImage`.
        key: `Metadata.key`.
    """

    def composed() -> tf.Tensor:
        color, opacity = (tf.cast(p, tf.float32) for p in (pixels[..., :-1], pixels[..., -1:]))
        # Rounded: a cast cuts the fraction, and no sum of such products lies on half a step.
        return tf.cast(255.5 - (255 - color) * (opacity / 255), tf.uint8)

    height, width, channels = tf.unstack(tf.shape(pixels))
    opaque = tf.cond(channels % 2 == 0, composed, lambda: pixels)
    opaque = tf.broadcast_to(opaque, [height, width, 3])

    def without_key() -> tf.Tensor:
        transparent = tf.reduce_all(opaque == tf.cast(key, tf.uint8), axis=2, keepdims=True)
        return tf.where(transparent, tf.constant(255, tf.uint8), opaque)

    return tf.cond(key[0] >= 0, without_key, lambda: opaque)


def upright(image: StoredImage) -> tf.Tensor:
    """Turn a whole image upright, on white: (height, width, 3) uint8."""
    pixels, (orientation, key) = image
    height, width, channels = tf.unstack(tf.shape(pixels))

    def composed() -> tf.Tensor:
        def block(first: tf.Tensor, last: tf.Tensor) -> list[tf.Tensor]:
            return [on_white(pixels[first:last], key)]

        spec = tf.TensorSpec([None, None, 3], tf.uint8)
        return over_blocks(block, height, tf.maximum(_BLOCK_PIXELS // width, 1), [spec])[0]

    plain = (channels == 3) & (key[0] < 0)
    opaque = tf.cond(plain, lambda: pixels, composed)
    return _mirrored(_transposed(opaque, tf.gather(_SWAPPED, orientation)), orientation)


def letterboxed(image: StoredImage, side: int, crop: bool = False) -> tf.Tensor:
    """Fit an upright image into a white square: (side, side, 3) uint8; see `letterbox`."""
    box = _content_box(image) if crop else _whole(image)
    step = tf.maximum(tf.maximum(box.height, box.width) // (_REDUCING_GAP * side), 1)
    reduced = _reduced(image, box, tf.minimum(step, box.height), tf.minimum(step, box.width))
    padding = {"pad_to_aspect_ratio": True, "fill_mode": "constant", "fill_value": 255}
    return _resized(reduced, side, interpolation="bicubic", **padding)


def squeezed(image: StoredImage, side: int) -> tf.Tensor:
    """Resize an upright image to a square: (side, side, 3) uint8; see `squeeze`."""
    box = _whole(image)
    down, across = (tf.maximum(n // (_REDUCING_GAP * side), 1) for n in (box.height, box.width))
    return _resized(_reduced(image, box, down, across), side, interpolation="bilinear")


def _resized(pixels: tf.Tensor, side: int, **settings: object) -> tf.Tensor:
    # With its type and layout given, the layer does not depend on Keras's global settings.
    layer = keras.layers.Resizing(
        side, side, antialias=True, data_format="channels_last", dtype="float32", **settings
    )
    # Bicubic weights are partly negative, so values may leave the range of pixels.
    values = tf.clip_by_value(tf.round(layer(tf.cast(pixels, tf.float32))), 0.0, 255.0)
    return tf.ensure_shape(tf.cast(values, tf.uint8), [side, side, 3])


def _reduced(image: StoredImage, box: _Box, down: tf.Tensor, across: tf.Tensor) -> tf.Tensor:
    """Average blocks of `down` × `across` stored pixels of a part, and turn the result upright.

    Pixels that fill no block are cut evenly from both ends.

    Returns:
        (height, width, 3) uint8, on white.
    """
    pixels, (orientation, key) = image
    swapped, upside_down, left_to_right = (
        tf.gather(table, orientation) for table in (_SWAPPED, _UPSIDE_DOWN, _LEFT_TO_RIGHT)
    )
    rows, columns = box.height // down, box.width // across
    # If one pixel more is cut from one end, it is the same end of the upright image.
    odd_first = tf.cast(
        tf.where(swapped, [left_to_right, upside_down], [upside_down, left_to_right]), tf.int32
    )
    top = box.top + (box.height - rows * down + odd_first[0]) // 2
    left = box.left + (box.width - columns * across + odd_first[1]) // 2
    height, width = rows * down, columns * across

    def averages(stored: tf.Tensor, count: tf.Tensor, other_count: tf.Tensor) -> tf.Tensor:
        # Sums of integers are exact, in whatever order.
        opaque = on_white(stored, key)
        sums = tf.reshape(tf.cast(opaque, tf.int32), [count, down, -1])
        sums = tf.reshape(tf.reduce_sum(sums, axis=1), [count, other_count, across, 3])
        area = down * across
        return tf.cast((tf.reduce_sum(sums, axis=2) + area // 2) // area, tf.uint8)

    def rows_block(first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        part = pixels[top + first * down : top + last * down, left : left + width]
        return averages(part, last - first, columns)

    def columns_block(first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        part = pixels[top : top + height, left + first * across : left + last * across]
        return tf.transpose(averages(part, rows, last - first), [1, 0, 2])

    # Along the longer side, so that a block is small whatever the proportions.
    wide = box.width > box.height

    def block(first: tf.Tensor, last: tf.Tensor) -> list[tf.Tensor]:
        return [tf.cond(wide, lambda: columns_block(first, last), lambda: rows_block(first, last))]

    lines, line_pixels = tf.cond(
        wide, lambda: (columns, across * height), lambda: (rows, down * width)
    )
    at_once = tf.maximum(_BLOCK_PIXELS // line_pixels, 1)
    spec = tf.TensorSpec([None, None, 3], tf.uint8)

    def reduced() -> tf.Tensor:
        return _transposed(over_blocks(block, lines, at_once, [spec])[0], wide)

    def opaque() -> tf.Tensor:
        return on_white(pixels[top : top + height, left : left + width], key)

    done = tf.cond(down * across > 1, reduced, opaque)
    return _mirrored(_transposed(done, swapped), orientation)


def _transposed(pixels: tf.Tensor, swapped: tf.Tensor) -> tf.Tensor:
    return tf.cond(swapped, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)


def _mirrored(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    for axis, table in enumerate((_UPSIDE_DOWN, _LEFT_TO_RIGHT)):
        pixels = _reversed_if(tf.gather(table, orientation), pixels, axis)
    return pixels


def _reversed_if(mirrored: tf.Tensor, pixels: tf.Tensor, axis: int) -> tf.Tensor:
    return tf.cond(mirrored, lambda: tf.reverse(pixels, [axis]), lambda: pixels)


def _whole(image: StoredImage) -> _Box:
    height, width, _ = tf.unstack(tf.shape(image.pixels))
    return _Box(tf.constant(0), tf.constant(0), height, width)


def _content_box(image: StoredImage) -> _Box:
    """Find what holds all that is not white; the whole image if nothing is."""
    pixels, (_, key) = image
    height, width, _ = tf.unstack(tf.shape(pixels))

    def darkest(first: tf.Tensor, last: tf.Tensor) -> list[tf.Tensor]:
        block = on_white(pixels[first:last], key)
        by_column = tf.reduce_min(tf.reduce_min(block, axis=0), axis=1)
        return [tf.reduce_min(block, axis=[1, 2]), by_column[tf.newaxis]]

    specs = [tf.TensorSpec([None], tf.uint8), tf.TensorSpec([None, None], tf.uint8)]
    rows_at_once = tf.maximum(_BLOCK_PIXELS // width, 1)
    by_row, by_column = over_blocks(darkest, height, rows_at_once, specs)
    top, content_height = _span(by_row < 255)
    left, content_width = _span(tf.reduce_min(by_column, axis=0) < 255)
    return _Box(top, left, content_height, content_width)


def _span(inked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """From the first to the last True of (n,): int32 start and length. Without any, all n."""
    inked |= ~tf.reduce_any(inked)
    places = tf.cast(tf.where(inked)[:, 0], tf.int32)
    return places[0], places[-1] - places[0] + 1


@functools.cache
def _compiled(
    function: Callable[..., tf.Tensor], *arguments: int | bool
) -> Callable[..., tf.Tensor]:
    """`letterboxed` or `squeezed` on the pixels of an upright image."""

    def square(pixels: tf.Tensor) -> tf.Tensor:
        with tf.device("CPU:0"):
            metadata = Metadata(tf.constant(1), tf.constant([-1, -1, -1]))
            return function(StoredImage(pixels, metadata), *arguments)

    # Sizes are no part of the signature: one graph serves all images.
    spec = tf.TensorSpec([None, None, None], tf.uint8)
    return tf.function(square, input_signature=[spec], autograph=False)


@functools.cache
def _compiled_read() -> Callable[[bytes], tuple[tf.Tensor, tf.Tensor]]:
    stand_in = smallest_jpeg()

    def read_upright(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.device("CPU:0"):
            problem = header_problem(data, stand_in)
            pixels = decode(tf.where(problem == "", data, stand_in))
            return problem, upright(StoredImage(pixels, read_metadata(data)))

    spec = tf.TensorSpec([], tf.string)
    return tf.function(read_upright, input_signature=[spec], autograph=False)


def _pixels(image: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return image[..., np.newaxis] if image.ndim == 2 else image
