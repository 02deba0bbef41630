"""Items without content: features of one value, images of a single color."""

import io

import numpy as np
from PIL import Image

# An encoded image of a single color is smaller than this, so that larger ones need no decoding.
SINGLE_COLOR_BYTES = 1024


def rows_of_one_value(values: np.ndarray) -> np.ndarray:
    """Return (n,) bool, whether all values of a row are equal; never for a single column."""
    if values.shape[1] == 1:
        return np.zeros(len(values), bool)
    return values.min(axis=1) == values.max(axis=1)


def is_single_color(encoded: bytes) -> bool:
    """Return whether an encoded image has a single color; False if it cannot be read."""
    if len(encoded) >= SINGLE_COLOR_BYTES:
        return False
    try:
        with Image.open(io.BytesIO(encoded), formats=("WEBP", "PNG", "JPEG")) as image:
            low_high = np.array(image.convert("RGB").getextrema())
    except Exception:  # Pillow's readers raise many kinds of errors; pages report such files.
        return False
    return bool((low_high[:, 0] == low_high[:, 1]).all())
