"""From picture files and captions to a trained model: the stamps of Debian's Tux Paint.

    sudo apt-get install tuxpaint-stamps-default
    python examples/tuxpaint_stamps.py stamps.csv
    python -m xgacmn_tf.features --dataset=stamps.csv \\
        --image=efficientnet_lite2 --text=minilm --output=stamps.npz
    python -m xgacmn_tf.main --dataset=stamps.npz --epochs=60

The second line writes the table of pairs; one's own pictures need just such a table. The stamps are
GPL-2 and stay where the package put them.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

STAMPS = Path("/usr/share/tuxpaint/stamps")
LEAST = 12
TEST = 0.25


def pairs(folder: Path, seed: int = 0) -> list[dict[str, str]]:
    """Rows of the table: stamps that are PNG files with an English caption, by top folder.

    Folders with fewer than `LEAST` such stamps are dropped. Stamps with one caption, such as the
    letter A filled and outlined, share a split, so that no caption is both learned and tested.
    Paths start from `folder`.
    """
    captions: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for image in sorted(folder.rglob("*.png")):
        text = image.with_suffix(".txt")
        if text.is_file():
            caption = text.read_text(encoding="utf-8").splitlines()[0].strip()
            captions[image.relative_to(folder).parts[0]][caption].append(image)
    generator = np.random.default_rng(seed)
    rows = []
    for label, groups in sorted(captions.items()):
        if sum(map(len, groups.values())) < LEAST:
            continue
        held_out = set(generator.permutation(sorted(groups))[: round(TEST * len(groups))])
        for caption, images in groups.items():
            split = "test" if caption in held_out else "train"
            rows += [
                {
                    "image": str(image.relative_to(folder)),
                    "text": caption,
                    "label": label,
                    # Deeper folders tell drawings from photographs.
                    "fine_label": "/".join(image.relative_to(folder).parts[:-1][:2]),
                    "split": split,
                }
                for image in images
            ]
    return rows


def write_table(folder: Path, path: Path) -> int:
    """Writes the table and a link to the pictures beside it; returns the number of its rows."""
    rows = pairs(folder)
    link = path.with_suffix("")  # A table names pictures below its own folder only.
    if not link.is_symlink():
        link.symlink_to(folder)
    for row in rows:
        row["image"] = f"{link.name}/{row['image']}"
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return len(rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not STAMPS.is_dir():
        sys.exit(f"error: no stamps at {STAMPS}; apt-get install tuxpaint-stamps-default")
    print(f"{sys.argv[1]}: {write_table(STAMPS, Path(sys.argv[1]))} pairs")
