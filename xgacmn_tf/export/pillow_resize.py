"""Pillow's resizing of 8-bit pictures, to the bit, in pure TensorFlow.

Pillow rounds its weights to whole multiples of 2⁻²², adds their products with whole numbers, and
rounds to 8 bits after either pass. Double precision holds all of these sums exactly, so that their
order does not matter. A pass that changes no size has weights of one and zero: none is skipped
here. Work goes in blocks, so that beside the picture itself memory is bounded.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from xgacmn_tf.ranking import over_blocks

# Pillow's weights are whole multiples of one part in so many.
_PARTS = 2.0**22
# Pixels of a block; as doubles they take 24 times as many bytes.
_BLOCK_PIXELS = 2**19


class Filter(NamedTuple):
    """The weight by distance in pixels, and the distance from which on it is zero."""

    weight: Callable[[tf.Tensor], tf.Tensor]
    support: float


class Axis(NamedTuple):
    """What becomes of the width, or of the height.

    Attributes:
      old: int32 pixels before, at least 1.
      new: int32 pixels after, at least 1.
      mirrored: bool, whether the picture is turned round along it first.
    """

    old: tf.Tensor
    new: tf.Tensor
    mirrored: tf.Tensor


# (downwards, first, last): the columns, or else the rows, [first, last) of a picture before it is
# mirrored, as (last - first, pixels of each, 3) uint8.
Lines = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def _triangle(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1.0 - tf.abs(x), 0.0)


def _cubic(x: tf.Tensor) -> tf.Tensor:
    """Keys' cubic convolution with a = -1/2; rounding depends on the order, which is Pillow's."""
    a = -0.5
    x = tf.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, 0.0))


BILINEAR = Filter(_triangle, 1.0)
BICUBIC = Filter(_cubic, 2.0)


def resize(lines: Lines, height: Axis, width: Axis, kind: Filter) -> tf.Tensor:
    """The picture as `Image.resize((width.new, height.new), kind)` would make it.

    Returns:
      (height.new, width.new, 3) uint8.
    """
    # The rule of Pillow 13; before, the width nearly always came first.
    lost_rows, lost_columns = height.old - height.new, width.old - width.new
    height_first = (lost_rows > 0) & (lost_rows > 2 * lost_columns)
    first, second = tf.cond(height_first, lambda: (height, width), lambda: (width, height))
    half_done = _resize_lines(
        lambda begin, end: lines(height_first, begin, end), second.old, first, kind
    )
    # What were lines' pixels are lines now.
    resized = _resize_lines(
        lambda begin, end: tf.transpose(half_done[:, begin:end], [1, 0, 2]), first.new, second, kind
    )
    return tf.cond(height_first, lambda: resized, lambda: tf.transpose(resized, [1, 0, 2]))


def _resize_lines(
    lines: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], count: tf.Tensor, axis: Axis, kind: Filter
) -> tf.Tensor:
    """One pass: `count` lines of axis.old pixels → (count, axis.new, 3) uint8."""
    weights = _weights(axis, kind)

    def block(first, last):
        pixels = tf.transpose(lines(first, last), [1, 0, 2])
        pixels = tf.cast(tf.reshape(pixels, [axis.old, -1]), tf.float64)
        sums = tf.sparse.sparse_dense_matmul(weights, pixels)
        rounded = tf.clip_by_value(tf.floor(sums / _PARTS + 0.5), 0.0, 255.0)
        shaped = tf.reshape(tf.cast(rounded, tf.uint8), [axis.new, last - first, 3])
        return [tf.transpose(shaped, [1, 0, 2])]

    lines_at_once = tf.maximum(_BLOCK_PIXELS // axis.old, 1)
    return over_blocks(block, count, lines_at_once, [tf.TensorSpec([None, None, 3], tf.uint8)])[0]


def _weights(axis: Axis, kind: Filter) -> tf.SparseTensor:
    """(axis.new, axis.old) float64 whole numbers: what each new pixel takes of the old ones."""
    old = tf.cast(axis.old, tf.float64)
    new = tf.range(tf.cast(axis.new, tf.float64), dtype=tf.float64)[:, tf.newaxis]
    scale = old / tf.cast(axis.new, tf.float64)
    # Where a picture shrinks, the filter widens, so that no old pixel is passed over.
    stretch = tf.maximum(scale, 1.0)
    centre, reach = (new + 0.5) * scale, kind.support * stretch
    first = tf.maximum(tf.floor(centre - reach + 0.5), 0.0)
    last = tf.minimum(tf.floor(centre + reach + 0.5), old)
    position = first + tf.range(tf.reduce_max(last - first), dtype=tf.float64)
    taken = position < last
    weight = tf.where(taken, kind.weight((position - centre + 0.5) * (1.0 / stretch)), 0.0)
    weight = weight / tf.reduce_sum(weight, axis=1, keepdims=True) * _PARTS
    whole = tf.sign(weight) * tf.floor(tf.abs(weight) + 0.5)
    position = tf.where(axis.mirrored, old - 1.0 - position, position)
    places = tf.stack([tf.where(taken)[:, 0], tf.cast(position[taken], tf.int64)], axis=1)
    shape = tf.cast(tf.stack([axis.new, axis.old]), tf.int64)
    return tf.SparseTensor(places, whole[taken], shape)
