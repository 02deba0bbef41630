"""Figure beyond the paper: the gap between the modalities' codes before and after training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

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


@dataclasses.dataclass(frozen=True)
class Gap:
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
    gaps = {UNTRAINED: [_untrained(run) for run in runs.finished(first)]}
    for label, title in settings.items():
        if finished := runs.finished(label):
            gaps[title] = [_trained(run) for run in finished]
    name = f"modality_gap_{study.label}"
    seeds = document.seeds_in_words(max(map(len, gaps.values())))
    caption = (
        f"The gap between modalities, {study.title}: distance between the mean image and the mean "
        "text code, and the accuracy of a logistic regression that classifies codes as images or "
        f"texts ({FOLDS}-fold cross-validation, pairs in one fold; one half is chance). "
        f"Codes of the test split at unit length; {seeds}."
    )
    table = Table(
        name,
        f"The same as numbers, {study.title}; {seeds}.",
        pd.DataFrame(
            [
                [title, *(_spread(_values(seeds_of, name)) for name in _TITLES)]
                for title, seeds_of in gaps.items()
            ],
            [""] * len(gaps),
            ["setting", "centroid distance", "accuracy"],
        ),
        pd.DataFrame(
            {"study": study.label, "setting": title, "seed": seed, **dataclasses.asdict(gap)}
            for title, seeds_of in gaps.items()
            for seed, gap in enumerate(seeds_of)
        ),
    )
    return Figure(name, caption, draw(gaps, runs.request.output, name)), table


def draw(gaps: dict[str, list[Gap]], output: Path, name: str) -> str:
    """Draw both measures, a line for each setting; return the path of the PNG."""
    with drawing.figure(7.2, 0.9 + 0.38 * len(gaps)) as drawn:
        axes = drawn.subplots(1, 2, sharey=True)
        for panel, (measure, title) in zip(axes, _TITLES.items(), strict=True):
            for line, seeds_of in enumerate(gaps.values()):
                values = _values(seeds_of, measure)
                panel.errorbar(
                    values.mean(), line, xerr=document.deviation(values) or 0, fmt="o",
                    color=drawing.BLACK if line == 0 else drawing.BLUE, capsize=3,
                )  # fmt: skip
            panel.set_title(title)
            panel.set_ylim(len(gaps) - 0.5, -0.5)
        axes[0].set_yticks(range(len(gaps)), list(gaps))
        axes[0].set_xlim(
            0, 1.1 * max(gap.distance for seeds_of in gaps.values() for gap in seeds_of)
        )
        axes[1].axvline(0.5, color="#888888", ls=":", lw=1.4)
        axes[1].set_xlim(0.4, 1.02)
        axes[0].set_xlabel("Euclidean distance")
        axes[1].set_xlabel("accuracy (dotted: chance)")
        return drawing.save(drawn, output, name)


def _trained(run: Experiment) -> Gap:
    return gap_of(*read_codes(run.folder).represented["cosine"])


def _untrained(run: Experiment) -> Gap:
    """The gap of the run's encoders as initialized, before the first step."""
    data = datasets.for_config(run.config)
    encoder = build_model(run.config, data).encoder
    codes = encoder.codes(data.test.image, data.test.text)
    return gap_of(*(encoder.represent(code, "cosine").numpy() for code in codes))


def _values(gaps: list[Gap], measure: str) -> np.ndarray:
    return np.array([getattr(gap, measure) for gap in gaps])


def _spread(values: np.ndarray) -> str:
    # With the leading digit, because a distance may exceed 1.
    mean = f"{values.mean():.3f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.3f}"
