"""Image formats of thumbnails, recognized by their first bytes, and their data URIs."""

import base64


def image_type(data: bytes) -> str | None:
    """ "png", "jpeg" or "webp"; None for anything else, which is then not shown."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return None


def data_uri(data: bytes) -> str | None:
    """Return the image as an address that holds it whole; None if `image_type` does not know it."""
    kind = image_type(data)
    if kind is None:
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
