"""Checks and thumbnails of uploaded images."""

from __future__ import annotations

import io

from PIL import Image

from xgacmn_tf.features.image_files import thumbnail
from xgacmn_tf.features.image_preprocessing import read
from xgacmn_tf.serve.errors import RequestError

_BROKEN = "image: broken or of another format; expected a whole JPEG or PNG file"


def check_image(data: bytes, max_pixels: int) -> None:
    """Raise a `RequestError` unless the header is of a JPEG or PNG file of moderate size."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            width, height = image.size
    except Exception as error:  # Pillow's readers raise many types for damaged files.
        raise RequestError(_BROKEN) from error
    if width * height > max_pixels:
        raise RequestError(
            f"image: {width} × {height} pixels; at most {max_pixels:,} are accepted", 413
        )


def make_thumbnail(data: bytes) -> bytes:
    """Return a small WebP file of a checked image, for people to see."""
    pixels = read(data)
    if pixels is None:
        raise RequestError(_BROKEN)
    return thumbnail(Image.fromarray(pixels))
