"""The common style of all figures, and their PNG and SVG files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xgacmn_tf.io.files import atomic_path

# Colors of Okabe and Ito, which can be told apart with any color vision.
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
_INK, _FAINT = "#333333", "#DDDDDD"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "xgacmn_tf",
}


@contextlib.contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Make a figure in the common style, in inches, to be drawn inside the block."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), dpi=200, layout="constrained")


def save(drawn: Figure, output: Path, name: str) -> str:
    """Write figures/<name>.png and .svg below `output`; return the path of the PNG relative to it.

    The same figure always results in the same bytes.
    """
    folder = output / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        with atomic_path(folder / f"{name}.png") as temporary:
            FigureCanvasAgg(drawn).print_png(temporary, metadata={"Software": None})
        with atomic_path(folder / f"{name}.svg") as temporary:
            FigureCanvasSVG(drawn).print_svg(temporary, metadata={"Date": None})
    return f"figures/{name}.png"


def legend_entry(color: str, marker: str, label: str) -> Line2D:
    """Return a legend entry for points."""
    return Line2D([], [], color=color, marker=marker, ls="", markersize=5, label=label)
