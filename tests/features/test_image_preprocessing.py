"""Image preprocessing: proportions, transparency, rounding, large and thin images, threads."""

import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter

from xgacmn_tf.features import image_preprocessing
from xgacmn_tf.features.image_metadata import Metadata
from xgacmn_tf.features.image_preprocessing import (
    StoredImage,
    letterbox,
    letterboxed,
    read,
    squeeze,
)


def blurred_noise(width: int, height: int) -> Image.Image:
    bands = [Image.effect_noise((width, height), 90) for _ in "RGB"]
    return Image.merge("RGB", bands).filter(ImageFilter.GaussianBlur(3))


def test_letterbox_is_white_around_the_image_and_behind_it():
    image = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (20, 0, 40, 20))  # Its right half is transparent (black).
    square = letterbox(image, 8)
    assert square.shape == (8, 8, 3) and square.dtype == np.uint8
    # 40 × 20 becomes 8 × 4, in rows 2 to 5; columns 0 to 3 are red.
    assert (square[[0, 7]] == 255).all()
    assert (square[3:5, 1] == [255, 0, 0]).all()
    assert (square[2:6, 6:8] == 255).all()


def test_hidden_colors_do_not_bleed_into_edges():
    pixels = np.zeros((90, 90, 4), np.uint8)
    pixels[:, :, 0] = 255  # Red that is hidden.
    pixels[20:70, 20:70] = [0, 0, 255, 255]
    square = letterbox(pixels, 30).astype(int)
    # On white, edges of a blue square lie between blue and white: as much red as green.
    assert np.abs(square[..., 0] - square[..., 1]).max() <= 1


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((6, 9), 100, np.uint8),
        np.full((6, 9, 1), 100, np.uint8),
        np.full((6, 9, 2), [100, 255], np.uint8),
        np.full((6, 9, 3), 100, np.uint8),
        np.full((6, 9, 4), [100, 100, 100, 255], np.uint8),
        Image.new("L", (9, 6), 100),
        Image.new("P", (9, 6), 0),
    ],
    ids=["gray", "1 channel", "gray and opacity", "RGB", "RGBA", "mode L", "mode P"],
)
def test_all_kinds_of_pixels(pixels):
    if isinstance(pixels, Image.Image) and pixels.mode == "P":
        pixels.putpalette([100, 100, 100])
    assert np.unique(squeeze(pixels, 5)).tolist() == [100]
    assert letterbox(pixels, 5)[2].tolist() == [[100] * 3] * 5


def test_bicubic_overshoot_is_clipped():
    pixels = np.full((4, 4, 3), 255, np.uint8)
    pixels[:, 2:] = 0
    row = letterbox(pixels, 40)[20, :, 0].astype(int)
    assert (row[:15] >= 250).all() and (row[25:] <= 5).all(), "a value that wrapped around"
    assert (np.diff(row) <= 0).all()


@pytest.mark.parametrize("size", [(300, 200), (90, 200), (3001, 2203), (20, 30)])
def test_pillow_resizes_nearly_alike(size):
    image = blurred_noise(*size)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR), float)
    assert np.abs(squeeze(image, 64) - expected).mean() < 1
    page = Image.new("RGB", (max(size),) * 2, "white")
    page.paste(image, ((max(size) - size[0]) // 2, (max(size) - size[1]) // 2))
    expected = np.asarray(page.resize((64, 64), Image.Resampling.BICUBIC), float)
    assert np.abs(letterbox(image, 64) - expected).mean() < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (1_000_000, 3)])
def test_thin_images_need_little_memory_and_time(size):
    image = Image.new("RGB", size, "black")
    start = time.monotonic()
    assert letterbox(image, 224, crop=True).shape == (224, 224, 3)
    assert (squeeze(image, 224) == 0).all()
    # Padded to a square before it is reduced, 60,000 pixels would need 10 GB.
    assert time.monotonic() - start < 20


def test_margins_are_cropped():
    image = Image.new("RGBA", (70, 50))
    image.paste((9, 9, 9, 255), (10, 20, 30, 40))
    assert (letterbox(image, 10, crop=True) == 9).all()
    blank = letterbox(Image.new("RGB", (70, 50), "white"), 10, crop=True)
    assert (blank == 255).all()


def test_one_graph_serves_all_sizes_and_threads():
    images = [blurred_noise(50 + 13 * n, 300 - 7 * n) for n in range(24)]
    alone = [letterbox(image, 96, crop=True) for image in images]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda image: letterbox(image, 96, crop=True), images))
    np.testing.assert_array_equal(together, alone)
    compiled = image_preprocessing._compiled(letterboxed, 96, True)
    assert compiled.experimental_get_tracing_count() == 1


def test_keras_settings_change_nothing():
    image = blurred_noise(100, 70)
    expected = letterbox(image, 48)
    metadata = Metadata(tf.constant(1), tf.constant([-1, -1, -1]))
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_image_data_format("channels_first")
    try:
        square = letterboxed(StoredImage(tf.constant(np.asarray(image)), metadata), 48)
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_array_equal(square, expected)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_read_leaves_other_and_damaged_files_alone(data):
    assert read(data) is None
