"""Example queries with their first results as one image, for TensorBoard."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.report.examples import GRADE_NAMES, GRADES, Example
from xgacmn_tf.report.projector import fitted_image
from xgacmn_tf.report.results_page import Items

WAY_NAMES = {"i2t": "images find texts", "t2i": "texts find images"}
# As on the results page.
_COLORS = {"own": "#7a45b8", "fine": "#14794a", "category": "#8a6100", "none": "#b42836"}
_CELL, _DPI, _TILE = 1.25, 100, 96
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
    size = _CELL * columns, _CELL * (len(examples) + 0.3)
    figure = Figure(figsize=size, dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(examples), columns, squeeze=False)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.3 * _CELL / size[1], 0.06, 0.06)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
        axis.spines[:].set_visible(False)
    query_is_image = way == "i2t"
    for row, example in zip(axes, examples, strict=True):
        note = f"own item: rank {example.own_rank}"
        _draw_item(row[0], split, items, example.row, query_is_image, note, "black")
        for axis, hit in zip(row[1:], example.hits, strict=False):
            note = f"{GRADES[hit.grade]} {hit.rank}"
            _draw_item(axis, split, items, hit.row, not query_is_image, note, _COLORS[hit.grade])
            axis.spines[:].set(visible=True, color=_COLORS[hit.grade], linewidth=2)
    legend = "   ".join(f"{mark} {GRADE_NAMES[grade]}" for grade, mark in GRADES.items())
    figure.text(
        0.005, 1 - 0.08 / size[1], f"query, then its hits:   {legend}", va="top", fontsize=8
    )
    with warnings.catch_warnings():
        # Titles in a script that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_item(
    axis: Axes, split: Split, items: Items, row: int, is_image: bool, note: str, color: str
) -> None:
    """Draw one side of a pair into a cell, below a note such as its rank."""
    pair = items.pair(row)
    if is_image and split.thumbnail is not None:
        image = fitted_image(split.thumbnail[row], _TILE)
        axis.imshow(np.asarray(image), extent=(0.1, 0.9, 0.0, 0.8), aspect="auto")
        axis.set(xlim=(0, 1), ylim=(0, 1))
    else:
        title = pair["id"] if is_image else pair["text"]
        lines = _wrapped(f"{title} ({pair['labels']})")
        if len(lines) > _LINES:
            lines = [*lines[: _LINES - 1], "…"]
        axis.text(
            0.06, 0.78, "\n".join(lines), va="top", fontsize=7, color="black", parse_math=False
        )
    axis.text(0.06, 0.96, note, va="top", fontsize=8, color=color)


def _wrapped(text: str) -> list[str]:
    """Return lines of a text, which may also break at its zero-width spaces."""
    marked = text.replace("\u200b", "\0 ")
    lines = textwrap.wrap(marked, _CHARACTERS)
    return [line.replace("\0 ", "").removesuffix("\0") for line in lines]
