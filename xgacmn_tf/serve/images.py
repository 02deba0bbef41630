"""Checks, conversion and thumbnails of uploaded images."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable

from PIL import Image, ImageOps

from xgacmn_tf.features.image_files import MAX_PIXELS, on_white, thumbnail
from xgacmn_tf.features.image_preprocessing import read
from xgacmn_tf.report.images import image_type
from xgacmn_tf.serve.errors import RequestError

_BROKEN = "image: broken or of another format; expected a whole JPEG, PNG or WebP file"


def check_image(data: bytes, max_pixels: int) -> int:
    """Return the number of pixels of an image, read from its header.

    Raises:
        RequestError: it is no JPEG, PNG or WebP file, or has more than `max_pixels` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        number = re.search(r"\d+", str(error))  # Pillow tells the number of pixels, not the sides.
        size = f"{int(number[0]):,}" if number else f"more than {2 * MAX_PIXELS:,}"
        raise _too_large(size, max_pixels) from error
    except Exception as error:  # Pillow's readers raise many types for damaged files.
        raise RequestError(_BROKEN) from error
    if width * height > max_pixels:
        raise _too_large(f"{width} × {height}", max_pixels)
    return width * height


def check_images(images: Iterable[bytes], max_pixels: int) -> None:
    """Check the images of one request, which have at most four times `max_pixels` together."""
    total = 0
    for data in images:
        total += check_image(data, max_pixels)
        if total > 4 * max_pixels:
            raise RequestError(
                f"image_bytes: more than {4 * max_pixels:,} pixels together; send smaller images, "
                "or fewer at a time",
                413,
            )


def _too_large(size: str, max_pixels: int) -> RequestError:
    return RequestError(
        f"image: {size} pixels; expected at most {max_pixels:,}, send a smaller image", 413
    )


def for_model(data: bytes) -> bytes:
    """Return a checked image as a JPEG or PNG file, which the exported encoders decode."""
    if image_type(data) != "webp":
        return data
    stream = io.BytesIO()
    _decoded_webp(data).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def make_thumbnail(data: bytes) -> bytes:
    """Return a small WebP file of a checked image, for people to see."""
    if image_type(data) == "webp":
        return thumbnail(_decoded_webp(data))
    pixels = read(data)
    if pixels is None:
        raise RequestError(_BROKEN)
    return thumbnail(Image.fromarray(pixels))


def _decoded_webp(data: bytes) -> Image.Image:
    """Return an image, or the first of an animation, as `image_files.open_image` does."""
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
            return on_white(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow's reader raises several types for damaged files.
        raise RequestError(_BROKEN) from error
