"""Image files of unknown origin, decoded to RGB images or rejected with one reason.

`image_preprocessing` decodes JPEG and PNG files, as the exported graph does. Pillow decodes what
TensorFlow does not read: other formats, CMYK, and PNG files without their end.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xgacmn_tf.errors import InputError, one_line

# Pillow warns of a "decompression bomb" from this number of pixels on; it rejects twice as many.
MAX_PIXELS = 89_478_485
# Formats of photographs and drawings. Others, such as EPS, would start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
THUMBNAIL_SIDE = 144
# No image of `MAX_PIXELS` needs a larger file; Pillow reads those in pieces.
_MAX_FILE_BYTES = 8 * MAX_PIXELS
_DECODED_BY_TENSORFLOW = ("JPEG", "MPO", "PNG")
# Possible values of white in gray images of 32 bits and of floating point.
_WHITES = (1, 255, 65535)


class BadImageError(InputError):
    """An image that cannot be used; see `shards.POLICIES`."""


def open_image(path: Path) -> Image.Image:
    """Decode an image file to RGB, turned upright, on white where it is transparent.

    Of an animation, the first frame is used. Gray values of more than 8 bits are scaled to 8 bits,
    see `_eight_bits`.

    Raises:
        BadImageError: naming the file, if it is missing, truncated, of another format, would
            decode to more than `MAX_PIXELS`, or has gray values of no known range.
    """
    if path.exists() and not path.is_file():  # Reading a pipe or a device may never end.
        raise BadImageError(f"{path}: not a regular file; expected an image file")
    try:
        with Image.open(path, formats=FORMATS) as image:  # This reads only the header.
            if image.width * image.height > MAX_PIXELS:
                raise BadImageError(
                    f"{image.width} × {image.height} pixels; an image may have "
                    f"{MAX_PIXELS:,} at most"
                )
            pixels = None
            if image.format in _DECODED_BY_TENSORFLOW and path.stat().st_size <= _MAX_FILE_BYTES:
                # Imported late: commands import this module for its names, without TensorFlow.
                from xgacmn_tf.features.image_preprocessing import read

                pixels = read(path.read_bytes())
            if pixels is not None:
                return Image.fromarray(pixels)
            image.load()
            # In these formats, Pillow has scaled values of mode I to 16 bits.
            whites = _WHITES[-1:] if image.format in ("PNG", "PPM") else _WHITES
            return on_white(_eight_bits(ImageOps.exif_transpose(image), whites))
    except BadImageError as error:
        raise BadImageError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise BadImageError(f"{path}: there is no such file") from None
    except UnidentifiedImageError:
        raise BadImageError(
            f"{path}: cannot be read as an image; expected one of {', '.join(FORMATS)}"
        ) from None
    except Exception as error:  # Pillow's readers raise many types for damaged files.
        raise BadImageError(f"{path}: cannot be read as an image ({one_line(error)})") from error


def thumbnail(image: Image.Image) -> bytes:
    """Return a WebP file of at most `THUMBNAIL_SIDE` pixels per side, for results pages.

    Pillow resizes it, because nothing but people sees it.
    """
    small = image.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=75)
    return stream.getvalue()


def _eight_bits(image: Image.Image, whites: Sequence[int]) -> Image.Image:
    """Scale gray values of 16 bits (mode I;16), 32 bits (I) or floating point (F) to 8 bits.

    Pillow would clip them instead. 16-bit values are scaled by their depth. White of 32-bit and
    floating point values is unknown: the smallest of `whites` that is no less than their maximum.

    Args:
        image: of any mode.
        whites: possible values of white, ascending.

    Raises:
        BadImageError: if values are negative, larger than 65535, or not finite.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return image
    values = np.asarray(image, np.float64)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= whites[-1]):
        raise BadImageError(
            f"gray values from {low:g} to {high:g} (mode {image.mode}), expected 0 to 1, 0 to "
            "255 or 0 to 65535; convert the image to 8 bits"
        )
    white = next(white for white in whites if high <= white)
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


def on_white(image: Image.Image) -> Image.Image:
    """Return an image as RGB, on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")
