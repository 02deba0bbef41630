"""How a picture file says it must be turned to stand upright, read in pure TensorFlow.

It follows Pillow's `ImageOps.exif_transpose`: EXIF first, else XMP. Two rarities are not read: EXIF
as hexadecimal text in a PNG (old ImageMagick) and compressed XMP. What is malformed says nothing.
"""

from collections.abc import Callable

import tensorflow as tf

# Real files have some hundred sections. Beyond this, a file is out to waste time.
_MOST_SECTIONS = 10_000
_EXIF, _XMP = 1, 2
_TIFF_HEADERS = (b"II*\0", b"MM\0*")
_TAG, _SHORT, _LONG = 0x0112, 3, 4
# \C is any byte: files are no text.
_XMP_TAG = r'\C*?tiff:Orientation(?:="|>)([0-9])\C*'

# A position → the next position; whether EXIF, XMP or neither starts here; where its content lies
# and how long it is.
_Section = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]]


def jpeg_orientation(data: tf.Tensor) -> tf.Tensor:
    """int32 1 to 8 of a JPEG file in a string, as EXIF counts them; 1 stands upright."""

    def section(at):
        marker, length = _number(_bytes(data, at, 2)), _number(_bytes(data, at + 2, 2))
        bare = (marker == 0xFF01) | (marker >= 0xFFD0) & (marker <= 0xFFD9)
        after = tf.where(bare, at + 2, at + 2 + tf.maximum(length, 2))
        # Stray bytes between sections are passed over one by one.
        after = tf.where((marker < 0xFF01) | (marker == 0xFFFF), at + 1, after)
        after = tf.where(marker == 0xFFDA, _size(data), after)  # The pixels begin.
        exif = (marker == 0xFFE1) & _starts(data, at + 4, b"Exif\0\0")
        xmp = (marker == 0xFFE1) & _starts(data, at + 4, b"http://ns.adobe.com/xap/1.0/\0")
        skipped = tf.cast(tf.where(exif, 10, 33), tf.int64)
        return after, _kind(exif, xmp), at + skipped, length + 2 - skipped

    return _upright(*_metadata(data, 2, section))


def png_orientation(data: tf.Tensor) -> tf.Tensor:
    """int32 1 to 8 of a PNG file in a string, as EXIF counts them; 1 stands upright."""

    def section(at):
        length = _number(_bytes(data, at, 4))
        after = tf.where(_starts(data, at + 4, b"IEND"), _size(data), at + 12 + length)
        exif = _starts(data, at + 4, b"eXIf")
        xmp = _starts(data, at + 4, b"iTXtXML:com.adobe.xmp\0\0")
        return after, _kind(exif, xmp), at + 8, length

    return _upright(*_metadata(data, 8, section))


def _kind(exif: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
    return tf.where(exif, _EXIF, tf.where(xmp, _XMP, 0))


def _metadata(data: tf.Tensor, start: int, section: _Section) -> tuple[tf.Tensor, tf.Tensor]:
    """All EXIF of a file joined, and its last XMP; empty where there is none."""

    def step(at, exif, xmp):
        after, kind, first, length = section(at)
        content = _part(data, first, tf.where(kind == 0, tf.zeros_like(length), length))
        exif = tf.where(kind == _EXIF, tf.strings.join([exif, content]), exif)
        return after, exif, tf.where(kind == _XMP, content, xmp)

    _, exif, xmp = tf.while_loop(
        lambda at, *_: at < _size(data),
        step,
        (tf.constant(start, tf.int64), tf.constant(""), tf.constant("")),
        maximum_iterations=_MOST_SECTIONS,
        parallel_iterations=1,
    )
    return exif, xmp


def _upright(exif: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
    orientation = _of_exif(exif)
    orientation = tf.where(orientation < 0, _of_xmp(xmp), orientation)
    return tf.where((orientation >= 1) & (orientation <= 8), tf.cast(orientation, tf.int32), 1)


def _of_exif(exif: tf.Tensor) -> tf.Tensor:
    """int64 value of the tag in the first directory; -1 without one."""
    # Some programs write the label of JPEG's section into PNGs as well.
    exif = tf.strings.regex_replace(exif, r"^(Exif\x00\x00){1,2}", "", replace_global=False)
    little = _starts(exif, 0, b"I")
    known = tf.reduce_any(tf.stack([_starts(exif, 0, header) for header in _TIFF_HEADERS]))
    directory = _number(_bytes(exif, 4, 4), little)
    entries = _number(_bytes(exif, directory, 2), little)
    entries = tf.minimum(entries, (_size(exif) - directory - 2) // 12)
    table = _part(exif, directory + 2, 12 * entries)
    table = tf.cast(tf.reshape(tf.io.decode_raw(table, tf.uint8), [-1, 12]), tf.int64)
    tag, kind, count, short, long = (
        _number(table[:, first:last], little)
        for first, last in ((0, 2), (2, 4), (4, 8), (8, 10), (8, 12))
    )
    ours = known & (tag == _TAG) & (count == 1) & ((kind == _SHORT) | (kind == _LONG))
    found = tf.where(kind == _SHORT, short, long)[ours]
    return tf.concat([found, [-1]], axis=0)[0]


def _of_xmp(xmp: tf.Tensor) -> tf.Tensor:
    """int64 value of the first such tag; -1 without one."""
    digit = tf.strings.regex_replace(xmp, _XMP_TAG, r"\1")
    digit = tf.where(tf.strings.regex_full_match(xmp, _XMP_TAG), digit, "-1")
    return tf.strings.to_number(digit, tf.int64)


def _size(data: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(data), tf.int64)


def _part(data: tf.Tensor, first: tf.Tensor | int, length: tf.Tensor | int) -> tf.Tensor:
    """A part of a string, cut off where the string ends."""
    first = tf.minimum(tf.cast(first, tf.int64), _size(data))
    return tf.strings.substr(data, first, tf.maximum(tf.cast(length, tf.int64), 0))


def _starts(data: tf.Tensor, first: tf.Tensor | int, label: bytes) -> tf.Tensor:
    return _part(data, first, len(label)) == label


def _bytes(data: tf.Tensor, first: tf.Tensor | int, count: int) -> tf.Tensor:
    """(count,) int64, with zeros where the string has ended."""
    return tf.cast(tf.io.decode_raw(_part(data, first, count), tf.uint8, fixed_length=count), tf.int64)


def _number(digits: tf.Tensor, little: tf.Tensor | bool = False) -> tf.Tensor:
    """(…, k) bytes → (…) int64, read from the high byte on unless `little`."""
    digits = tf.where(little, tf.reverse(digits, [-1]), digits)
    powers = [256**k for k in reversed(range(digits.shape[-1]))]
    return tf.reduce_sum(digits * powers, axis=-1)
