"""Decoding files: the pixels that Pillow gives, and clear words for what is no good."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from tests.export.made_images import noise, saved
from xgacmn_tf.export.image_bytes import for_each_image
from xgacmn_tf.features.image_files import open_image
from xgacmn_tf.features.image_preprocessing import on_white

GREY, RGB, PALETTE, GREY_AND_OPACITY, RGB_AND_OPACITY = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_AND_OPACITY: 2, RGB_AND_OPACITY: 4}
# First row, first column, row step, column step of each pass of an interlaced PNG.
PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
PASSES.append((1, 0, 2, 1))


@pytest.fixture(scope="module")
def decoded():
    """Files (n,) → their pixels on white; all pictures of a call are equally large."""

    def function(files):
        def show(picture):
            return on_white(picture.pixels, picture.metadata.key)

        return for_each_image(files, show, tf.TensorSpec([None, None, 3], tf.uint8))

    return tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)])


@pytest.fixture
def pillows(tmp_path):
    """The pixels that the extractors see in this process."""

    def read(data):
        (tmp_path / "picture").write_bytes(data)
        return np.asarray(open_image(tmp_path / "picture"))

    return read


def chunk(name: bytes, content: bytes) -> bytes:
    checked = name + content
    return struct.pack(">L", len(content)) + checked + struct.pack(">L", zlib.crc32(checked))


def png(width, height, depth, kind, rows: bytes, *chunks: bytes, interlaced=0) -> bytes:
    header = struct.pack(">LLBBBBB", width, height, depth, kind, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows))]
    return b"".join([b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IEND", b"")])


def drawn(depth, kind, *chunks, width=13, height=5) -> bytes:
    """A PNG of random bits."""
    generator = np.random.default_rng(depth + 100 * kind)
    row_bytes = (width * depth * CHANNELS[kind] + 7) // 8
    rows = [b"\0" + generator.bytes(row_bytes) for _ in range(height)]  # 0: no filter
    if kind == PALETTE:
        chunks = (chunk(b"PLTE", generator.bytes(3 * 2**depth)), *chunks)
    return png(width, height, depth, kind, b"".join(rows), *chunks)


FORMS = [(depth, GREY) for depth in (1, 2, 4, 8, 16)]
FORMS += [(depth, PALETTE) for depth in (1, 2, 4, 8)]
FORMS += [(depth, kind) for depth in (8, 16) for kind in (RGB, GREY_AND_OPACITY, RGB_AND_OPACITY)]


@pytest.mark.parametrize("depth, kind", FORMS)
def test_every_form_of_png(decoded, pillows, depth, kind):
    data = drawn(depth, kind)
    np.testing.assert_array_equal(decoded([data])[0], pillows(data))


@pytest.mark.parametrize(
    "depth, key", [(1, 0), (1, 1), (2, 0), (2, 2), (4, 0), (4, 2), (8, 0), (8, 255), (16, 255)]
)
def test_greys_with_a_transparent_one(decoded, pillows, depth, key):
    data = drawn(depth, GREY, chunk(b"tRNS", struct.pack(">H", key)), width=200)
    np.testing.assert_array_equal(decoded([data])[0], pillows(data))


def test_a_transparent_colour(decoded):
    pixels = b"\0" + bytes([1, 2, 3, 1, 2, 4])
    data = png(2, 1, 8, RGB, pixels, chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)))
    assert decoded([data])[0].numpy().tolist() == [[[255, 255, 255], [1, 2, 4]]]


@pytest.mark.parametrize("opacity", [b"\0", b"\xff\x80", b"\x0f" * 16], ids=["1", "2", "all"])
def test_palettes_with_opacity(decoded, pillows, opacity):
    data = drawn(4, PALETTE, chunk(b"tRNS", opacity))
    np.testing.assert_array_equal(decoded([data])[0], pillows(data))


def test_opacity_by_hand(decoded):
    # 100 × 51/255 + 255 × 204/255 = 20 + 204, and black at 1/255 rounds to 254.
    data = png(2, 1, 8, GREY_AND_OPACITY, b"\0" + bytes([100, 51, 0, 1]))
    assert decoded([data])[0].numpy().tolist() == [[[224] * 3, [254] * 3]]


def test_interlaced_pngs(decoded):
    pixels = np.random.default_rng(0).integers(0, 256, (11, 9, 3)).astype(np.uint8)
    rows = [
        b"\0" + row.tobytes()
        for top, left, down, across in PASSES
        for row in pixels[top::down, left::across]
    ]
    data = png(9, 11, 8, RGB, b"".join(rows), interlaced=1)
    np.testing.assert_array_equal(decoded([data])[0], pixels)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 75},
        {"quality": 95, "subsampling": 0},
        {"quality": 60, "subsampling": 1, "progressive": True},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_to_the_bit(decoded, pillows, mode, options):
    data = saved(noise(101, 67, mode), "JPEG", **options)
    np.testing.assert_array_equal(decoded([data])[0], pillows(data))


def test_a_batch_keeps_its_order(decoded):
    greys = [png(1, 1, 8, GREY, bytes([0, grey])) for grey in range(40)]
    assert decoded(greys)[:, 0, 0, 0].numpy().tolist() == list(range(40))


def enlarged_jpeg(side: int) -> bytes:
    """A JPEG whose header claims another size."""
    data = bytearray(saved(noise(8, 8), "JPEG"))
    place = data.index(b"\xff\xc0") + 5  # after the marker, the length and the precision
    data[place : place + 4] = struct.pack(">HH", side, side)
    return bytes(data)


GOOD = drawn(8, RGB)
WHOLE = "broken or cut off; expected a whole JPEG or PNG file"
FORMAT = "not an image; expected a JPEG or PNG file"
LIMIT = "pixels; an image may have 89,478,485 at most"
BAD = {
    "empty": (b"", FORMAT),
    "text": (b"no picture", FORMAT),
    "gif": (saved(noise(4, 4, "L"), "GIF"), FORMAT),
    "bmp": (saved(noise(4, 4), "BMP"), FORMAT),
    "webp": (saved(noise(4, 4), "WEBP"), FORMAT),
    "png, signature only": (GOOD[:8], FORMAT),
    "png, header cut off": (GOOD[:20], WHOLE),
    "png, pixels cut off": (GOOD[:-20], WHOLE),
    "png, wrong checksum": (GOOD[:-20] + b"\0" * 8 + GOOD[-12:], WHOLE),
    "png, no pixels across": (png(0, 5, 8, RGB, b""), WHOLE),
    "jpeg, start only": (b"\xff\xd8\xff\xe0", WHOLE),
    "jpeg, pixels cut off": (saved(noise(40, 40), "JPEG")[:-100], WHOLE),
    "jpeg, cmyk": (saved(noise(4, 4, "CMYK"), "JPEG"), "a CMYK JPEG; expected one in RGB or gray"),
    # None has pixels: that the size is the complaint shows that the header was enough.
    "png, too large": (png(20_000, 5_000, 8, RGB, b""), f"20000 × 5000 {LIMIT}"),
    "png, largest": (png(2**31 - 1, 2**31 - 1, 8, RGB, b""), f"2147483647 × 2147483647 {LIMIT}"),
    "jpeg, too large": (enlarged_jpeg(65_500), f"65500 × 65500 {LIMIT}"),
}


@pytest.mark.parametrize("data, problem", BAD.values(), ids=list(BAD))
def test_bad_files_are_named(decoded, data, problem):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        decoded([GOOD, GOOD, data, b"bad as well"])
    assert f"[image_bytes[2]: {problem}]" in str(error.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_cut_off_anywhere(decoded, form):
    data = saved(noise(30, 20), form)
    for length in range(0, len(data), len(data) // 20):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[0\]: "):
            decoded([data[:length]])
