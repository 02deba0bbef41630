"""`openclipart`: public-domain clip art with titles and keywords, shipped with this package.

README.md in this folder tells where it comes from and how it was made, `rebuild.py` makes it.
"""

import csv
import json
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.paired import PairedDataset, Split

DATA = Path(__file__).parent / "data"
# Below DATA: what makes features of other pictures and texts, as for these.
EXTRACTORS = "extractors"
SPLITS = ("train", "validation", "test")
COLUMNS = ("split", "id", "author", "title", "text")


def vocabulary() -> tuple[str, ...]:
    """The 1000 words that the columns of `Split.text` count, learned on the training split."""
    path = DATA / EXTRACTORS / "text" / "vocabulary.json"
    return tuple(json.loads(path.read_text(encoding="utf-8")))


def entries() -> list[dict[str, str]]:
    """One row a picture, by the names in COLUMNS, in the order of train, validation and test.

    `title` is as its author gave it; `text` is what the features count: title and keywords as
    lower-case words, without the names of classes and folders.
    """
    with open(DATA / "entries.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, dialect="excel-tab"))


def texts() -> dict[str, tuple[str, ...]]:
    """The cleaned texts of each split, row by row as in `load`."""
    rows = entries()
    return {name: tuple(row["text"] for row in rows if row["split"] == name) for name in SPLITS}


def load() -> PairedDataset:
    """Loads the three splits.

    Returns:
        image: (n, 1280) float32 pooled EfficientNet-Lite2 features, each in [0, 6].
        text: (n, 1000) float32 word counts; a row can be all zeros.
        label: the top folder, one of ten. id: the path in the package without its suffix.
        title: as the author gave it. thumbnail: 72-pixel WebP. fine_label: the whole folder.
    """
    rows = entries()
    words = len(vocabulary())
    with np.load(DATA / "features.npz", allow_pickle=False) as arrays:
        image = arrays["image"] * arrays["image_step"]
        text = np.zeros((len(rows), words), np.float32)
        row_of_count = np.repeat(np.arange(len(rows)), np.diff(arrays["text_offset"]))
        text[row_of_count, arrays["text_word"]] = arrays["text_count"]
    with np.load(DATA / "thumbnails.npz", allow_pickle=False) as arrays:
        webp, offset = arrays["webp"].tobytes(), arrays["offset"]
    folders = [row["id"].partition("/")[0] for row in rows]
    classes = sorted(set(folders))

    def split(name: str) -> Split:
        chosen = [number for number, row in enumerate(rows) if row["split"] == name]
        return Split(
            image=image[chosen],
            text=text[chosen],
            label=np.array([classes.index(folders[n]) for n in chosen], np.int32),
            id=np.array([rows[n]["id"] for n in chosen]),
            title=np.array([rows[n]["title"] for n in chosen]),
            thumbnail=tuple(webp[offset[n] : offset[n + 1]] for n in chosen),
            fine_label=np.array([rows[n]["id"].rpartition("/")[0] for n in chosen]),
        )

    return PairedDataset(
        name="openclipart",
        train=split("train"),
        validation=split("validation"),
        test=split("test"),
        label_names=tuple(name.replace("_", " ") for name in classes),
        source=str(DATA / EXTRACTORS),
    )
