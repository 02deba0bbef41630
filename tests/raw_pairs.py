"""Small raw pairs that several tests extract features from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from xgacmn_tf.datasets.raw import RawPair, RawPairs

COLOURS = ("crimson", "navy", "gold")
TEXTS = ("a crimson disc", "the navy square", "many gold stripes")


def draw(path: Path, label: int, seed: int) -> None:
    """A disc, a square or stripes on noise: corners for SIFT, colours for networks."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((96, 72), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    x, y = generator.integers(5, 30, 2)
    if label == 0:
        pen.ellipse((x, y, x + 40, y + 40), COLOURS[0])
    elif label == 1:
        pen.rectangle((x, y, x + 40, y + 40), COLOURS[1])
    else:
        for start in range(0, 96, 12):
            pen.rectangle((start, 0, start + 5, 72), COLOURS[2])
    picture.save(path)


@pytest.fixture
def raw_pairs(tmp_path) -> RawPairs:
    """12 training and 6 test pairs of 3 classes; pictures in a folder of their own."""
    folder = tmp_path / "pictures"
    folder.mkdir()

    def split(part: str, rows: int) -> tuple[RawPair, ...]:
        pairs = []
        for row in range(rows):
            path = folder / f"{part}-{row}.png"
            draw(path, row % 3, seed=row + (0 if part == "train" else 100))
            pairs.append(RawPair(path.stem, path, f"{TEXTS[row % 3]} {part}{row}", row % 3))
        return tuple(pairs)

    return RawPairs("shapes", split("train", 12), split("test", 6), ("disc", "square", "stripes"))
