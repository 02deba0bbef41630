"""Figure beyond the paper: X-GACMN's losses, accuracies and angles over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure
from xgacmn_tf.paper.runs import Runs
from xgacmn_tf.paper.studies import Study
from xgacmn_tf.report.curves import CHARTS, Chart
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.training.callbacks import ScalarBoard, logged_name

_COLORS = {**drawing.MODALITY, "both": drawing.GREEN, "ink": drawing.BLACK}

# Logged name → epoch → value.
History = dict[str, dict[int, float]]


def figure(runs: Runs, study: Study) -> Figure:
    """Return the figure of X-GACMN's runs on a study."""
    finished = runs.finished(study.label)
    histories = [read_history(run.folder) for run in finished]
    name = f"learning_curves_{study.label}"
    charts = [chart for chart in CHARTS if any(s.key in histories[0] for s in chart.series)]
    validation = "" if charts[0] is CHARTS[0] else " There was no validation split."
    return Figure(
        name,
        f"Learning curves of X-GACMN, {study.title}: means over the training pairs of an epoch; "
        f"{document.seeds_in_words(len(finished))} (band: ± sd), as far as all of them trained."
        f"{validation}",
        draw(charts, histories, runs.request.output, name),
    )


def read_history(folder: RunFolder) -> History:
    """Read the TensorBoard file of a run.

    Raises:
      InputError: it is missing, or there are several.
    """
    files = list(folder.tensorboard.glob(f"*{ScalarBoard.SUFFIX}"))
    if len(files) != 1:
        raise InputError(
            f"{folder.tensorboard} holds {len(files)} files of scalars, expected one; delete "
            f"{folder.path} and run the same command again"
        )
    events = EventAccumulator(str(files[0]), size_guidance={"tensors": 0})
    events.Reload()
    return {
        logged_name(tag): {
            e.step: float(tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)
        }
        for tag in events.Tags()["tensors"]
    }


def common_epochs(curves: Sequence[Mapping[int, float]]) -> list[int]:
    """Return the epochs at which all curves have a value, ascending."""
    return sorted(set.intersection(*(set(curve) for curve in curves)))


def draw(charts: Sequence[Chart], histories: Sequence[History], output: Path, name: str) -> str:
    """Draw a panel for each chart; return the path of the PNG."""
    rows = range((len(charts) + 1) // 2)

    def draw_panel(panel: Any, row: int, column: int) -> None:
        if 2 * row + column == len(charts):
            panel.set_axis_off()
            return
        chart, means = charts[2 * row + column], []
        for series in chart.series:
            if series.key not in histories[0]:
                continue
            # Runs stop at different epochs, and not every epoch is evaluated.
            epochs = common_epochs([history[series.key] for history in histories])
            if not epochs:
                continue
            values = np.array([[h[series.key][epoch] for epoch in epochs] for h in histories])
            means += [*values.mean(axis=0)]
            style = {"ls": (0, (4, 2)) if series.dashed else "-", "label": series.name}
            marker = "o" if len(epochs) == 1 else None
            drawing.draw_seeds(panel, epochs, values, _COLORS[series.color], marker=marker, **style)
        # On a linear axis, small terms beside large ones would look constant.
        if means and min(means) > 0 and max(means) / min(means) > 30:
            panel.set_yscale("log")
        if chart.level is not None:
            panel.axhline(chart.level, color="#888888", ls=":", lw=1.4)
        panel.set_title(chart.title)
        panel.set_xlabel("epoch")
        # Below the panel, because no corner is free of curves.
        panel.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))

    size = 7.6, 2.8 * len(rows)
    return drawing.grid(output, name, size, rows, range(2), draw_panel, share=(False, False))
