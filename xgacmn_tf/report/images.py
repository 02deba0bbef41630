"""Image formats of thumbnails, recognized by their first bytes, and their data URIs."""

import base64


def image_type(data: bytes) -> str | None:
    """Return the format of an image, "png", "jpeg" or "webp"; None for any other data."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return None


def data_uri(data: bytes) -> str | None:
    """Return a data URI of an image; None if its format is unknown."""
    kind = image_type(data)
    if kind is None:
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
