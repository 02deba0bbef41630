"""A product catalog for docs/catalog.md: image files of the bundled emoji and a table.

    python examples/emoji_catalog.py catalog                  300 products
    python examples/emoji_catalog.py catalog --products=360   the same and 60 others

The table is as people have it: other column names than ours, several rows for some images, a few
empty descriptions, file names beyond ASCII, and a column that training ignores.
"""

import argparse
import csv
import io
from pathlib import Path
from typing import NamedTuple

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
HEADER = ("sku", "filename", "description", "category", "price")


class Product(NamedTuple):
    """One product; `image` is a WebP file."""

    sku: str
    image: bytes
    descriptions: tuple[str, ...]
    category: str


def products(count: int) -> list[Product]:
    """Return `count` products, the same number of each category."""
    entries, images = EMOJI.entries(), EMOJI.thumbnails()
    chosen, names = [], set()
    for category in CATEGORIES:
        own = []
        for entry, image in zip(entries, images, strict=True):
            name = entry["title"]
            if entry["id"].split("/")[0].replace("_", " ") != category or name in names:
                continue
            names.add(name)
            keywords = entry["text"].removeprefix(name).strip(", ")
            # Every fourth product has two rows in the table.
            texts = (name, keywords) if len(own) % 4 == 0 and keywords else (entry["text"],)
            own.append(Product(f"{category[:3].upper()}-{len(own):03}", image, texts, category))
        chosen += own[: count // len(CATEGORIES)]
    return chosen


def write_catalog(folder: Path, catalog: list[Product]) -> int:
    """Write the image files and the table `products.csv`; return the number of its rows."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, product in enumerate(catalog):
        suffix = "-naïve-☕" if product.sku.endswith("-007") else ""
        name = f"images/{product.sku}{suffix}.png"
        Image.open(io.BytesIO(product.image)).convert("RGB").save(folder / name)
        for text in product.descriptions:
            description = "" if product.sku.endswith("-011") else text
            rows.append((product.sku, name, description, product.category, f"{number % 90}.99"))
    with open(folder / "products.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return len(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--products", type=int, default=300, help="number of products")
    arguments = parser.parse_args()
    written = write_catalog(arguments.folder, products(arguments.products))
    print(f"{arguments.folder / 'products.csv'}: {written} rows, {arguments.products} images")
