"""The common style of all figures, and their PNG and SVG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xgacmn_tf.io.files import atomic_path

# Colors of Okabe and Ito, which are distinguishable with any color vision.
BLUE, ORANGE, GREEN, RED, PURPLE, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#000000",
)  # fmt: skip
MODALITY = {"image": BLUE, "text": RED}
# Paul Tol's "muted" scheme with dark gray as the tenth color. With more categories the colors
# repeat, so every category is also numbered beside its points.
CATEGORIES = (
    "#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933",
    "#AA4499", "#444444",
)  # fmt: skip
DIRECTION = {"i2t": "image → text", "t2i": "text → image"}
Row = TypeVar("Row")
Column = TypeVar("Column")
_INK, _FAINT = "#333333", "#DDDDDD"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.edgecolor": "#888888",
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color", "text.color"), _INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "grid.color": _FAINT,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "xgacmn_tf",
}


def grid(
    output: Path,
    name: str,
    size: tuple[float, float],
    rows: Sequence[Row],
    columns: Sequence[Column],
    draw: Callable[[Any, Row, Column], None],
    finish: Callable[[Figure, np.ndarray], None] = lambda figure, axes: None,
    share: tuple[bool, bool] = (True, True),
) -> str:
    """Draw a figure of panels in the common style and write it to `output`.

    The same figure always results in the same bytes.

    Args:
      output: folder; the files are figures/<name>.png and .svg below it.
      name: name of the files.
      size: width and height in inches.
      rows, columns: content of the rows and of the columns of panels.
      draw: (panel, row, column) → draws one panel.
      finish: (figure, (rows, columns) panels) → completes the figure.
      share: whether panels share the limits of x and of y.

    Returns:
      The path of the PNG relative to `output`.
    """
    (output / "figures").mkdir(parents=True, exist_ok=True)
    path = f"figures/{name}.png"
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, dpi=200, layout="constrained")
        axes = figure.subplots(
            len(rows), len(columns), squeeze=False, sharex=share[0], sharey=share[1]
        )
        for panels, row in zip(axes, rows, strict=True):
            for panel, column in zip(panels, columns, strict=True):
                draw(panel, row, column)
        finish(figure, axes)
        with atomic_path(output / path) as temporary:
            FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})
        with atomic_path((output / path).with_suffix(".svg")) as temporary:
            FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None})
    return path


def name_axes(axes: np.ndarray, x: str, y: str) -> None:
    """Label the x axes of the last row and the y axes of the first column."""
    for panel in axes[-1]:
        panel.set_xlabel(x)
    for panel in axes[:, 0]:
        panel.set_ylabel(y)


def draw_seeds(panel: Any, x: Sequence[int], values: np.ndarray, color: str, **line: Any) -> None:
    """Draw the mean of (seeds, n) values as a line and their standard deviation as a band."""
    mean, sd = values.mean(axis=0), values.std(axis=0, ddof=int(len(values) > 1))
    panel.plot(x, mean, color=color, **line)
    panel.fill_between(x, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0)


def legend_entry(color: str, marker: str, label: str) -> Line2D:
    """Return a legend entry for points."""
    return Line2D([], [], color=color, marker=marker, ls="", markersize=5, label=label)
