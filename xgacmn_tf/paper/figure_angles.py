"""Beyond the paper: angles between codes and class directions, which A-softmax is about (§3.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.model.angular_softmax import AngularSoftmax
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure
from xgacmn_tf.paper.runs import Runs
from xgacmn_tf.paper.scores import read_codes
from xgacmn_tf.paper.studies import Study
from xgacmn_tf.runs.checkpoint import load_encoder

_BINS = np.linspace(0, 180, 61)


def picture(runs: Runs, study: Study, settings: dict[str, str]) -> Figure:
    """A row for each setting, flag file → title, that has finished runs."""
    found = {
        title: [angles(cell) for cell in runs.finished(label)]
        for label, title in settings.items()
        if runs.finished(label)
    }
    name = f"angles_{study.label}"
    seeds = max(len(of_runs) for of_runs in found.values())
    return Figure(
        name,
        f"Angles between codes and class directions, {study.title}: to an item's own categories "
        f"and to all others, test split, {_pooled(seeds)}. Dotted lines: medians.",
        draw(found, runs.request.output, name),
    )


def class_directions(class_layer: Any) -> np.ndarray:
    """(d, c) unit-length class directions; those of plain softmax leave its bias out."""
    if isinstance(class_layer, AngularSoftmax):
        return np.asarray(class_layer.directions())
    weights = np.asarray(class_layer.dense.kernel)
    return weights / np.linalg.norm(weights, axis=0)


def angles(cell: Experiment) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Modality → degrees to own categories and degrees to others, of all test items of a run."""
    codes = read_codes(cell.folder)
    directions = class_directions(load_encoder(cell.folder.best).class_layer)
    own = np.zeros((len(codes.id), directions.shape[1]), bool)
    targets = codes.targets()
    own[:, : targets.shape[1]] = targets > 0
    found = {}
    for modality, unit in zip(("image", "text"), codes.represented["cosine"], strict=True):
        degrees = np.degrees(np.arccos(np.clip(unit @ directions, -1, 1)))
        found[modality] = degrees[own], degrees[~own]
    return found


def draw(
    found: dict[str, list[dict[str, tuple[np.ndarray, np.ndarray]]]], output: Path, name: str
) -> str:
    """Draws a row for each title and a column for each modality; returns the PNG's path."""
    with drawing.figure(7.2, 2.3 * len(found)) as figure:
        axes = figure.subplots(len(found), 2, sharex=True, sharey=True, squeeze=False)
        for row, (title, of_runs) in zip(axes, found.items(), strict=True):
            for panel, modality in zip(row, ("image", "text"), strict=True):
                own, others = (
                    np.concatenate([of_run[modality][kind] for of_run in of_runs])
                    for kind in (0, 1)
                )
                parts = ((others, "#BBBBBB", "other"), (own, drawing.MODALITY[modality], "own"))
                for values, colour, label in parts:
                    panel.hist(
                        values, _BINS, density=True, color=colour, alpha=0.75,
                        label=f"{label} (median {np.median(values):.0f}°)",
                    )  # fmt: skip
                    panel.axvline(np.median(values), color=colour, ls=":", lw=1.4)
                panel.set_title(f"{title}: {modality}s")
                panel.legend(loc="upper right")
        for panel in axes[-1]:
            panel.set_xlabel("angle in degrees")
        for panel in axes[:, 0]:
            panel.set_ylabel("density")
        # Room for the legends above the bars.
        axes[0, 0].set_ylim(top=1.35 * axes[0, 0].get_ylim()[1])
        axes[0, 0].set_xticks(range(0, 181, 30))
        return drawing.save(figure, output, name)


def _pooled(seeds: int) -> str:
    return document.seeds_in_words(1) if seeds == 1 else f"seeds 0–{seeds - 1} together"
