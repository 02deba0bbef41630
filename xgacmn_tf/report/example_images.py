"""Example queries with their first results as one image, for TensorBoard."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.report.examples import GRADE_NAMES, GRADES, Example
from xgacmn_tf.report.projector import fitted_image
from xgacmn_tf.report.results_page import Items

WAY_NAMES = {"i2t": "images find texts", "t2i": "texts find images"}
# As on the results page.
_COLORS = {"own": "#7a45b8", "fine": "#14794a", "category": "#8a6100", "none": "#b42836"}
_CELL, _DPI, _TILE = 1.25, 100, 96
# In cells: the height of the heading, and half the distance between frames.
_HEADING, _GAP = 0.3, 0.03
_CHARACTERS, _LINES = 17, 6


def draw_examples(
    examples: Sequence[Example], way: str, split: Split, label_names: Sequence[str]
) -> np.ndarray:
    """Draw one row per query: the query on the left, then its hits, best first.

    An item of a split without thumbnails is drawn as its title and categories, so that the image
    becomes a table.

    Args:
      examples: at least one query, each with at least one hit.
      way: "i2t" or "t2i".
      split: the split that the rows of the examples are of.
      label_names: the names of the categories.

    Returns:
      (height, width, 3) uint8.
    """
    items = Items(split, label_names)
    columns = 1 + max(len(example.hits) for example in examples)
    figure = Figure(figsize=(_CELL * columns, _CELL * (len(examples) + _HEADING)), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    # One pair of axes whose unit is a cell: a pair of axes for each cell takes twice as long.
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    query_is_image = way == "i2t"
    for row, example in enumerate(examples):
        note = f"own item: rank {example.own_rank}"
        _draw_item(axes, (0, row), split, items, example.row, query_is_image, note, "black")
        for column, hit in enumerate(example.hits, start=1):
            note, color = f"{GRADES[hit.grade]} {hit.rank}", _COLORS[hit.grade]
            _draw_item(axes, (column, row), split, items, hit.row, not query_is_image, note, color)
            frame = Rectangle((column + _GAP, row + _GAP), 1 - 2 * _GAP, 1 - 2 * _GAP)
            frame.set(fill=False, edgecolor=color, linewidth=2)
            axes.add_patch(frame)
    legend = "   ".join(f"{mark} {GRADE_NAMES[grade]}" for grade, mark in GRADES.items())
    axes.text(_GAP, 0.06 - _HEADING, f"query, then its hits:   {legend}", va="top", fontsize=8)
    axes.set(xlim=(0, columns), ylim=(len(examples), -_HEADING), aspect="auto")
    with warnings.catch_warnings():
        # Titles in a script that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_item(
    axes: Axes,
    cell: tuple[int, int],
    split: Split,
    items: Items,
    row: int,
    is_image: bool,
    note: str,
    color: str,
) -> None:
    """Draw one side of a pair into a cell (column, row), below a note such as its rank."""
    (x, y), pair = cell, items.pair(row)
    if is_image and split.thumbnail is not None:
        image = fitted_image(split.thumbnail[row], _TILE)
        axes.imshow(np.asarray(image), extent=(x + 0.12, x + 0.88, y + 0.95, y + 0.21))
    else:
        title = pair["id"] if is_image else pair["text"]
        lines = _wrapped(f"{title} ({pair['labels']})")
        if len(lines) > _LINES:
            lines = [*lines[: _LINES - 1], "…"]
        axes.text(x + 0.08, y + 0.24, "\n".join(lines), va="top", fontsize=7, parse_math=False)
    axes.text(x + 0.08, y + 0.07, note, va="top", fontsize=8, color=color)


def _wrapped(text: str) -> list[str]:
    """Return lines of a text, which may also break at its zero-width spaces."""
    marked = text.replace("\u200b", "\0 ")
    lines = textwrap.wrap(marked, _CHARACTERS)
    return [line.replace("\0 ", "").removesuffix("\0") for line in lines]
