"""Fig. 3: precision at K of X-GACMN, ACMR and the best other compared system."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure, Section
from xgacmn_tf.paper.experiments import Experiment, title
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.scores import DIRECTIONS, Scores, read_scores
from xgacmn_tf.paper.studies import STUDIES, Study
from xgacmn_tf.settings.config import XGACMN

TITLE = "Figure 3: precision-scope curves"
FIRST_COMPARED = "acmr"
ROWS = {"posterior": "inner product of class posteriors", "cosine": "cosine of the codes"}
_LINES = (
    (drawing.BLUE, "-"),
    (drawing.ORANGE, (0, (5, 1.5))),
    (drawing.GREEN, (0, (1.5, 1))),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A system and its precision at 1, 2, …, K by one similarity: direction → (seeds, K)."""

    model: str
    precision: dict[str, np.ndarray]


def studies() -> list[Study]:
    """Return the studies that the paper draws, and the bundled one: all but Pascal Sentence."""
    return [study for study in STUDIES if study.folder != "pascal_sentence"]


def experiments(request: Request) -> list[Experiment]:
    """Return the runs of all systems, because the best one is known only afterwards."""
    models = (XGACMN, *request.compared)
    return [run for study in studies() for run in request.experiments(study.label, models)]


def section(runs: Runs) -> Section:
    """Return the section with a figure for each study."""
    parts, missing = [], []
    for study in studies():
        if study.label in runs.missing:
            missing.append(f"{study.title}: {runs.short_reason(study.label)}")
        elif figure := _figure(runs, study):
            parts.append(figure)
        else:
            missing.append(f"{study.title}: X-GACMN has no finished run")
    return Section(TITLE, parts, missing)


def choose_curves(scores: dict[str, list[Scores]], similarity: str) -> list[Curve]:
    """Return X-GACMN, ACMR and the other system with the highest test mAP, as far as available.

    Args:
      scores: system → scores of its runs.
      similarity: systems that do not define it are left out.
    """
    available = {
        model: runs
        for model, runs in scores.items()
        if runs and all(similarity in run.precision for run in runs)
    }

    def average(model: str) -> float:
        return float(np.mean([run.mean(similarity, "mAP")["avg"] for run in available[model]]))

    others = [model for model in available if model not in (XGACMN, FIRST_COMPARED)]
    models = [model for model in (XGACMN, FIRST_COMPARED) if model in available]
    models += [max(others, key=average)] if others else []
    return [
        Curve(
            model,
            {
                way: np.stack([run.precision[similarity][way] for run in available[model]])
                for way in DIRECTIONS
            },
        )
        for model in models
    ]


def draw(curves: dict[str, list[Curve]], output: Path, name: str) -> str:
    """Draw a row per similarity and a column per direction; return the path of the PNG."""
    with drawing.figure(7.2, 2.6 * len(curves)) as drawn:
        axes = drawn.subplots(len(curves), 2, sharex=True, sharey=True, squeeze=False)
        for row, (similarity, shown) in zip(axes, curves.items(), strict=True):
            for panel, way in zip(row, DIRECTIONS, strict=True):
                for curve, (color, dashes) in zip(shown, _LINES, strict=False):
                    values = curve.precision[way]
                    scope = np.arange(1, values.shape[1] + 1)
                    mean, sd = values.mean(axis=0), values.std(axis=0, ddof=int(len(values) > 1))
                    panel.plot(scope, mean, color=color, ls=dashes, label=title(curve.model))
                    panel.fill_between(
                        scope, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0
                    )
                panel.set_title(f"{drawing.DIRECTION[way]}, {similarity}")
                panel.legend(loc="upper right")
        for panel in axes[-1]:
            panel.set_xlabel("scope K")
        for panel in axes[:, 0]:
            panel.set_ylabel("precision at K")
        axes[0, 0].set_xlim(left=0)
        axes[0, 0].set_ylim(bottom=0)
        return drawing.save(drawn, output, name)


def _figure(runs: Runs, study: Study) -> Figure | None:
    output, scores = runs.request.output, {}
    for model in (XGACMN, *runs.request.compared):
        finished = runs.finished(study.label, model)
        scores[model] = [read_scores(output, run) for run in finished]
    if not scores[XGACMN]:
        return None
    curves = {similarity: choose_curves(scores, similarity) for similarity in ROWS}
    curves = {similarity: shown for similarity, shown in curves.items() if shown}
    name = f"figure_3_{study.label}"
    scope = next(iter(curves.values()))[0].precision["i2t"].shape[1]
    return Figure(
        name,
        f"Figure 3 on {study.title}: precision at K, averaged over queries, "
        f"for K = 1 to {scope}; {document.seeds_in_words(len(scores[XGACMN]))} (band: ± sd). Rows: "
        f"{'; '.join(ROWS[similarity] for similarity in curves)}. The third system is the one "
        "with the highest test mAP by that similarity among the others.",
        draw(curves, output, name),
    )
