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
from xgacmn_tf.training.automatic import generator_learning_rate

TITLE = "Figure 4: the common space in two dimensions"
# Row → flag files without and with the pair term.
ROWS = {
    "softmax": ("figure_4_softmax", "figure_4_softmax_l2"),
    "A-softmax": ("figure_4_a_softmax", "figure_4_a_softmax_l2"),
}
BOTH = ("image", "text")
# Title → number of the flag file in a row of `ROWS`, and the modalities that are drawn.
COLUMNS = {
    "images alone": (0, BOTH[:1]),
    "both, without l2": (0, BOTH),
    "both, with l2": (1, BOTH),
}
LABELS = [label for row in ROWS.values() for label in row]
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
    return [run for label in LABELS for run in request.experiments(label, seeds=1)]


def section(runs: Runs) -> Section:
    """Return the section with one figure of six panels."""
    missing = [runs.short_reason(label) for label in LABELS if label in runs.missing]
    failed = [f"{run.label}: {error}" for run, error in runs.failed.items() if run.label in LABELS]
    if missing or failed:
        return Section(TITLE, missing=list(dict.fromkeys([*missing, *failed])))
    finished = {label: runs.finished(label)[0] for label in LABELS}
    planes = {label: plane(run) for label, run in finished.items()}
    shown = finished["figure_4_a_softmax_l2"]
    dataset = datasets.for_config(shown.config)
    config, encoder = shown.config, load_encoder(shown.folder.best)
    dropout = [
        f"{part.config['dropout']:g}" for part in (encoder.image_encoder, encoder.text_encoder)
    ]
    learning_rate = generator_learning_rate(
        config.training.generator_learning_rate,
        len(dataset.train),
        max(dataset.image_dim, dataset.text_dim),
    )
    caption = (
        f"Figure 4: codes of the training pairs, {study(ABLATED).title}, in a common space of two "
        "dimensions without its last tanh; circles are images, triangles texts, colors "
        "categories, rays the class directions. The first column shows the images of the second "
        f"alone. A-softmax: m = {config.model.margin}, weight of the plain cosine "
        f"{_margin_weight(config.model.annealing)}; l2: λ1 = {config.model.lambda_1:g}; "
        f"dropout {' and '.join(dropout)}, generators' learning rate "
        f"{learning_rate:g}: chosen on a validation part of the training "
        "split, because the settings of 100 dimensions learn poorly in two. "
        f"{epochs_in_words(finished)} "
        "Seed 0. Axes differ between panels, and the outermost 1 % of the codes is not shown."
    )
    path = draw(planes, dataset.label_names, runs.request.output, "figure_4")
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


def draw(planes: dict[str, Plane], names: tuple[str, ...], output: Path, name: str) -> str:
    """Draw the panels; return the path of the PNG.

    Args:
      planes: flag file → content.
      names: names of the categories.
      output, name: see `drawing.grid`.
    """

    def draw_panel(panel: Any, row: str, column: str) -> None:
        number, modalities = COLUMNS[column]
        shown = planes[ROWS[row][number]]
        codes = np.concatenate([shown.codes[modality] for modality in modalities])
        limit = float(np.quantile(np.abs(codes).max(axis=1), 0.99)) * 1.05
        for modality in modalities:
            panel.scatter(
                *shown.codes[modality].T, s=5, c=[_color(k) for k in shown.label],
                marker=_MARKERS[modality], alpha=0.5, linewidths=0, rasterized=True,
            )  # fmt: skip
        for k, direction in enumerate(shown.directions.T):
            tip = direction * limit * 0.93 / np.abs(direction).max()
            panel.plot([0, tip[0]], [0, tip[1]], color=_color(k), lw=1.1)
            box = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": _color(k), "lw": 0.8}
            panel.text(
                *tip, str(k + 1), ha="center", va="center", fontsize=7, weight="bold", bbox=box
            )
        limits = -limit, limit
        panel.set(title=f"{row}, {column}", xlim=limits, ylim=limits, aspect="equal")

    def finish(figure: Any, axes: np.ndarray) -> None:
        entries = [(_color(k), "s", f"{k + 1} {category}") for k, category in enumerate(names)]
        entries += [("#777777", marker, modality) for modality, marker in _MARKERS.items()]
        handles = [drawing.legend_entry(*entry) for entry in entries]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8)

    size, columns = (10.2, 3.4 * len(ROWS) + 0.5), list(COLUMNS)
    return drawing.grid(output, name, size, list(ROWS), columns, draw_panel, finish, (False, False))


def _color(category: int) -> str:
    return drawing.CATEGORIES[category % len(drawing.CATEGORIES)]


def _margin_weight(annealing: dict[str, float]) -> str:
    if annealing["base"] == 0:
        return f"constant at {annealing['floor']:g}"
    return f"annealed from {annealing['base']:g} to {annealing['floor']:g}"
