"""A run's history as small line charts: SVG text that goes straight into a page.

Color says the modality (image, text, both together), dashes tell a second term of one modality
from the first. Colors are left to the page: every stroke is a CSS variable, so that one chart
serves light and dark.
"""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator


@dataclass(frozen=True)
class Series:
    """One line: the history's key, its name for a reader, the page's color name, and dashes."""

    key: str
    name: str
    color: str
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """What one chart shows. `level` is a value worth a faint line, such as guessing."""

    title: str
    note: str
    series: tuple[Series, ...]
    level: float | None = None


@dataclass(frozen=True)
class DrawnChart:
    """A chart with its SVG; `series` are those that the history holds."""

    title: str
    note: str
    series: tuple[Series, ...]
    svg: str


CHARTS = (
    Chart(
        "Validation mAP",
        "Higher is better; decides which epoch is kept.",
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

# Stand-ins that are swapped for the page's colors once Matplotlib has written the SVG.
_COLORS = {"image": "#0a0b01", "text": "#0a0b02", "both": "#0a0b03", "ink": "#0a0b04"}
_GRID, _LABEL = "#0a0b05", "#0a0b06"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _LABEL,
    "xtick.color": _LABEL,
    "ytick.color": _LABEL,
    "text.color": _LABEL,
    "grid.color": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


def _points(history: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """(epoch, value) wherever the history has the key with a finite number."""
    found = [
        (float(logs.get("epoch", i)), float(logs[key]))
        for i, logs in enumerate(history)
        if logs.get(key) is not None
    ]
    return [(x, y) for x, y in found if math.isfinite(x) and math.isfinite(y)]


def _tidy(svg: str, name: str, title: str, description: str) -> str:
    """Matplotlib's SVG file as an inline element: themed, titled, without ids that could clash."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # Only sets how lines join.
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r" font-family: [^;]*;", "", svg)  # The page's own.
    svg = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", svg)
    for color, stand_in in [*_COLORS.items(), ("grid", _GRID), ("label", _LABEL)]:
        svg = svg.replace(stand_in, f"var(--{color})")
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    opening = (
        f'<svg {box[0]} role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-text">{html.escape(description)}</desc>'
    )
    svg = opening + svg[svg.index(">") + 1 :]
    svg = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", svg)).strip()
    empty = r"<g/>|<g></g>|<defs></defs>"
    while re.search(empty, svg):
        svg = re.sub(empty, "", svg)
    return svg


def _describe(lines: Sequence[tuple[Series, list[tuple[float, float]]]]) -> str:
    """The chart in words, for whoever hears the page: where each line starts and ends."""
    return "; ".join(
        f"{series.name}: {points[0][1]:.3g} at epoch {points[0][0]:g}, "
        f"{points[-1][1]:.3g} at epoch {points[-1][0]:g}"
        for series, points in lines
    )


def draw_chart(
    chart: Chart, history: Sequence[Mapping[str, Any]], best_epoch: int | None = None
) -> DrawnChart | None:
    """Draws one chart; None if the history holds none of its series.

    The same history gives the same text on every call.

    Args:
      chart: what to draw.
      history: one dict of logged numbers an epoch; absent keys and non-finite numbers are left out.
      best_epoch: marked by an upright line.
    """
    drawn = [(series, _points(history, series.key)) for series in chart.series]
    lines = [(series, points) for series, points in drawn if points]
    if not lines:
        return None
    name = re.sub(r"[^a-z]+", "-", chart.title.lower())
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(5.0, 2.7), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        for series, points in lines:
            axes.plot(
                *zip(*points, strict=True),
                color=_COLORS[series.color],
                linestyle=(0, (4, 2)) if series.dashed else "-",
                linewidth=2.0,
                solid_capstyle="round",
                marker="o" if len(points) == 1 else None,
                clip_on=False,
            )
        values = [y for _, points in lines for _, y in points]
        # Terms of very different sizes share a chart; on a linear axis the small ones lie flat.
        if min(values) > 0 and max(values) / min(values) > 30:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5))
        if chart.level is not None:
            axes.axhline(chart.level, clip_on=False, color=_LABEL, linewidth=1)
        if best_epoch is not None:
            axes.axvline(
                best_epoch, clip_on=False, color=_LABEL, linewidth=1.4, linestyle=(0, (1, 1.6))
            )
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        epochs = [x for _, points in lines for x, _ in points]
        # One epoch alone stands in the middle of its axis, a longer history fills it.
        alone = 0.5 if min(epochs) == max(epochs) else 0.0
        axes.set_xlim(min(epochs) - alone, max(epochs) + alone)
        axes.grid(axis="y", linewidth=0.8, clip_on=False)
        axes.set_axisbelow(True)
        axes.set_xlabel("epoch")
        written = io.StringIO()
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})
    svg = _tidy(written.getvalue(), name, chart.title, _describe(lines))
    return DrawnChart(chart.title, chart.note, tuple(series for series, _ in lines), svg)


def draw_charts(
    history: Sequence[Mapping[str, Any]], best_epoch: int | None = None
) -> list[DrawnChart]:
    """All charts that the history has numbers for, in reading order."""
    charts = [draw_chart(chart, history, best_epoch) for chart in CHARTS]
    return [chart for chart in charts if chart is not None]
