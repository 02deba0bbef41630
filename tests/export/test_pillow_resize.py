"""Resizing equals Pillow's to the bit; Pillow itself is the oracle."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from xgacmn_tf.export import pillow_resize
from xgacmn_tf.export.pillow_resize import BICUBIC, BILINEAR, Axis, Source, resize

KINDS = {
    "bicubic": (BICUBIC, Image.Resampling.BICUBIC),
    "bilinear": (BILINEAR, Image.Resampling.BILINEAR),
}
# Height and width before and after. The height comes first where it loses far more.
SIZES = [
    ((1, 1), (224, 224)),
    ((5000, 1), (224, 1)),
    ((1, 5000), (1, 224)),
    ((20_000, 2), (260, 1)),
    ((3, 2), (224, 149)),
    ((224, 224), (224, 224)),
    ((224, 300), (224, 61)),
    ((767, 405), (224, 118)),
    ((405, 767), (224, 224)),
    ((1058, 346), (224, 224)),
    ((113, 25), (7, 117)),
]


def compiled(kind):
    def function(pixels, height, width, upside_down, left_to_right):
        def lines(downwards, first, last):
            columns = tf.transpose(pixels, [1, 0, 2])[first:last]
            return tf.cond(downwards, lambda: columns, lambda: pixels[first:last])

        old_height, old_width, _ = tf.unstack(tf.shape(pixels))
        source = Source(lines, Axis(old_height, upside_down), Axis(old_width, left_to_right))
        return resize(source, height, width, KINDS[kind][0])

    size, flag = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.bool)
    pixels = tf.TensorSpec([None, None, 3], tf.uint8)
    return tf.function(function, input_signature=[pixels, size, size, flag, flag])


# Traced once: sizes are no part of the graph.
compiled_once = functools.cache(compiled)


def expected(pixels, size, kind):
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], KINDS[kind][1]))


def noise(seed, height, width):
    """Black and white, so that sums leave the range of 8 bits between both passes."""
    drawn = np.random.default_rng(seed).integers(0, 2, (height, width, 3))
    return (drawn * 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("old, new", SIZES)
def test_chosen_sizes(kind, old, new):
    pixels = noise(0, *old)
    resized = compiled_once(kind)(pixels, *new, False, False)
    np.testing.assert_array_equal(resized, expected(pixels, new, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_sizes(kind):
    generator = np.random.default_rng(1)
    for seed in range(40):
        old, new = generator.integers(1, 300, 2), generator.integers(1, 300, 2)
        pixels = noise(seed, *old)
        resized = compiled_once(kind)(pixels, *new, False, False)
        np.testing.assert_array_equal(resized, expected(pixels, new, kind), f"{old} to {new}")


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("left_to_right", [False, True])
def test_mirroring(upside_down, left_to_right):
    pixels = noise(2, 61, 47)
    resized = compiled_once("bicubic")(pixels, 20, 90, upside_down, left_to_right)
    mirrored = pixels[:: -1 if upside_down else 1, :: -1 if left_to_right else 1]
    np.testing.assert_array_equal(resized, expected(mirrored, (20, 90), "bicubic"))


def test_blocks_do_not_show(monkeypatch):
    monkeypatch.setattr(pillow_resize, "_BLOCK_PIXELS", 150)  # three rows, or one column
    pixels = noise(3, 101, 50)
    resized = compiled("bicubic")(pixels, 30, 20, False, False)
    np.testing.assert_array_equal(resized, expected(pixels, (30, 20), "bicubic"))
