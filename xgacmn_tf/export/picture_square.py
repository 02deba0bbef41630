"""Decoded pictures → the squares that networks see, as the extractors make them with Pillow.

A picture is never turned or cut as a whole, which would copy it: rows and columns are taken in the
order that resizing wants them, and weights are mirrored in place of pixels.
"""

from collections.abc import Callable

import tensorflow as tf

from xgacmn_tf.export.picture_bytes import on_white
from xgacmn_tf.export.pillow_resize import BICUBIC, BILINEAR, Axis, Lines, resize
from xgacmn_tf.ranking import over_blocks

# By orientation, from 0 (which is none) to 8. Swapping rows and columns comes before mirroring.
_SWAPPED = (False, False, False, False, False, True, True, True, True)
_MIRRORED_ACROSS = (False, False, True, True, False, False, True, True, False)
_MIRRORED_DOWN = (False, False, False, True, True, False, False, True, True)
# Pixels that are searched at once for white margins.
_BLOCK_PIXELS = 2**20

# top, left, height and width.
_Box = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


def letterboxed(
    pixels: tf.Tensor, orientation: tf.Tensor, side: int, cropped: bool = False
) -> tf.Tensor:
    """`features.efficientnet_lite.letterbox` of the upright picture on white.

    Args:
      pixels: (height, width, 3 or 4) uint8 as stored, with opacity in the fourth channel.
      orientation: int32, 1 to 8 as EXIF counts.
      side: of the square.
      cropped: whether `crop_to_content` comes first.

    Returns:
      (side, side, 3) uint8.
    """
    box = _content_box(pixels) if cropped else _whole(pixels)
    lines, height, width = _upright(pixels, orientation, box)
    scale = side / tf.cast(tf.maximum(height, width), tf.float64)

    def scaled(old):
        new = tf.round(tf.cast(old, tf.float64) * scale)
        return tf.maximum(tf.cast(new, tf.int32), 1)

    small = _resize(lines, orientation, height, width, scaled(height), scaled(width), BICUBIC)
    missing = side - tf.shape(small)[:2]
    before = missing // 2
    margins = tf.concat([tf.stack([before, missing - before], axis=1), [[0, 0]]], axis=0)
    square = tf.pad(small, margins, constant_values=tf.constant(255, tf.uint8))
    return tf.ensure_shape(square, [side, side, 3])


def squeezed(pixels: tf.Tensor, orientation: tf.Tensor, side: int) -> tf.Tensor:
    """`features.cnn.VGG19.prepare` of the upright picture on white; see `letterboxed`."""
    lines, height, width = _upright(pixels, orientation, _whole(pixels))
    new = tf.constant(side)
    square = _resize(lines, orientation, height, width, new, new, BILINEAR)
    return tf.ensure_shape(square, [side, side, 3])


def _resize(lines, orientation, height, width, new_height, new_width, kind) -> tf.Tensor:
    down = Axis(height, new_height, tf.gather(_MIRRORED_DOWN, orientation))
    across = Axis(width, new_width, tf.gather(_MIRRORED_ACROSS, orientation))
    return resize(lines, down, across, kind)


def _upright(
    pixels: tf.Tensor, orientation: tf.Tensor, box: _Box
) -> tuple[Lines, tf.Tensor, tf.Tensor]:
    """The lines of the part in `box` after rows and columns were swapped; its height and width."""
    top, left, height, width = box
    swapped = tf.gather(_SWAPPED, orientation)

    def lines(downwards, first, last):
        def columns():
            block = pixels[top : top + height, left + first : left + last]
            return tf.transpose(on_white(block), [1, 0, 2])

        def rows():
            return on_white(pixels[top + first : top + last, left : left + width])

        return tf.cond(downwards != swapped, columns, rows)

    return lines, tf.where(swapped, width, height), tf.where(swapped, height, width)


def _whole(pixels: tf.Tensor) -> _Box:
    height, width, _ = tf.unstack(tf.shape(pixels))
    return tf.constant(0), tf.constant(0), height, width


def _content_box(pixels: tf.Tensor) -> _Box:
    """What holds all that is not white; the whole picture if nothing is."""
    height, width, _ = tf.unstack(tf.shape(pixels))

    def darkest(first, last):
        block = on_white(pixels[first:last])
        by_column = tf.reduce_min(tf.reduce_min(block, axis=0), axis=1)
        return [tf.reduce_min(block, axis=[1, 2]), by_column[tf.newaxis]]

    specs = [tf.TensorSpec([None], tf.uint8), tf.TensorSpec([None, None], tf.uint8)]
    rows_at_once = tf.maximum(_BLOCK_PIXELS // width, 1)
    by_row, by_column = over_blocks(darkest, height, rows_at_once, specs)
    top, content_height = _span(by_row < 255)
    left, content_width = _span(tf.reduce_min(by_column, axis=0) < 255)
    return top, left, content_height, content_width


def _span(inked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the first and last True of (n,) lie: start and length. Without any, all n."""
    places = tf.where(inked)[:, 0]
    places = tf.cond(tf.size(places) > 0, lambda: places, lambda: tf.where(~inked)[:, 0])
    first, last = tf.cast(places[0], tf.int32), tf.cast(places[-1], tf.int32)
    return first, last - first + 1
