"""A product catalog as people have it: image files, and a table with other column names.

The images are those of the bundled emoji. The table has several rows for some images, a few empty
descriptions, names beyond ASCII and a column that nobody needs.
"""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xgacmn_tf.datasets.emoji import EMOJI

CATEGORIES = (
    "activities",
    "animals and nature",
    "food and drink",
    "objects",
    "smileys and emotion",
    "travel and places",
)
COLUMNS = "image=filename,text=description,label=category"
_HEADER = ("sku", "filename", "description", "category", "price")


class Product(NamedTuple):
    """One product: the image (PNG), and its descriptions."""

    sku: str
    image: bytes
    descriptions: tuple[str, ...]
    category: str


def products(count: int, start: int = 0) -> list[Product]:
    """Return `count` products, the same number of each category, from the `start`-th of each."""
    entries = EMOJI.entries()
    thumbnails = _thumbnails(len(entries))
    found, seen = [], set()
    for category in CATEGORIES:
        own = []
        for entry, image in zip(entries, thumbnails, strict=True):
            name = entry["title"]
            if entry["id"].split("/")[0].replace("_", " ") != category or name in seen:
                continue
            seen.add(name)
            keywords = entry["text"].removeprefix(name).strip(", ")
            sku = f"{category[:3].upper()}-{len(own):03}"
            # Every fourth product has two rows in the table.
            texts = (name, keywords) if len(own) % 4 == 0 and keywords else (entry["text"],)
            own.append(Product(sku, _png(image), texts, category))
        found += own[start : start + count // len(CATEGORIES)]
    return found


def write_catalog(folder: Path, items: list[Product], table: str = "products.csv") -> Path:
    """Write the image files and the table; return the table's path."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with open(folder / table, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for number, item in enumerate(items):
            suffix = "-naïve-☕" if item.sku.endswith("-007") else ""
            name = f"images/{item.sku}{suffix}.png"
            (folder / name).write_bytes(item.image)
            for text in item.descriptions:
                described = "" if item.sku.endswith("-011") else text
                writer.writerow((item.sku, name, described, item.category, f"{number % 90}.99"))
    return folder / table


def _thumbnails(count: int) -> list[bytes]:
    with np.load(EMOJI.data / "thumbnails.npz") as arrays:
        data, offset = arrays["webp"].tobytes(), arrays["offset"]
    images = [data[a:b] for a, b in zip(offset[:-1], offset[1:], strict=True)]
    assert len(images) == count
    return images


def _png(image: bytes) -> bytes:
    stream = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("RGB").save(stream, "PNG")
    return stream.getvalue()
