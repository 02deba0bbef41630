"""Picture files of unknown origin → RGB pictures, or one clear reason why not."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from xgacmn_tf.errors import InputError

# The limit from which on Pillow warns of a "decompression bomb"; it rejects twice as many itself.
MAX_PIXELS = 89_478_485
# The formats of photographs and drawings. Others, such as EPS, would start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
THUMBNAIL_SIDE = 144
# No image of `MAX_PIXELS` needs a larger file; Pillow reads those in pieces.
_MAX_FILE_BYTES = 8 * MAX_PIXELS
_DECODED_BY_TENSORFLOW = ("JPEG", "MPO", "PNG")
# Possible values of white in grays of 32 bits and of floating point.
_WHITES = (1, 255, 65535)


class BadPictureError(InputError):
    """A picture that cannot be used; the policy for bad pictures decides what follows."""


def open_picture(path: Path) -> Image.Image:
    """The picture in a file, decoded: RGB, turned upright, on white where it is transparent.

    `image_preprocessing` decodes JPEG and PNG files. Pillow decodes what TensorFlow does not read:
    other formats, CMYK, and PNG files without their end. Of an animation, the first frame is used.
    Gray values of more than 8 bits are scaled to 8 bits, see `_eight_bits`.

    Raises:
        BadPictureError: naming the file, if it is missing, truncated, of another format, would
            decode to more than `MAX_PIXELS`, or has gray values of no known range.
    """
    if path.exists() and not path.is_file():  # A pipe would be waited for, a device has no end.
        raise BadPictureError(f"{path}: is no file")
    try:
        with Image.open(path, formats=FORMATS) as picture:  # This reads the header alone.
            if picture.width * picture.height > MAX_PIXELS:
                raise BadPictureError(
                    f"{picture.width} × {picture.height} pixels; a picture may have "
                    f"{MAX_PIXELS:,} at most"
                )
            pixels = None
            if picture.format in _DECODED_BY_TENSORFLOW and path.stat().st_size <= _MAX_FILE_BYTES:
                # Imported late: commands import this module for its names, without TensorFlow.
                from xgacmn_tf.features.image_preprocessing import read

                pixels = read(path.read_bytes())
            if pixels is not None:
                return Image.fromarray(pixels)
            picture.load()
            # Pillow has mode I for values of these formats that it has scaled to 16 bits.
            whites = _WHITES[-1:] if picture.format in ("PNG", "PPM") else _WHITES
            return _on_white(_eight_bits(ImageOps.exif_transpose(picture), whites))
    except BadPictureError as error:
        raise BadPictureError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise BadPictureError(f"{path}: there is no such file") from None
    except Exception as error:  # Pillow's readers raise a dozen kinds for broken files.
        raise BadPictureError(f"{path}: cannot be read as a picture ({error})") from error


def thumbnail(picture: Image.Image) -> bytes:
    """A WebP of at most `THUMBNAIL_SIDE` pixels a side, as results pages show it."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=75)
    return stream.getvalue()


def _eight_bits(picture: Image.Image, whites: Sequence[int]) -> Image.Image:
    """Gray values of 16 bits (mode I;16), 32 bits (I) or floating point (F), scaled to 8 bits.

    Pillow would cut them instead. 16-bit values are scaled by their depth. Those of 32 bits and of
    floating point may have any white: they are scaled by the smallest one that is no less than
    their maximum.

    Args:
        picture: of any mode.
        whites: values that may stand for white, ascending.

    Raises:
        BadPictureError: values are negative, larger than 65535, or not finite.
    """
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode not in ("I", "F"):
        return picture
    values = np.asarray(picture, np.float64)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= whites[-1]):
        raise BadPictureError(
            f"gray values from {low:g} to {high:g} (mode {picture.mode}), expected 0 to 1, 0 to "
            "255 or 0 to 65535; convert the image to 8 bits"
        )
    white = next(white for white in whites if high <= white)
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return white.convert("RGB")
