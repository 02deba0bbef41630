"""Figure beyond the paper: the gap between the modalities' codes before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xgacmn_tf import datasets
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure, Table
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.runs import Runs
from xgacmn_tf.paper.scores import read_codes
from xgacmn_tf.paper.studies import Study
from xgacmn_tf.runs.xgacmn import build_model

FOLDS = 5
UNTRAINED = "before training"
_TITLES = {
    "distance": "distance of the centroids",
    "accuracy": "modality by logistic regression",
}


class Gap(NamedTuple):
    """The gap between the codes of images and of texts, all at unit length.

    Attributes:
      distance: Euclidean distance of the two means, in [0, 2].
      accuracy: cross-validated accuracy of a logistic regression that classifies codes by
        modality; one half is chance.
    """

    distance: float
    accuracy: float


def gap_of(image: np.ndarray, text: np.ndarray, seed: int = 0) -> Gap:
    """Return the gap between unit-length codes (n, d); row i of both is the same pair."""
    codes = np.concatenate([image, text])
    modality = np.repeat([0, 1], [len(image), len(text)])
    # The image and the text of a pair belong to the same fold, or one would reveal the other.
    pairs = np.tile(np.arange(len(image)), 2)
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    accuracy = cross_val_score(classifier, codes, modality, groups=pairs, cv=folds)
    distance = np.linalg.norm(image.mean(axis=0) - text.mean(axis=0))
    return Gap(float(distance), float(accuracy.mean()))


def figure(runs: Runs, study: Study, settings: dict[str, str]) -> tuple[Figure, Table]:
    """Return the figure and table of each setting, flag file → title.

    The first setting is also shown before training.
    """
    first = next(iter(settings))
    gaps = [(UNTRAINED, seed, _untrained(run)) for seed, run in enumerate(runs.finished(first))]
    for label, title in settings.items():
        for seed, run in enumerate(runs.finished(label)):
            gaps.append((title, seed, gap_of(*read_codes(run.folder).represented["cosine"])))
    values = pd.DataFrame(
        {"study": study.label, "setting": title, "seed": seed, **gap._asdict()}
        for title, seed, gap in gaps
    )
    cells = values.groupby("setting", sort=False)[list(_TITLES)].agg(_spread).reset_index()
    cells.columns = ["setting", "centroid distance", "accuracy"]
    cells.index = [""] * len(cells)
    name = f"modality_gap_{study.label}"
    seeds = document.seeds_in_words(values["seed"].max() + 1)
    caption = (
        f"The gap between modalities, {study.title}: distance between the mean image and the mean "
        "text code, and the accuracy of a logistic regression that classifies codes as images or "
        f"texts ({FOLDS}-fold cross-validation, pairs in one fold; one half is chance). "
        f"Codes of the test split at unit length; {seeds}."
    )
    table = Table(name, f"The same as numbers, {study.title}; {seeds}.", cells, values)
    return Figure(name, caption, draw(values, runs.request.output, name)), table


def draw(values: pd.DataFrame, output: Path, name: str) -> str:
    """Draw both measures, a line for each setting; return the path of the PNG."""
    settings = values["setting"].unique().tolist()

    def draw_panel(panel: Any, title: str, measure: str) -> None:
        for line, (_, seeds) in enumerate(values.groupby("setting", sort=False)[measure]):
            color, sd = drawing.BLUE if line else drawing.BLACK, document.deviation(seeds) or 0
            panel.errorbar(seeds.mean(), line, xerr=sd, fmt="o", color=color, capsize=3)
        panel.set_title(_TITLES[measure])

    def finish(figure: Any, axes: np.ndarray) -> None:
        distances, accuracies = axes[0]
        limits = 0, 1.1 * values["distance"].max()
        distances.set(xlim=limits, xlabel="Euclidean distance", ylim=(len(settings) - 0.5, -0.5))
        distances.set_yticks(range(len(settings)), settings)
        accuracies.axvline(0.5, color="#888888", ls=":", lw=1.4)
        accuracies.set(xlim=(0.4, 1.02), xlabel="accuracy (dotted: chance)")

    size = (7.2, 0.9 + 0.38 * len(settings))
    return drawing.grid(output, name, size, ("",), list(_TITLES), draw_panel, finish, (False, True))


def _untrained(run: Experiment) -> Gap:
    """Return the gap of the run's encoders as initialized, before the first step."""
    data = datasets.for_config(run.config)
    encoder = build_model(run.config, data).encoder
    codes = encoder.codes(data.test.image, data.test.text)
    return gap_of(*(encoder.represent(code, "cosine").numpy() for code in codes))


def _spread(values: pd.Series) -> str:
    # With the leading digit, because a distance may exceed 1.
    mean = f"{values.mean():.3f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.3f}"
