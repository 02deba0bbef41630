"""Fig. 3: precision at K of X-GACMN, ACMR and the best other compared system."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.names import DIRECTIONS, XGACMN
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure, Section
from xgacmn_tf.paper.experiments import Experiment, title
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.scores import Scores, read_scores
from xgacmn_tf.paper.studies import STUDIES, Study

TITLE = "Figure 3: precision-scope curves"
FIRST_COMPARED = "acmr"
ROWS = {"posterior": "inner product of class posteriors", "cosine": "cosine of the codes"}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)))
_LINES = tuple(zip((drawing.BLUE, drawing.ORANGE, drawing.GREEN), _DASHES, strict=True))


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
    reasons = [runs.why_not(study) for study in studies()]
    parts = [_figure(runs, s) for s, reason in zip(studies(), reasons, strict=True) if not reason]
    return Section(TITLE, parts, list(filter(None, reasons)))


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

    def draw_panel(panel: Any, similarity: str, way: str) -> None:
        for curve, (color, dashes) in zip(curves[similarity], _LINES, strict=False):
            values = curve.precision[way]
            scope, label = range(1, values.shape[1] + 1), title(curve.model)
            drawing.draw_seeds(panel, scope, values, color, ls=dashes, label=label)
        panel.set_title(f"{drawing.DIRECTION[way]}, {similarity}")
        panel.legend(loc="upper right")

    def finish(figure: Any, axes: np.ndarray) -> None:
        drawing.name_axes(axes, "scope K", "precision at K")
        axes[0, 0].set(xlim=(0, None), ylim=(0, None))

    size = 7.2, 2.6 * len(curves)
    return drawing.grid(output, name, size, list(curves), DIRECTIONS, draw_panel, finish)


def _figure(runs: Runs, study: Study) -> Figure:
    output, scores = runs.request.output, {}
    for model in (XGACMN, *runs.request.compared):
        finished = runs.finished(study.label, model)
        scores[model] = [read_scores(output, run) for run in finished]
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
