"""Writes small copies of the NUS-WIDE distribution, to the letter of its layout.

What is in them tells the row, so that a test can see any mix-up.
"""

from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.nuswide.nuswide_dataset_builder import CONCEPTS

FOLDERS = ("actor", "adminisrative_assistant", "zebra")
WIDTHS = {"CH": 64, "CORR": 144, "EDH": 73, "WT": 128, "CM55": 225}
TAG_NAMES = [f"tag{column}" for column in range(1000)]
# Rows of a picture that is there twice, under two folders.
TWICE = ((2, 702409954), (5, 702409954))


def pictures(rows: int) -> list[str]:
    """The lines of the image list."""
    photos = dict(TWICE)
    return [
        f"{FOLDERS[row * 3 // rows]}\\{row + 1:04}_{photos.get(row, 2124494179 + row)}.jpg"
        for row in range(rows)
    ]


def low_level(name: str, rows: int) -> np.ndarray:
    """(rows, d) with at most three decimals, or whole numbers for the bag of words."""
    if name == "BoW":
        return (np.arange(rows)[:, None] * 7 + np.arange(500)) % 23
    columns = WIDTHS[name]
    return ((np.arange(rows)[:, None] * columns + np.arange(columns)) % 9973) / 8


def tags(rows: int) -> np.ndarray:
    """(rows, 1000) 0 or 1: about six a row; none where the row is divisible by 10."""
    hot = (np.arange(rows)[:, None] * 31 + np.arange(1000) * 17) % 167 == 5
    return (hot & (np.arange(rows) % 10 != 0)[:, None]).astype(np.uint8)


def halves(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training and the test list: mixed, three to two, not in order."""
    order = np.random.default_rng(7).permutation(rows)
    return order[: rows * 3 // 5], order[rows * 3 // 5 :]


def write(
    folder: Path,
    hot: np.ndarray,
    *,
    low_level_names: tuple[str, ...] = (*WIDTHS, "BoW"),
    whole: bool = True,
    concepts: tuple[str, ...] = CONCEPTS,
) -> Path:
    """Writes the collection.

    Args:
        hot: (n, c) the labels of each picture, for each of `concepts`.
        whole: matrices whole, or as training and test halves.
    """
    rows = len(hot)
    listed = pictures(rows)
    for below in ("ImageList", "ConceptsList", "NUS_WID_Tags", "Low_Level_Features", "Flickr"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    train, test = halves(rows)
    for name, part in (("", np.arange(rows)), ("Train", train), ("Test", test)):
        path = folder / "ImageList" / f"{name}Imagelist.txt"
        path.write_text("".join(f"{listed[row]}\n" for row in part))
    (folder / "ConceptsList" / "Concepts81.txt").write_text("".join(f"{c}\n" for c in CONCEPTS))
    for concept, column in zip(concepts, np.asarray(hot, np.uint8).T, strict=True):
        below = folder / "Groundtruth" / ("AllLabels" if whole else "TrainTestLabels")
        below.mkdir(parents=True, exist_ok=True)
        _write(below, f"Labels_{concept}{{}}.txt", "_{}", column[:, None], whole, zero_one)
    names = "AllTags1k.txt" if whole else "{}_Tags1k.dat"
    _write(folder / "NUS_WID_Tags", names, "{}", tags(rows), whole, trailing_tabs)
    (folder / "NUS_WID_Tags" / "TagList1k.txt").write_text("".join(f"{n}\n" for n in TAG_NAMES))
    (folder / "NUS_WID_Tags" / "All_Tags.txt").write_text(
        "".join(f"{photo(line)}      {text(row)}\n" for row, line in enumerate(listed))
    )
    for name in low_level_names:
        names = "BoW{}_int.dat" if name == "BoW" else f"{{}}Normalized_{name}.dat"
        half = "_{}" if name == "BoW" else "{}_"
        below = folder / "Low_Level_Features"
        _write(below, names, half, low_level(name, rows), whole, trailing_spaces)
    return folder


def write_images(folder: Path, rows: int) -> None:
    """Writes what stands for the images: files that hold their paths."""
    for line in pictures(rows):
        path = folder / "Flickr" / line.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line)


def photo(line: str) -> str:
    return line.split("_")[-1].removesuffix(".jpg")


def text(row: int) -> str:
    """All tags of a picture, some of them beyond ASCII; none where the row is divisible by 4."""
    return "" if row % 4 == 0 else f"überall word{row} été"


def zero_one(values: np.ndarray) -> bytes:
    return _characters(values, b"\n")


def trailing_tabs(values: np.ndarray) -> bytes:
    return _characters(values, b"\t\n")


def trailing_spaces(values: np.ndarray) -> bytes:
    lines = [" ".join(map("{:.9g}".format, row)) for row in values.tolist()]
    return "".join(f"{line} \n" for line in lines).encode()


def _characters(values: np.ndarray, end: bytes) -> bytes:
    """0 and 1 with tabs between them; fast, for matrices of thousands of rows."""
    rows, columns = values.shape
    characters = np.full((rows, 2 * columns - 1 + len(end)), ord("\t"), np.uint8)
    characters[:, : 2 * columns : 2] = values + ord("0")
    characters[:, 2 * columns - 1 :] = list(end)
    return characters.tobytes()


def _write(folder: Path, name: str, half: str, values: np.ndarray, whole: bool, encode) -> None:
    if whole:
        (folder / name.format("")).write_bytes(encode(values))
        return
    for part, rows in zip(("Train", "Test"), halves(len(values)), strict=True):
        (folder / name.format(half.format(part))).write_bytes(encode(values[rows]))
