"""Picture files of unknown origin → RGB pictures, or one clear reason why not."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from xgacmn_tf.errors import InputError

# Where Pillow starts to warn of a "decompression bomb"; at twice that it refuses by itself.
MAX_PIXELS = 89_478_485
# The formats of photographs and drawings. Others, such as EPS, would start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
THUMBNAIL_SIDE = 72


class BadPictureError(InputError):
    """A picture that cannot be used; the policy for bad pictures decides what follows."""


def open_picture(path: Path) -> Image.Image:
    """The picture in a file, decoded: RGB, turned upright, on white where it is transparent.

    Of an animation, the first frame. 16-bit greys are scaled to 8 bits.

    Raises:
        BadPictureError: naming the file, if it is missing, truncated, of another format, or would
            decode to more than `MAX_PIXELS`.
    """
    if path.exists() and not path.is_file():  # A pipe would be waited for, a device has no end.
        raise BadPictureError(f"{path}: is no file")
    try:
        with Image.open(path, formats=FORMATS) as picture:  # This reads the header alone.
            if picture.width * picture.height > MAX_PIXELS:
                raise BadPictureError(
                    f"{path}: {picture.width} × {picture.height} pixels; a picture may have "
                    f"{MAX_PIXELS:,} at most"
                )
            picture.load()
            return _on_white(_eight_bits(ImageOps.exif_transpose(picture)))
    except BadPictureError:
        raise
    except FileNotFoundError:
        raise BadPictureError(f"{path}: there is no such file") from None
    except Exception as error:  # Pillow's readers raise a dozen kinds for broken files.
        raise BadPictureError(f"{path}: cannot be read as a picture ({error})") from error


def thumbnail(picture: Image.Image) -> bytes:
    """A WebP of at most 72 × 72 pixels, as results pages show it."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=75)
    return stream.getvalue()


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow would cut, not scale, 16-bit greys when it converts them."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray(np.clip(np.asarray(picture) >> 8, 0, 255).astype(np.uint8))


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return white.convert("RGB")
