"""Pillow's resizing of 8-bit pictures, to the bit, in pure TensorFlow.

Pillow rounds its weights to whole multiples of 2⁻²², adds their products with whole numbers, and
rounds to 8 bits after either pass. Double precision holds all of these sums exactly, so that their
order does not matter. A pass that changes no size has weights of one and zero: none is skipped
here. Work goes in blocks, so that beside the picture itself memory is bounded.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from xgacmn_tf.evaluation.ranking import over_blocks

# Pillow's weights are whole multiples of one part in so many.
_PARTS = 2.0**22
# Pixels of a block; as doubles they take 24 times as many bytes.
_BLOCK_PIXELS = 2**19


class Filter(NamedTuple):
    """The weight by distance in pixels, and the distance from which on it is zero."""

    weight: Callable[[tf.Tensor], tf.Tensor]
    support: float


class Axis(NamedTuple):
    """The height or the width of a picture.

    Attributes:
      size: int32 pixels, at least 1.
      mirrored: bool, whether pixels are to be taken from the far end.
    """

    size: tf.Tensor
    mirrored: tf.Tensor


class Source(NamedTuple):
    """A picture to resize.

    Attributes:
      lines: `lines(downwards, first, last)` gives its columns, or else its rows, [first, last) as
        (last - first, pixels of each, 3) uint8, without mirroring.
      height, width: its size.
    """

    lines: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    height: Axis
    width: Axis


def _triangle(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1.0 - tf.abs(x), 0.0)


def _cubic(x: tf.Tensor) -> tf.Tensor:
    """Keys' cubic convolution with a = -1/2, computed in Pillow's order so that it rounds alike."""
    a = -0.5
    x = tf.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, 0.0))


BILINEAR = Filter(_triangle, 1.0)
BICUBIC = Filter(_cubic, 2.0)


def resize(source: Source, height: tf.Tensor, width: tf.Tensor, kind: Filter) -> tf.Tensor:
    """The picture as `Image.resize((width, height), kind)` makes it: (height, width, 3) uint8.

    Args:
      source: the picture.
      height, width: int32, at least 1.
      kind: `BILINEAR` or `BICUBIC`.
    """
    # The rule of Pillow 13. Before, the width nearly always came first.
    lost_rows, lost_columns = source.height.size - height, source.width.size - width
    height_first = (lost_rows > 0) & (lost_rows > 2 * lost_columns)
    downwards, across = (source.height, height), (source.width, width)
    (old, new), (other_old, other_new) = tf.cond(
        height_first, lambda: (downwards, across), lambda: (across, downwards)
    )

    def lines(first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        return source.lines(height_first, first, last)

    half_done = _resize_lines(lines, other_old.size, old, new, kind)

    def pixels_of_lines(first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        return tf.transpose(half_done[:, first:last], [1, 0, 2])

    done = _resize_lines(pixels_of_lines, new, other_old, other_new, kind)
    return tf.cond(height_first, lambda: done, lambda: tf.transpose(done, [1, 0, 2]))


def _resize_lines(
    lines: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    count: tf.Tensor,
    old: Axis,
    new: tf.Tensor,
    kind: Filter,
) -> tf.Tensor:
    """One pass: `count` lines of old.size pixels → (count, new, 3) uint8."""
    weights = _weights(old, new, kind)

    def block(first: tf.Tensor, last: tf.Tensor) -> list[tf.Tensor]:
        pixels = tf.transpose(lines(first, last), [1, 0, 2])
        pixels = tf.cast(tf.reshape(pixels, [old.size, -1]), tf.float64)
        sums = tf.sparse.sparse_dense_matmul(weights, pixels)
        rounded = tf.clip_by_value(tf.floor(sums / _PARTS + 0.5), 0.0, 255.0)
        shaped = tf.reshape(tf.cast(rounded, tf.uint8), [new, last - first, 3])
        return [tf.transpose(shaped, [1, 0, 2])]

    lines_at_once = tf.maximum(_BLOCK_PIXELS // old.size, 1)
    return over_blocks(block, count, lines_at_once, [tf.TensorSpec([None, None, 3], tf.uint8)])[0]


def _weights(old: Axis, new: tf.Tensor, kind: Filter) -> tf.SparseTensor:
    """(new, old.size) float64 whole numbers: what each new pixel takes of the old ones."""
    size = tf.cast(old.size, tf.float64)
    scale = size / tf.cast(new, tf.float64)
    # Where a picture shrinks, the filter widens, so that no old pixel is passed over.
    stretch = tf.maximum(scale, 1.0)
    centre = (tf.range(tf.cast(new, tf.float64), dtype=tf.float64)[:, tf.newaxis] + 0.5) * scale
    reach = kind.support * stretch
    first = tf.maximum(tf.floor(centre - reach + 0.5), 0.0)
    last = tf.minimum(tf.floor(centre + reach + 0.5), size)
    position = first + tf.range(tf.reduce_max(last - first), dtype=tf.float64)
    taken = position < last
    weight = tf.where(taken, kind.weight((position - centre + 0.5) * (1.0 / stretch)), 0.0)
    weight = weight / tf.reduce_sum(weight, axis=1, keepdims=True) * _PARTS
    whole = tf.sign(weight) * tf.floor(tf.abs(weight) + 0.5)
    position = tf.where(old.mirrored, size - 1.0 - position, position)
    places = tf.stack([tf.where(taken)[:, 0], tf.cast(position[taken], tf.int64)], axis=1)
    shape = tf.cast(tf.stack([new, old.size]), tf.int64)
    return tf.SparseTensor(places, whole[taken], shape)
