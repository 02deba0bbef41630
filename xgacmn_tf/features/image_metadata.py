"""Orientation and transparent color of JPEG and PNG files in strings, in pure TensorFlow.

Hand-written because no operation of TensorFlow reads metadata, and exported graphs have no other
library. Orientation is read from EXIF, else from XMP, as Pillow's `ImageOps.exif_transpose` does.
Two rarities are not read: EXIF as hexadecimal text (PNGs of old programs), and compressed XMP.
Where metadata are malformed, the image is taken to be upright.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

JPEG = b"\xff\xd8\xff"
# The signature, then the length and the name of the chunk that must come first.
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
# Real files have a few thousand sections; more are there to waste time.
_MOST_SECTIONS = 10_000
# Maximum size of EXIF, of which each section makes a copy; a section of a JPEG is smaller.
_MOST_EXIF_BYTES = 2**16
_NOTHING, _EXIF, _XMP, _KEY = range(4)
_EXIF_LABEL, _XMP_LABEL = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_LITTLE, _BIG = b"II*\0", b"MM\0*"
_TAG, _SHORT, _LONG = 0x0112, 3, 4
# \C is any byte: XMP need not be valid text.
_XMP_TAG = r'\C*?tiff:Orientation(?:="|>)([0-9])\C*'


class Metadata(NamedTuple):
    """Orientation and transparent color of an image.

    Attributes:
      orientation: int32, 1 to 8 as EXIF counts; 1 stands upright.
      key: (3,) int32, the color that stands for transparency; -1 without one.
    """

    orientation: tf.Tensor
    key: tf.Tensor


class _Section(NamedTuple):
    """A part of a file: its kind, start and length, and the start of the next one."""

    kind: tf.Tensor
    first: tf.Tensor
    length: tf.Tensor
    next: tf.Tensor


def read_metadata(data: tf.Tensor) -> Metadata:
    """Return the metadata of a JPEG or PNG file, given as a scalar string."""

    def png() -> Metadata:
        exif, xmp, key = _contents(data, 8, _png_section)
        return Metadata(_orientation(exif, xmp), _key_color(data, key))

    def jpeg() -> Metadata:
        exif, xmp, _ = _contents(data, 2, _jpeg_section)
        return Metadata(_orientation(exif, xmp), tf.constant([-1, -1, -1]))

    return tf.cond(starts_with(data, PNG), png, jpeg)


def starts_with(data: tf.Tensor, label: bytes) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(label)) == label


def number(
    data: tf.Tensor, first: tf.Tensor | int, length: int, little: tf.Tensor | bool = False
) -> tf.Tensor:
    """Return the int64 value of `length` bytes, big-endian unless `little`; 0s after the end."""
    digits = tf.io.decode_raw(_part(data, first, length), tf.uint8, fixed_length=length)
    return _value(digits, little)


def _value(digits: tf.Tensor, little: tf.Tensor | bool) -> tf.Tensor:
    """Return (…, length) uint8 → (…) int64."""
    digits = tf.cast(tf.where(little, tf.reverse(digits, [-1]), digits), tf.int64)
    powers = [256**power for power in reversed(range(digits.shape[-1]))]
    return tf.reduce_sum(digits * powers, axis=-1)


def _part(data: tf.Tensor, first: tf.Tensor | int, length: tf.Tensor | int) -> tf.Tensor:
    """Return a part of a string, cut off where the string ends."""
    first = tf.minimum(tf.cast(first, tf.int64), _size(data))
    return tf.strings.substr(data, first, tf.maximum(tf.cast(length, tf.int64), 0))


def _size(data: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(data), tf.int64)


def _png_section(data: tf.Tensor, at: tf.Tensor) -> _Section:
    length, head = number(data, at, 4), _part(data, at + 4, 23)
    kind = tf.where(starts_with(head, b"eXIf"), _EXIF, _NOTHING)
    kind = tf.where(starts_with(head, b"iTXtXML:com.adobe.xmp\0\0"), _XMP, kind)
    kind = tf.where(starts_with(head, b"tRNS"), _KEY, kind)
    after = tf.where(starts_with(head, b"IEND"), _size(data), at + 12 + length)
    return _Section(kind, at + 8, length, after)


def _jpeg_section(data: tf.Tensor, at: tf.Tensor) -> _Section:
    marker, length = number(data, at, 2), number(data, at + 2, 2)
    head = _part(data, at + 4, len(_XMP_LABEL))
    kind = tf.where(starts_with(head, _XMP_LABEL), _XMP, _NOTHING)
    kind = tf.where(starts_with(head, _EXIF_LABEL), _EXIF, kind)
    kind = tf.where(marker == 0xFFE1, kind, _NOTHING)
    label = tf.cast(tf.where(kind == _EXIF, len(_EXIF_LABEL), len(_XMP_LABEL)), tf.int64)
    bare = (marker == 0xFF01) | (marker >= 0xFFD0) & (marker <= 0xFFD9)
    after = tf.where(bare, at + 2, at + 2 + tf.maximum(length, 2))
    # Stray bytes between sections are passed over one by one.
    after = tf.where((marker <= 0xFF00) | (marker == 0xFFFF), at + 1, after)
    after = tf.where(marker == 0xFFDA, _size(data), after)  # Here the pixels begin.
    return _Section(kind, at + 4 + label, length - 2 - label, after)


def _contents(
    data: tf.Tensor, start: int, section_at: Callable[[tf.Tensor, tf.Tensor], _Section]
) -> list[tf.Tensor]:
    """Return a file's EXIF joined, its last XMP and its last key color; empty strings without."""

    def step(
        at: tf.Tensor, exif: tf.Tensor, xmp: tf.Tensor, key: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        kind, first, length, after = section_at(data, at)
        free = tf.minimum(length, _MOST_EXIF_BYTES - _size(exif))
        free = tf.where(kind == _EXIF, free, tf.zeros_like(free))
        exif = tf.strings.join([exif, _part(data, first, free)])
        place = tf.stack([first, length])
        xmp, key = tf.where(kind == _XMP, place, xmp), tf.where(kind == _KEY, place, key)
        return after, exif, xmp, key

    nowhere = tf.zeros([2], tf.int64)
    _, exif, xmp, key = tf.while_loop(
        lambda at, *_: at < _size(data),
        step,
        (tf.constant(start, tf.int64), tf.constant(""), nowhere, nowhere),
        maximum_iterations=_MOST_SECTIONS,
        parallel_iterations=1,
    )
    return [exif, _part(data, *tf.unstack(xmp)), _part(data, *tf.unstack(key))]


def _key_color(data: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """(3,) int32 as Pillow compares it with pixels of 8 bits, though that misses some keys."""
    depth, kind = number(data, 24, 1), number(data, 25, 1)
    gray = number(key, 0, 2)
    gray = tf.where(depth == 1, 255 * gray, gray)
    color = tf.where(kind == 0, gray, tf.stack([number(key, first, 2) for first in (0, 2, 4)]))
    seen = ((kind == 0) & (depth < 16) | (kind == 2)) & (key != "")
    return tf.cast(tf.where(seen, color % 256, -1), tf.int32)


def _orientation(exif: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
    value = _exif_orientation(exif)
    value = tf.where(value < 0, _xmp_orientation(xmp), value)
    return tf.where((value >= 1) & (value <= 8), tf.cast(value, tf.int32), 1)


def _exif_orientation(exif: tf.Tensor) -> tf.Tensor:
    """int64 value of the tag in the first directory; -1 without one."""
    # Some programs write the label that JPEGs need into PNGs too.
    exif = tf.strings.regex_replace(exif, r"^(Exif\x00\x00){1,2}", "", replace_global=False)
    little = starts_with(exif, _LITTLE)
    directory = number(exif, 4, 4, little)
    entries = tf.minimum(number(exif, directory, 2, little), (_size(exif) - directory - 2) // 12)
    table = tf.io.decode_raw(_part(exif, directory + 2, 12 * entries), tf.uint8)
    table = tf.reshape(table, [-1, 12])
    tag, kind, count, short, long = (
        _value(table[:, first:last], little)
        for first, last in ((0, 2), (2, 4), (4, 8), (8, 10), (8, 12))
    )
    ours = (tag == _TAG) & (count == 1) & ((kind == _SHORT) | (kind == _LONG))
    ours &= little | starts_with(exif, _BIG)
    values = tf.where(kind == _SHORT, short, long)[ours]
    return tf.concat([values, [-1]], axis=0)[0]


def _xmp_orientation(xmp: tf.Tensor) -> tf.Tensor:
    """int64 value of the first such tag; -1 without one."""
    digit = tf.strings.regex_replace(xmp, _XMP_TAG, r"\1")
    digit = tf.where(tf.strings.regex_full_match(xmp, _XMP_TAG), digit, "-1")
    return tf.strings.to_number(digit, tf.int64)
