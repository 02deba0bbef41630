"""What a results section is made of, before anyone says in which language it is written."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xgacmn_tf.io.files import atomic_path

Mark = Literal["best", "second", ""]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A figure, or a word. `mark` says how it compares with the others of its column and block."""

    text: str
    mark: Mark = ""


Line = Sequence[str | Cell]


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows that compare with each other, under a title of their own unless it is empty."""

    title: str
    lines: Sequence[Line]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      label: what its files and references are called.
      caption: names measure, depth, normaliser, similarity and seeds.
      header: names of the columns; the first is set left, the others right.
      blocks: the rows.
      rows: the same for a CSV file, unrounded; all have the same keys.
      notes: sentences below it, one a line.
    """

    label: str
    caption: str
    header: Sequence[str]
    blocks: Sequence[Block]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure that was drawn: `path` is its PNG, relative to the document; an SVG lies beside."""

    label: str
    caption: str
    path: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A titled part: paragraphs, then tables and pictures, then what is missing and why."""

    title: str
    paragraphs: Sequence[str] = ()
    parts: Sequence[Table | Figure] = ()
    missing: Sequence[str] = ()


def number(value: float, digits: int = 3) -> str:
    """Some digits after the point, without a leading zero: .342, −.013."""
    text = f"{abs(value):.{digits}f}".removeprefix("0")
    return f"−{text}" if value < 0 and float(f"{value:.{digits}f}") != 0 else text


def spread(values: np.ndarray) -> str:
    """Mean ± standard deviation over seeds; the mean alone of one seed."""
    mean = number(float(values.mean()))
    return mean if len(values) < 2 else f"{mean} ± {number(deviation(values) or 0.0)}"


def deviation(values: np.ndarray) -> float | None:
    """The standard deviation over seeds, which one seed does not have."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def seeds_in_words(count: int) -> str:
    """What a caption says of the seeds."""
    return "seed 0" if count == 1 else f"mean ± sd over seeds 0–{count - 1}"


def marks(values: Sequence[float | None]) -> list[Mark]:
    """ "best" and "second" of a column; equal printed figures share a mark, None has none."""
    ordered = sorted({round(value, 3) for value in values if value is not None}, reverse=True)
    names: dict[float, Mark] = dict(zip(ordered, ("best", "second"), strict=False))
    return ["" if value is None else names.get(round(value, 3), "") for value in values]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows that have the same keys; None is an empty field."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
