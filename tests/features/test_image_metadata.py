"""What files say about showing their pixels: orientation in EXIF and XMP."""

import io
import struct
import time
import zlib

import pytest
import tensorflow as tf
from PIL import Image

from xgacmn_tf.features.image_metadata import read_metadata

SHORT, LONG, ASCII = 3, 4, 2
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.fixture(scope="module")
def orientation():
    def function(data):
        return read_metadata(data).orientation

    return tf.function(function, input_signature=[tf.TensorSpec([], tf.string)])


def tiff(*entries, order="<", directory=8, count=None) -> bytes:
    """EXIF's directory of (tag, type, count, value) entries."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    parts = [magic, struct.pack(f"{order}L", directory), bytes(max(0, directory - 8))]
    parts.append(struct.pack(f"{order}H", len(entries) if count is None else count))
    for tag, kind, number, value in entries:
        packed = struct.pack(f"{order}HH", value, 0) if kind == SHORT else b""
        packed = packed or struct.pack(f"{order}L", value)
        parts.append(struct.pack(f"{order}HHL", tag, kind, number) + packed)
    return b"".join([*parts, bytes(4)])


def turned(value, kind=SHORT, **others) -> bytes:
    make, software = (0x010F, ASCII, 4, 0), (0x0131, ASCII, 4, 0)
    return tiff(make, (0x0112, kind, 1, value), software, **others)


def jpeg(*sections: bytes) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (2, 2)).save(stream, "JPEG")
    return stream.getvalue()[:2] + b"".join(sections) + stream.getvalue()[2:]


def app1(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def exif(content: bytes) -> bytes:
    return app1(b"Exif\0\0" + content)


def xmp(content: bytes) -> bytes:
    return app1(b"http://ns.adobe.com/xap/1.0/\0" + content)


def png(*chunks: bytes, at_end: bool = False) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (2, 2)).save(stream, "PNG")
    data = stream.getvalue()
    place = len(data) - 12 if at_end else 33
    return data[:place] + b"".join(chunks) + data[place:]


def chunk(name: bytes, content: bytes) -> bytes:
    checked = name + content
    return struct.pack(">L", len(content)) + checked + struct.pack(">L", zlib.crc32(checked))


def pillows(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture.getexif().get(0x0112, 1)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", range(1, 9))
def test_all_orientations_in_both_byte_orders(orientation, value, order):
    assert orientation(jpeg(exif(turned(value, order=order)))) == value
    assert orientation(png(chunk(b"eXIf", turned(value, order=order)))) == value


PLACES = {
    "long": (jpeg(exif(turned(5, LONG, order=">"))), 5),
    "directory further on": (jpeg(exif(turned(7, directory=26))), 7),
    "in two sections": (jpeg(exif(turned(8)[:20]), exif(turned(8)[20:])), 8),
    "after other sections": (jpeg(app1(b"other"), b"\xff\xff", exif(turned(3))), 3),
    "after stray bytes": (jpeg(app1(b"other"), b"\0\x12", exif(turned(3))), 3),
    "JPEG, XMP": (jpeg(xmp(XMP)), 6),
    "PNG, XMP": (png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), 6),
    "XMP's other spelling": (jpeg(xmp(b"<tiff:Orientation>8</tiff:Orientation>")), 8),
    "EXIF before XMP": (jpeg(xmp(XMP), exif(turned(3))), 3),
    "EXIF without the tag, XMP": (jpeg(xmp(XMP), exif(tiff((0x010F, ASCII, 4, 0)))), 6),
    "PNG, after the pixels": (png(chunk(b"eXIf", turned(4)), at_end=True), 4),
    "PNG, with JPEG's label": (png(chunk(b"eXIf", b"Exif\0\0" + turned(2))), 2),
}


@pytest.mark.parametrize("data, value", PLACES.values(), ids=list(PLACES))
def test_where_it_may_stand(orientation, data, value):
    assert pillows(data) == value, "the file is not what the test means it to be"
    assert orientation(data) == value


MALFORMED = {
    "empty": b"",
    "cut in the header": turned(6)[:6],
    "cut before the directory": turned(6)[:8],
    "cut in the entry": turned(6)[:30],
    "no TIFF": b"XX" + turned(6)[2:],
    "directory beyond the end": turned(6)[:4] + struct.pack("<L", 2**32 - 1) + turned(6)[8:],
    "more entries than there are": tiff((0x010F, ASCII, 4, 0), count=65_535),
    "no number": tiff((0x0112, ASCII, 1, 6)),
    "several numbers": tiff((0x0112, SHORT, 3, 6)),
    "zero": turned(0),
    "nine": turned(9),
    "too large for 32 bits and signed": turned(2**32 - 1, LONG),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_exif_leaves_the_picture_upright(orientation, content):
    assert orientation(jpeg(exif(content))) == 1
    assert orientation(png(chunk(b"eXIf", content))) == 1


def test_pixels_of_a_jpeg_are_not_searched(orientation):
    assert orientation(jpeg() + exif(turned(6))) == 1


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", jpeg()[:4], png()[:8], png()[:40], png()[:16] + b"\xff" * 40]
)
def test_what_is_cut_off_ends(orientation, data):
    assert orientation(data) == 1


def test_metadata_are_read_up_to_a_size(orientation):
    assert orientation(png(chunk(b"eXIf", turned(6, directory=60_000)))) == 6
    assert orientation(png(chunk(b"eXIf", turned(6, directory=70_000)))) == 1
    assert orientation(png(chunk(b"eXIf", turned(6) + bytes(70_000)), chunk(b"eXIf", b"a"))) == 6


def test_many_sections_after_large_metadata_take_little_time(orientation):
    """Copies of the metadata at each section would take 70 GB of memory traffic."""
    large = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP + bytes(7_000_000))
    start = time.process_time()
    assert orientation(png(large, *[chunk(b"tEXt", b"")] * 9_900)) == 6
    assert time.process_time() - start < 8


def test_a_file_of_nothing_but_sections_ends(orientation):
    assert orientation(png(chunk(b"tEXt", b"") * 50_000)) == 1
    assert orientation(jpeg(b"\0" * 500_000)) == 1
