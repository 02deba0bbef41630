"""A made-up product catalog: a folder of images and a table of captions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLORS = {
    "red": (200, 30, 40),
    "blue": (40, 70, 200),
    "green": (30, 150, 60),
    "yellow": (230, 200, 40),
    "black": (30, 30, 30),
    "white": (245, 245, 245),
}
CATEGORIES = ("mug", "lamp", "chair", "clock", "bag", "shirt")
# Captions in other languages, as catalogs have them.
_FOREIGN = {"mug": "マグカップ", "lamp": "lámpara de mesa", "chair": "стул", "clock": "horloge"}
# A background per image, so that no two images are the same file.
_SIZE = 160


def write_catalog(
    folder: Path, name: str = "products.csv", images: int = 300, first: int = 0
) -> list[dict[str, str]]:
    """Write images and a table, and return its rows.

    Every fourth image has a second caption, every twentieth row no caption, and some captions are
    not English. The columns are not those of this package, and one of them is not for it.

    Args:
        folder: receives `photos/` and the table.
        name: of the table.
        images: number of images.
        first: number of the first image.
    """
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(first, first + images):
        category = CATEGORIES[number % len(CATEGORIES)]
        color = list(COLORS)[number // len(CATEGORIES) % len(COLORS)]
        path = f"photos/{category}_{number:04}.jpg"
        _draw(category, color, number).save(folder / path, quality=90)
        caption = f"{color} {category}, item {number}"
        if number % 20 == 7:
            caption = ""
        elif number % 15 == 4 and category in _FOREIGN:
            caption = f"{_FOREIGN[category]} {color}"
        captions = [caption, f"a {category} in {color}"][: 2 if number % 4 == 0 else 1]
        rows += [
            {
                "filename": path,
                "description": text,
                "category": category,
                "price": f"{number % 50}.90",
            }
            for text in captions
        ]
    with (folder / name).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _draw(category: str, color: str, number: int) -> Image.Image:
    """Return a drawing of a product on a background of its own."""
    random = np.random.default_rng(number)
    background = tuple(int(v) for v in random.integers(150, 230, 3))
    image = Image.new("RGB", (_SIZE, _SIZE), background)
    draw = ImageDraw.Draw(image)
    x, y = (int(v) for v in random.integers(-15, 16, 2))
    fill, line = COLORS[color], (60, 60, 60)

    def box(left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int]:
        return left + x, top + y, right + x, bottom + y

    if category == "mug":
        draw.ellipse(box(90, 60, 135, 110), outline=fill, width=10)
        draw.rectangle(box(40, 45, 110, 125), fill=fill, outline=line, width=3)
    elif category == "lamp":
        draw.polygon(
            [(50 + x, 80 + y), (70 + x, 30 + y), (100 + x, 30 + y), (120 + x, 80 + y)], fill
        )
        draw.rectangle(box(80, 80, 90, 130), fill=line)
        draw.rectangle(box(60, 125, 110, 135), fill=line)
    elif category == "chair":
        draw.rectangle(box(50, 25, 60, 135), fill=fill)
        draw.rectangle(box(50, 80, 110, 92), fill=fill)
        draw.rectangle(box(100, 80, 110, 135), fill=fill)
    elif category == "clock":
        draw.ellipse(box(35, 35, 125, 125), fill=fill, outline=line, width=6)
        draw.line(box(80, 80, 80, 48), fill=(200, 200, 200), width=5)
        draw.line(box(80, 80, 102, 80), fill=(200, 200, 200), width=5)
    elif category == "bag":
        draw.arc(box(55, 25, 105, 85), 180, 360, fill=line, width=6)
        draw.rectangle(box(40, 55, 120, 130), fill=fill, outline=line, width=3)
    else:
        draw.polygon(
            [(a + x, b + y) for a, b in ((30, 50), (60, 35), (100, 35), (130, 50), (115, 70))]
            + [(a + x, b + y) for a, b in ((105, 65), (105, 130), (55, 130), (55, 65), (45, 70))],
            fill,
        )
    return image
