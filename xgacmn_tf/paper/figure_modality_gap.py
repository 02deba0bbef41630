"""Beyond the paper: how far apart the modalities' codes lie before and after training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure, Table
from xgacmn_tf.paper.runs import Runs, dataset
from xgacmn_tf.paper.scores import read_codes
from xgacmn_tf.paper.studies import Study
from xgacmn_tf.training.build import build_model

FOLDS = 5
UNTRAINED = "before training"
_TITLES = {
    "distance": "distance of the centroids",
    "accuracy": "modality told by logistic regression",
}


@dataclasses.dataclass(frozen=True)
class Gap:
    """Between the codes of n images and of their texts, all at unit length.

    Attributes:
      distance: Euclidean distance of the two means, in [0, 2].
      accuracy: with which a logistic regression tells the modality of pairs it has not seen,
        cross-validated; at one half it can only guess.
    """

    distance: float
    accuracy: float


def gap(image: np.ndarray, text: np.ndarray, seed: int = 0) -> Gap:
    """The gap between unit-length codes (n, d); row i of both is the same pair."""
    codes = np.concatenate([image, text])
    modality = np.repeat([0, 1], [len(image), len(text)])
    # A pair's image and text go to the same fold: the one would give the other away.
    pairs = np.tile(np.arange(len(image)), 2)
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    accuracy = cross_val_score(classifier, codes, modality, groups=pairs, cv=folds)
    distance = np.linalg.norm(image.mean(axis=0) - text.mean(axis=0))
    return Gap(float(distance), float(accuracy.mean()))


def picture(runs: Runs, study: Study, settings: dict[str, str]) -> tuple[Figure, Table]:
    """The gaps of each setting, flag file → title, and of the first before it is trained."""
    first = next(iter(settings))
    found = {UNTRAINED: [_untrained(cell) for cell in runs.finished(first)]}
    for label, title in settings.items():
        if finished := runs.finished(label):
            found[title] = [_trained(cell) for cell in finished]
    name = f"modality_gap_{study.label}"
    seeds = document.seeds_in_words(max(len(gaps) for gaps in found.values()))
    caption = (
        f"The gap between modalities, {study.title}: distance between the mean image and the mean "
        "text code, and the accuracy of a logistic regression that tells images from texts by "
        f"their codes ({FOLDS}-fold cross-validation, pairs kept together; one half is guessing). "
        f"Codes of the test split at unit length; {seeds}."
    )
    table = Table(
        name,
        f"The same in figures, {study.title}; {seeds}.",
        ["setting", "centroid distance", "accuracy"],
        [document.Block("", [[title, *map(_spread, _columns(g))] for title, g in found.items()])],
        [
            {"study": study.label, "setting": title, "seed": seed, **dataclasses.asdict(one)}
            for title, gaps in found.items()
            for seed, one in enumerate(gaps)
        ],
    )
    return Figure(name, caption, draw(found, runs.request.output, name)), table


def draw(found: dict[str, list[Gap]], output: Path, name: str) -> str:
    """Draws both measures, a line for each setting; returns the PNG's path."""
    with drawing.figure(7.2, 0.9 + 0.38 * len(found)) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for panel, (measure, title) in zip(axes, _TITLES.items(), strict=True):
            for line, gaps in enumerate(found.values()):
                values = np.array([getattr(one, measure) for one in gaps])
                panel.errorbar(
                    values.mean(), line, xerr=document.deviation(values) or 0, fmt="o",
                    color=drawing.BLACK if line == 0 else drawing.BLUE, capsize=3,
                )  # fmt: skip
            panel.set_title(title)
            panel.set_ylim(len(found) - 0.5, -0.5)
        axes[0].set_yticks(range(len(found)), list(found))
        axes[0].set_xlim(0, 1.1 * max(one.distance for gaps in found.values() for one in gaps))
        axes[1].axvline(0.5, color="#888888", ls=":", lw=1.4)
        axes[1].set_xlim(0.4, 1.02)
        axes[0].set_xlabel("Euclidean distance")
        axes[1].set_xlabel("accuracy (dotted: guessing)")
        return drawing.save(figure, output, name)


def _trained(cell: Experiment) -> Gap:
    return gap(*read_codes(cell.folder).represented["cosine"])


def _untrained(cell: Experiment) -> Gap:
    """Of the run's encoders as they were drawn, before the first step."""
    data = dataset(cell.config)
    encoder = build_model(cell.config, data).encoder
    codes = encoder.codes(data.test.image, data.test.text)
    return gap(*(encoder.represent(code, "cosine").numpy() for code in codes))


def _columns(gaps: list[Gap]) -> list[np.ndarray]:
    return [np.array([getattr(one, measure) for one in gaps]) for measure in _TITLES]


def _spread(values: np.ndarray) -> str:
    # A distance may exceed 1, so its leading digit stays.
    mean = f"{values.mean():.3f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.3f}"
