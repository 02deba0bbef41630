"""Pictures as files store them → the squares that networks see, as extractors make them.

A picture is never turned or cut as a whole, which would copy it: rows and columns are taken in the
order that resizing wants them, and its weights are mirrored in place of pixels.
"""

from typing import NamedTuple

import tensorflow as tf

from xgacmn_tf.evaluation.ranking import over_blocks
from xgacmn_tf.export.picture_bytes import Picture, on_white
from xgacmn_tf.export.pillow_resize import BICUBIC, BILINEAR, Axis, Source, resize

# By EXIF's orientation, from 0 on, which is none. Rows and columns are swapped before mirroring.
_SWAPPED = (False, False, False, False, False, True, True, True, True)
_UPSIDE_DOWN = (False, False, False, True, True, False, False, True, True)
_LEFT_TO_RIGHT = (False, False, True, True, False, False, True, True, False)
# Pixels that are searched at once for white margins.
_BLOCK_PIXELS = 2**20


class _Box(NamedTuple):
    """A part of a picture as stored, int32."""

    top: tf.Tensor
    left: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor


def letterboxed(picture: Picture, side: int, cropped: bool = False) -> tf.Tensor:
    """`features.efficientnet_lite.letterbox` of the upright picture: (side, side, 3) uint8.

    Args:
      picture: as its file stores it.
      side: pixels, more than 0.
      cropped: whether `crop_to_content` comes first.
    """
    source = _upright(picture, _content_box(picture) if cropped else _whole(picture))
    old = tf.stack([source.height.size, source.width.size])
    scale = side / tf.cast(tf.reduce_max(old), tf.float64)
    size = tf.maximum(tf.cast(tf.round(tf.cast(old, tf.float64) * scale), tf.int32), 1)
    small = resize(source, size[0], size[1], BICUBIC)
    before = (side - size) // 2
    margins = tf.stack([before, side - size - before], axis=1)
    margins = tf.concat([margins, [[0, 0]]], axis=0)
    square = tf.pad(small, margins, constant_values=tf.constant(255, tf.uint8))
    return tf.ensure_shape(square, [side, side, 3])


def squeezed(picture: Picture, side: int) -> tf.Tensor:
    """`features.cnn.VGG19.prepare` of the upright picture: (side, side, 3) uint8."""
    new = tf.constant(side)
    square = resize(_upright(picture, _whole(picture)), new, new, BILINEAR)
    return tf.ensure_shape(square, [side, side, 3])


def _upright(picture: Picture, box: _Box) -> Source:
    """The part in `box`, opaque and turned upright."""
    pixels, (orientation, key) = picture
    top, left, height, width = box
    swapped = tf.gather(_SWAPPED, orientation)

    def lines(downwards: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        def columns() -> tf.Tensor:
            block = pixels[top : top + height, left + first : left + last]
            return tf.transpose(on_white(block, key), [1, 0, 2])

        def rows() -> tf.Tensor:
            return on_white(pixels[top + first : top + last, left : left + width], key)

        return tf.cond(downwards != swapped, columns, rows)

    return Source(
        lines,
        Axis(tf.where(swapped, width, height), tf.gather(_UPSIDE_DOWN, orientation)),
        Axis(tf.where(swapped, height, width), tf.gather(_LEFT_TO_RIGHT, orientation)),
    )


def _whole(picture: Picture) -> _Box:
    height, width, _ = tf.unstack(tf.shape(picture.pixels))
    return _Box(tf.constant(0), tf.constant(0), height, width)


def _content_box(picture: Picture) -> _Box:
    """What holds all that is not white; the whole picture if nothing is."""
    pixels, (_, key) = picture
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
