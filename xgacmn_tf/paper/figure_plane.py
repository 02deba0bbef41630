"""Fig. 4: Wikipedia's training features in a common space of two dimensions.

It has flag files of its own, because two dimensions need other settings than a hundred; each file
explains the changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf import datasets
from xgacmn_tf.paper import drawing
from xgacmn_tf.paper.document import Figure, Section
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.figure_angles import class_directions
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.studies import ABLATED, study
from xgacmn_tf.runs.checkpoint import load_encoder

TITLE = "Figure 4: the common space in two dimensions"
# Row → flag files without and with the pair term.
ROWS = {
    "softmax": ("figure_4_softmax", "figure_4_softmax_l2"),
    "A-softmax": ("figure_4_a_softmax", "figure_4_a_softmax_l2"),
}
COLUMNS = ("images alone", "both, without l2", "both, with l2")
_MARKERS = {"image": "o", "text": "^"}


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """The content of a panel.

    Attributes:
      codes: modality → (n, 2).
      label: (n,) categories.
      directions: (2, c) class directions of unit length.
    """

    codes: dict[str, np.ndarray]
    label: np.ndarray
    directions: np.ndarray


def experiments(request: Request) -> list[Experiment]:
    """Return one run of each setting, because a panel shows a single seed."""
    labels = [label for row in ROWS.values() for label in row]
    return [run for label in labels for run in request.experiments(label, seeds=1)]


def section(runs: Runs) -> Section:
    """Return the section with one figure of six panels."""
    labels = [label for row in ROWS.values() for label in row]
    missing = [runs.short_reason(label) for label in labels if label in runs.missing]
    failed = [f"{run.label}: {error}" for run, error in runs.failed.items() if run.label in labels]
    if missing or failed:
        return Section(TITLE, missing=list(dict.fromkeys([*missing, *failed])))
    planes = {label: plane(runs.finished(label)[0]) for label in labels}
    names = datasets.for_config(runs.finished(labels[0])[0].config).label_names
    panels = [
        [
            (f"{row}, {COLUMNS[0]}", planes[without], ("image",)),
            (f"{row}, {COLUMNS[1]}", planes[without], ("image", "text")),
            (f"{row}, {COLUMNS[2]}", planes[with_l2], ("image", "text")),
        ]
        for row, (without, with_l2) in ROWS.items()
    ]
    shown = runs.finished("figure_4_a_softmax_l2")[0]
    config, encoder = shown.config, load_encoder(shown.folder.best)
    dropout = [
        f"{part.config['dropout']:g}" for part in (encoder.image_encoder, encoder.text_encoder)
    ]
    caption = (
        f"Figure 4: codes of the training pairs, {study(ABLATED).title}, in a common space of two "
        "dimensions without its last tanh; circles are images, triangles texts, colors "
        "categories, rays the class directions. The first column shows the images of the second "
        f"alone. A-softmax: m = {config.model.margin}, weight of the plain cosine "
        f"{_margin_weight(config.model.annealing)}; l2: λ1 = {config.model.lambda_1:g}; "
        f"dropout {' and '.join(dropout)}, generators' learning rate "
        f"{config.training.generator_learning_rate:g}: chosen on a validation part of the training "
        "split, because the settings of 100 dimensions learn poorly in two. "
        f"{epochs_in_words({label: runs.finished(label)[0] for label in labels})} "
        "Seed 0. Axes differ between panels, and the outermost 1 % of the codes is not shown."
    )
    path = draw(panels, names, runs.request.output, "figure_4")
    return Section(TITLE, parts=[Figure("figure_4", caption, path)])


def epochs_in_words(runs: Mapping[str, Experiment]) -> str:
    """Return a sentence on the number of epochs of each run; the keys are flag files."""
    parts = []
    for label, run in runs.items():
        metrics = run.folder.read_metrics()
        part = (
            f"{label.removeprefix('figure_4_')} {metrics['trained_epochs']} of at most "
            f"{metrics['planned_epochs']}, the best {metrics['best_epoch']}"
        )
        if "refit" in metrics:
            part += f", then {metrics['refit']['epochs']} on all {metrics['refit']['pairs']} pairs"
        parts.append(part)
    return f"Epochs: {'; '.join(parts)}."


def plane(run: Experiment) -> Plane:
    """Return the codes of a run's training pairs, as trained."""
    train = datasets.for_config(run.config).train
    encoder = load_encoder(run.folder.best)
    image, text = encoder.codes(train.image, train.text)
    return Plane(
        {"image": image.numpy(), "text": text.numpy()},
        train.label,
        class_directions(encoder.class_layer),
    )


def draw(
    panels: list[list[tuple[str, Plane, tuple[str, ...]]]],
    names: tuple[str, ...],
    output: Path,
    name: str,
) -> str:
    """Draw the panels; return the path of the PNG.

    Args:
      panels: rows of (title, plane, modalities to draw).
      names: of the categories.
      output, name: see `drawing.save`.
    """
    with drawing.figure(10.2, 3.4 * len(panels) + 0.5) as drawn:
        axes = drawn.subplots(len(panels), len(panels[0]))
        for panel, (title, shown, modalities) in zip(
            axes.ravel(), [panel for row in panels for panel in row], strict=True
        ):
            _draw_plane(panel, shown, modalities)
            panel.set_title(title)
        handles = [
            drawing.legend_entry(
                drawing.CATEGORIES[k % len(drawing.CATEGORIES)], "s", f"{k + 1} {category}"
            )
            for k, category in enumerate(names)
        ]
        handles += [drawing.legend_entry("#777777", mark, name) for name, mark in _MARKERS.items()]
        drawn.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8)
        return drawing.save(drawn, output, name)


def _draw_plane(panel: Any, shown: Plane, modalities: tuple[str, ...]) -> None:
    codes = np.concatenate([shown.codes[modality] for modality in modalities])
    limit = float(np.quantile(np.abs(codes).max(axis=1), 0.99)) * 1.05
    for modality in modalities:
        colors = [drawing.CATEGORIES[k % len(drawing.CATEGORIES)] for k in shown.label]
        panel.scatter(
            *shown.codes[modality].T, s=5, c=colors, marker=_MARKERS[modality], alpha=0.5,
            linewidths=0, rasterized=True,
        )  # fmt: skip
    for k, direction in enumerate(shown.directions.T):
        color = drawing.CATEGORIES[k % len(drawing.CATEGORIES)]
        tip = direction * limit * 0.93 / np.abs(direction).max()
        panel.plot([0, tip[0]], [0, tip[1]], color=color, lw=1.1)
        panel.text(
            *tip, str(k + 1), ha="center", va="center", fontsize=7, weight="bold",
            bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": color, "lw": 0.8},
        )  # fmt: skip
    panel.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")


def _margin_weight(annealing: dict[str, float]) -> str:
    if annealing["base"] == 0:
        return f"constant at {annealing['floor']:g}"
    return f"annealed from {annealing['base']:g} to {annealing['floor']:g}"
