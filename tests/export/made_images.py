"""Images that tests of exported models send."""

import io

from PIL import Image


def saved(image, form="PNG", **options) -> bytes:
    """The file of an image."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(width, height, mode="RGB"):
    """An image of noise in every band."""
    bands = [Image.effect_noise((width, height), 90) for _ in mode]
    return Image.merge(mode, bands) if len(bands) > 1 else bands[0]
