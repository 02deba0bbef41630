"""What the paper does not show: confusion, angles, the modality gap and learning curves."""

from __future__ import annotations

from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper import (
    figure_angles,
    figure_confusion,
    figure_learning_curves,
    figure_modality_gap,
)
from xgacmn_tf.paper.document import Figure, Section, Table
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.studies import ABLATED, STUDIES, Study

TITLE = "Beyond the paper"
# Ablations beside the whole model, where the study has any.
_ANGLES = {"ablation_with_softmax": "softmax"}
_GAPS = {"ablation_without_d_c": "without D_C", "ablation_without_l2": "without l2"}


def cells(request: Request) -> list[Experiment]:
    """X-GACMN on every study, and some ablations of one."""
    labels = [study.label for study in STUDIES] + [*_ANGLES, *_GAPS]
    return [cell for label in labels for cell in request.cells(label)]


def section(runs: Runs) -> Section:
    """Four figures and a table for each study."""
    parts: list[Table | Figure] = []
    missing = []
    for study in STUDIES:
        if study.label in runs.missing:
            missing.append(f"{study.title}: {runs.short_reason(study.label)}")
        elif not runs.finished(study.label):
            missing.append(f"{study.title}: no run of X-GACMN is finished")
        else:
            parts += [
                figure_confusion.picture(runs, study),
                figure_angles.picture(runs, study, _settings(study, "A-softmax", _ANGLES)),
                *figure_modality_gap.picture(runs, study, _settings(study, "whole", _GAPS)),
                figure_learning_curves.picture(runs, study),
            ]
    return Section(TITLE, parts=parts, missing=missing)


def _settings(study: Study, title: str, ablations: dict[str, str]) -> dict[str, str]:
    """Flag file → title of the whole model and, where there are any, of its ablations."""
    return {study.label: title} | (ablations if study.label == ABLATED else {})
