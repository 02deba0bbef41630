"""Figure beyond the paper: angles between codes and class directions (§3.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.model.angular_softmax import AngularSoftmax
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.runs import Runs
from xgacmn_tf.paper.scores import read_codes
from xgacmn_tf.paper.studies import Study
from xgacmn_tf.runs.checkpoint import load_encoder

_BINS = np.linspace(0, 180, 61)

# Modality → degrees to the categories of the items, and degrees to all other categories.
Angles = dict[str, tuple[np.ndarray, np.ndarray]]


def figure(runs: Runs, study: Study, settings: dict[str, str]) -> Figure:
    """Return the figure with a row for each setting, flag file → title, that has finished runs."""
    by_title = {
        title: [angles_of(run) for run in runs.finished(label)]
        for label, title in settings.items()
        if runs.finished(label)
    }
    name = f"angles_{study.label}"
    seeds = max(map(len, by_title.values()))
    pooled = document.seeds_in_words(1) if seeds == 1 else f"seeds 0–{seeds - 1} together"
    return Figure(
        name,
        f"Angles between codes and class directions, {study.title}: to an item's own categories "
        f"and to all others, test split, {pooled}. Dotted lines: medians.",
        draw(by_title, runs.request.output, name),
    )


def class_directions(class_layer: Any) -> np.ndarray:
    """Return (d, c) class directions of unit length; for plain softmax, its bias is left out."""
    if isinstance(class_layer, AngularSoftmax):
        return np.asarray(class_layer.directions())
    weights = np.asarray(class_layer.dense.kernel)
    return weights / np.linalg.norm(weights, axis=0)


def angles_of(run: Experiment) -> Angles:
    """Return the angles of all test items of a run."""
    codes = read_codes(run.folder)
    directions = class_directions(load_encoder(run.folder.best).class_layer)
    own = np.zeros((len(codes.id), directions.shape[1]), bool)
    targets = codes.targets()
    own[:, : targets.shape[1]] = targets > 0
    angles = {}
    for modality, unit in zip(("image", "text"), codes.represented["cosine"], strict=True):
        degrees = np.degrees(np.arccos(np.clip(unit @ directions, -1, 1)))
        angles[modality] = degrees[own], degrees[~own]
    return angles


def draw(by_title: dict[str, list[Angles]], output: Path, name: str) -> str:
    """Draw a row for each title and a column for each modality; return the path of the PNG."""

    def draw_panel(panel: Any, title: str, modality: str) -> None:
        own, others = (
            np.concatenate([angles[modality][part] for angles in by_title[title]])
            for part in (0, 1)
        )
        parts = ((others, "#BBBBBB", "other"), (own, drawing.MODALITY[modality], "own"))
        for values, color, label in parts:
            median = np.median(values)
            label = f"{label} (median {median:.0f}°)"
            panel.hist(values, _BINS, density=True, color=color, alpha=0.75, label=label)
            panel.axvline(median, color=color, ls=":", lw=1.4)
        panel.set_title(f"{title}: {modality}s")
        panel.legend(loc="upper right")

    def finish(figure: Any, axes: np.ndarray) -> None:
        drawing.name_axes(axes, "angle in degrees", "density")
        # Space for the legends above the bars.
        axes[0, 0].set_ylim(top=1.35 * axes[0, 0].get_ylim()[1])
        axes[0, 0].set_xticks(range(0, 181, 30))

    rows, size = list(by_title), (7.2, 2.3 * len(by_title))
    return drawing.grid(output, name, size, rows, ("image", "text"), draw_panel, finish)
