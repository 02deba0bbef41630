"""Line charts of the history of a run, for the results page.

Colors tell the modalities apart (image, text, both together), dashes the second term of one
modality. All colors are readable on a light and on a dark page.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLORS = {"image": "#3d7fe0", "text": "#d0701c", "both": "#9a63d4", "ink": "#7b8896"}
_LABEL, _GRID = "#7b8896", "#7b889655"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "chart",
    "font.size": 9,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _LABEL,
    "xtick.color": _LABEL,
    "ytick.color": _LABEL,
    "grid.color": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "axes.axisbelow": True,
    "axes.xmargin": 0.02,
}
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        key: of the history.
        name: shown in the legend.
        color: a key of `COLORS`.
        dashed: whether the line is dashed.
    """

    key: str
    name: str
    color: str
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """The content of a chart; `level` is a value that is marked, such as the chance level."""

    title: str
    note: str
    series: tuple[Series, ...]
    level: float | None = None


class DrawnChart(NamedTuple):
    """A chart as an image.

    Attributes:
        title, note: see `Chart`.
        series: the lines that the history has values for.
        uri: the SVG image as a data URI.
        description: the first and the last value of each line, for screen readers.
    """

    title: str
    note: str
    series: tuple[Series, ...]
    uri: str
    description: str


CHARTS = (
    Chart(
        "Validation mAP",
        "Higher is better; the best epoch is chosen by it.",
        (
            Series("validation/mAP/i2t", "image → text", "image"),
            Series("validation/mAP/t2i", "text → image", "text"),
            Series("validation/mAP/avg", "average", "ink"),
        ),
    ),
    Chart(
        "Angle to own class",
        "Mean degrees between a code and its class direction; lower is tighter.",
        (Series("angle/image", "image", "image"), Series("angle/text", "text", "text")),
    ),
    Chart(
        "Generator losses",
        "What the two encoders minimize, by term.",
        (
            Series("G/loss", "total", "ink"),
            Series("G/image_adversarial", "image, adversarial", "image"),
            Series("G/text_adversarial", "text, adversarial", "text"),
            Series("G/image_classification", "image, class", "image", dashed=True),
            Series("G/text_classification", "text, class", "text", dashed=True),
            Series("G/pair", "pair", "both"),
        ),
    ),
    Chart(
        "Discriminator losses",
        "What the three discriminators minimize.",
        (
            Series("D/loss", "total", "ink"),
            Series("D/image_loss", "image", "image"),
            Series("D/text_loss", "text", "text"),
            Series("D/common_loss", "common space", "both"),
        ),
    ),
    Chart(
        "Discriminator accuracy",
        "At one half the discriminators can only guess.",
        (
            Series("D/image_accuracy", "image", "image"),
            Series("D/text_accuracy", "text", "text"),
            Series("D/common_accuracy", "common space", "both"),
        ),
        level=0.5,
    ),
)


def draw_charts(
    history: Sequence[Mapping[str, Any]], best_epoch: int | None = None
) -> list[DrawnChart]:
    """Return all charts that the history has values for, in reading order.

    The same history gives the same charts.

    Args:
        history: one dictionary of logged numbers per epoch; missing keys and numbers that are not
            finite are left out.
        best_epoch: marked by a vertical line.
    """
    charts = []
    for chart in CHARTS:
        lines = [(s, points) for s in chart.series if (points := _points(history, s.key))]
        if not lines:
            continue
        with matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=(5.0, 2.7), layout="constrained")
            figure.patch.set_visible(False)
            _draw(figure.add_subplot(), lines, chart.level, best_epoch)
            stream = io.BytesIO()
            FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
        uri = f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
        description = "; ".join(
            f"{series.name}: {points[0][1]:.3g} at epoch {points[0][0]:g}, "
            f"{points[-1][1]:.3g} at epoch {points[-1][0]:g}"
            for series, points in lines
        )
        series = tuple(series for series, _ in lines)
        charts.append(DrawnChart(chart.title, chart.note, series, uri, description))
    return charts


def _points(history: Sequence[Mapping[str, Any]], key: str) -> Points:
    """Return (epoch, value) for each finite value of a key."""
    points = [(float(logs["epoch"]), float(logs.get(key, math.nan))) for logs in history]
    return [(epoch, value) for epoch, value in points if math.isfinite(value)]


def _draw(
    axes: Axes,
    lines: Sequence[tuple[Series, Points]],
    level: float | None,
    best_epoch: int | None,
) -> None:
    axes.patch.set_visible(False)
    for series, points in lines:
        axes.plot(
            *zip(*points, strict=True),
            color=COLORS[series.color],
            linestyle="--" if series.dashed else "-",
            linewidth=2.0,
            marker="o" if len(points) == 1 else None,
        )
    values = [y for _, points in lines for _, y in points]
    # Terms of very different sizes share a chart; on a linear axis, the small ones are flat.
    if min(values) > 0 and max(values) / min(values) > 30:
        axes.set_yscale("log")
    if level is not None:
        axes.axhline(level, color=_LABEL, linewidth=1)
    if best_epoch is not None:
        axes.axvline(best_epoch, color=_LABEL, linewidth=1.4, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y", linewidth=0.8)
    axes.set_xlabel("epoch")
