"""Small tables in every format, with their images, and embeddings beside a table."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

Rows = Sequence[Mapping[str, Any]]
TEXTS = ("a red cat", "the blue dog", "green birds sing", "cats and dogs")
ROWS = [
    {
        "image": f"{'ab'[row % 2]}.png",
        "text": text,
        "label": "cat|dog",
        "split": ("train", "test")[row % 2],
    }
    for row, text in enumerate(TEXTS * 3)
]


def write_separated(path: Path, rows: Rows) -> None:
    """Write as spreadsheets do, with a byte order mark."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file, "excel-tab" if path.suffix == ".tsv" else "excel")
        table.writerow(rows[0])
        table.writerows(row.values() for row in rows)


def write_json_lines(path: Path, rows: Rows) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, rows: Rows) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)


FORMATS = {
    "csv": write_separated,
    "tsv": write_separated,
    "jsonl": write_json_lines,
    "parquet": write_parquet,
}


def write_table(path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4), "red").save(path.parent / name)
    FORMATS[path.suffix[1:]](path, ROWS)


def write_embedding_pair(path: Path) -> None:
    for name in ("image.npy", "text.npy"):
        np.save(path.parent / name, np.random.default_rng(0).normal(size=(40, 6)))
    rows = [{"label": "cat" if k % 2 else "dog"} for k in range(40)]
    write_separated(path.parent / "metadata.csv", rows)
