"""Fig. 3: precision within the first K results, X-GACMN against ACMR and the best other rival."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure, Section
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.scores import DIRECTIONS, Scores, read_scores
from xgacmn_tf.paper.studies import STUDIES, Study
from xgacmn_tf.paper.table_comparison import system_title
from xgacmn_tf.settings.config import XGACMN

TITLE = "Figure 3: precision-scope curves"
FIRST_RIVAL = "acmr"
ROWS = {"posterior": "inner product of class posteriors", "cosine": "cosine of the codes"}
_LINES = (
    (drawing.BLUE, "-"),
    (drawing.ORANGE, (0, (5, 1.5))),
    (drawing.GREEN, (0, (1.5, 1))),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A system's precision at 1, 2, … at one similarity: direction → (seeds, K)."""

    model: str
    precision: dict[str, np.ndarray]


def studies() -> list[Study]:
    """Those that the paper draws, and the bundled one: all but Pascal Sentence."""
    return [study for study in STUDIES if study.folder != "pascal_sentence"]


def cells(request: Request) -> list[Experiment]:
    """All systems: which rival is the best is known afterwards."""
    models = (XGACMN, *request.rivals)
    return [cell for study in studies() for cell in request.cells(study.label, models)]


def section(runs: Runs) -> Section:
    """A figure for each study."""
    parts, missing = [], []
    for study in studies():
        if study.label in runs.missing:
            missing.append(f"{study.title}: {runs.short_reason(study.label)}")
        elif picture := _picture(runs, study):
            parts.append(picture)
        else:
            missing.append(f"{study.title}: no run of X-GACMN is finished")
    return Section(TITLE, parts=parts, missing=missing)


def choose_curves(scores: dict[str, list[Scores]], similarity: str) -> list[Curve]:
    """X-GACMN, ACMR and the other rival with the highest test mAP, as far as they are there.

    Args:
      scores: system → its runs' scores.
      similarity: systems that do not define it are left out.
    """
    able = {
        model: runs
        for model, runs in scores.items()
        if runs and all(similarity in run.precision for run in runs)
    }

    def average(model: str) -> float:
        return float(np.mean([run.mean(similarity, "mAP")["avg"] for run in able[model]]))

    others = [model for model in able if model not in (XGACMN, FIRST_RIVAL)]
    shown = [model for model in (XGACMN, FIRST_RIVAL) if model in able]
    shown += [max(others, key=average)] if others else []
    return [
        Curve(
            model,
            {
                way: np.stack([run.precision[similarity][way] for run in able[model]])
                for way in DIRECTIONS
            },
        )
        for model in shown
    ]


def draw(curves: dict[str, list[Curve]], output: Path, name: str) -> str:
    """Draws a row for each similarity and a column for each direction; returns the PNG's path."""
    with drawing.figure(7.2, 2.6 * len(curves)) as figure:
        axes = figure.subplots(len(curves), 2, sharex=True, sharey=True, squeeze=False)
        for row, (similarity, shown) in zip(axes, curves.items(), strict=True):
            for panel, way in zip(row, DIRECTIONS, strict=True):
                for curve, (colour, dashes) in zip(shown, _LINES, strict=False):
                    values = curve.precision[way]
                    scope = np.arange(1, values.shape[1] + 1)
                    mean, sd = values.mean(axis=0), values.std(axis=0, ddof=int(len(values) > 1))
                    panel.plot(
                        scope, mean, color=colour, ls=dashes, label=system_title(curve.model)
                    )
                    panel.fill_between(
                        scope, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0
                    )
                panel.set_title(f"{drawing.DIRECTION[way]}, {similarity}")
                panel.legend(loc="upper right")
        for panel in axes[-1]:
            panel.set_xlabel("scope K")
        for panel in axes[:, 0]:
            panel.set_ylabel("precision at K")
        axes[0, 0].set_xlim(left=0)
        axes[0, 0].set_ylim(bottom=0)
        return drawing.save(figure, output, name)


def _picture(runs: Runs, study: Study) -> Figure | None:
    output, scores = runs.request.output, {}
    for model in (XGACMN, *runs.request.rivals):
        finished = runs.finished(study.label, model)
        scores[model] = [read_scores(output, cell) for cell in finished]
    if not scores[XGACMN]:
        return None
    curves = {similarity: choose_curves(scores, similarity) for similarity in ROWS}
    curves = {similarity: shown for similarity, shown in curves.items() if shown}
    name = f"figure_3_{study.label}"
    scope = next(iter(curves.values()))[0].precision["i2t"].shape[1]
    return Figure(
        name,
        f"Figure 3 on {study.title}: precision within the first K results, averaged over queries, "
        f"for K = 1 to {scope}; {document.seeds_in_words(len(scores[XGACMN]))} (band: ± sd). Rows: "
        f"{'; '.join(ROWS[similarity] for similarity in curves)}. Beside X-GACMN and ACMR stands "
        "the rival with the highest test mAP at that similarity: the hardest one to compare with.",
        draw(curves, output, name),
    )
