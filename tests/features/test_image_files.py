"""Reading picture files: what they become, and what is refused."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.features.image_files import BadImageError, open_image, thumbnail


def test_transparency_shows_white(tmp_path):
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    picture.save(tmp_path / "a.png")
    opened = open_image(tmp_path / "a.png")
    assert opened.mode == "RGB"
    assert np.asarray(opened).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_a_palette_with_a_transparent_colour(tmp_path):
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([0, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "a.gif", transparency=0)
    assert np.asarray(open_image(tmp_path / "a.gif")).tolist() == [[[255] * 3, [0, 0, 255]]]


def test_photographs_are_turned_upright(tmp_path):
    picture = Image.new("RGB", (40, 20), "red")
    exif = picture.getexif()
    exif[0x0112] = 6  # "rotate by 90° to see it as it was taken"
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (20, 40)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_tensorflow_decodes_jpeg_and_png_files(tmp_path, monkeypatch, form):
    picture = Image.effect_noise((30, 20), 90).convert("RGB")
    picture.save(tmp_path / "a", form)
    expected = np.asarray(Image.open(tmp_path / "a"))
    monkeypatch.setattr(Image.Image, "convert", None)  # which all that Pillow decodes goes through
    np.testing.assert_array_equal(open_image(tmp_path / "a"), expected)


def test_pillow_decodes_what_tensorflow_does_not(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    Image.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "without_end.png").write_bytes(whole[:-12])
    red = np.asarray(open_image(tmp_path / "cmyk.jpg"))
    assert (red[..., 0] > 240).all() and (red[..., 1:] < 15).all()
    assert np.unique(np.asarray(open_image(tmp_path / "without_end.png"))).tolist() == [7, 8, 9]


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    # 0x8000 of 0xffff is half way: 128 of 255. Cut to eight bits it would be white.
    Image.fromarray(np.full((2, 2), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert np.unique(np.asarray(open_image(tmp_path / "a.png"))).tolist() == [128]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 128.0, 254.6]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 32896.0, 65535.0]], np.float32), [0, 128, 255]),
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[0, 32896, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 1, 1]], np.int32), [0, 255, 255]),
        (np.array([[0, 0x8000, 0xFFFF]], np.uint16), [0, 128, 255]),
        (np.array([[0, 0x8000, 0xFFFF]], ">u2"), [0, 128, 255]),
    ],
)
def test_grays_of_more_than_eight_bits_are_scaled_by_their_range(tmp_path, values, expected):
    Image.fromarray(values).save(tmp_path / "a.tif")
    opened = open_image(tmp_path / "a.tif")
    assert opened.mode == "RGB"
    assert np.asarray(opened)[0, :, 0].tolist() == expected


def test_dark_grays_of_a_known_depth_stay_dark(tmp_path):
    values = np.full((2, 2), 2, ">u2").tobytes()
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 1000\n" + values)
    assert np.unique(np.asarray(open_image(tmp_path / "a.pgm"))).tolist() == [1]


@pytest.mark.parametrize(
    ("value", "dtype"), [(-1, np.float32), (70000, np.int32), (np.nan, np.float32)]
)
def test_grays_of_an_unknown_range_are_rejected(tmp_path, value, dtype):
    Image.fromarray(np.array([[0, value]], dtype)).save(tmp_path / "a.tif")
    mode = "F" if dtype == np.float32 else "I"
    with pytest.raises(BadImageError, match=rf"a\.tif: gray values .* \(mode {mode}\)"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "LA"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / "a.tiff"
    Image.new("RGB", (3, 3), "white").convert(mode).save(path)
    opened = open_image(path)
    assert opened.mode == "RGB" and np.asarray(opened).min() >= 254


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", jpeg()[:400], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    ids=["empty", "text", "truncated", "eps"],
)
def test_broken_files_are_named(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadImageError, match=r"a\.jpg: cannot be read as an image"):
        open_image(tmp_path / "a.jpg")


def test_a_missing_file(tmp_path):
    with pytest.raises(BadImageError, match=r"a\.jpg: there is no such file"):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("where", ["a pipe", "/dev/zero", "a folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path, where):
    path = tmp_path / "a.jpg"
    if where == "a pipe":
        os.mkfifo(path)
    elif where == "a folder":
        path.mkdir()
    else:
        path.symlink_to(where)
    with pytest.raises(BadImageError, match=r"a\.jpg: not a regular file"):
        open_image(path)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 5_000)).save(path)  # 100 million pixels in some 12 kB
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(Image.Image, "convert", None)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(BadImageError, match="20000 × 5000 pixels; an image may have 89,478,485"),
    ):
        open_image(path)


def test_thumbnails_keep_proportions():
    small = Image.open(io.BytesIO(thumbnail(Image.new("RGB", (400, 200), "red"))))
    assert (small.format, small.size) == ("WEBP", (144, 72))
    tiny = Image.open(io.BytesIO(thumbnail(Image.new("RGB", (10, 5), "red"))))
    assert tiny.size == (10, 5), "nothing is enlarged"
