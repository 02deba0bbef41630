"""Figures beyond the paper: confusion, angles, the modality gap and learning curves."""

from __future__ import annotations

from xgacmn_tf.paper import (
    figure_angles,
    figure_confusion,
    figure_learning_curves,
    figure_modality_gap,
)
from xgacmn_tf.paper.document import Figure, Section, Table
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.studies import ABLATED, STUDIES, Study

TITLE = "Beyond the paper"
# Ablations of the study `ABLATED`, flag file → title.
_ANGLES = {"ablation_with_softmax": "softmax"}
_GAPS = {"ablation_without_d_c": "without D_C", "ablation_without_l2": "without l2"}


def experiments(request: Request) -> list[Experiment]:
    """Return the runs of X-GACMN on every study, and of some ablations of one."""
    labels = [study.label for study in STUDIES] + [*_ANGLES, *_GAPS]
    return [run for label in labels for run in request.experiments(label)]


def section(runs: Runs) -> Section:
    """Return the section with four figures and a table for each study."""
    parts: list[Table | Figure] = []
    reasons = [runs.why_not(study) for study in STUDIES]
    for study in (study for study, reason in zip(STUDIES, reasons, strict=True) if not reason):
        parts += [
            figure_confusion.figure(runs, study),
            figure_angles.figure(runs, study, _settings(study, "A-softmax", _ANGLES)),
            *figure_modality_gap.figure(runs, study, _settings(study, "whole", _GAPS)),
            figure_learning_curves.figure(runs, study),
        ]
    return Section(TITLE, parts, list(filter(None, reasons)))


def _settings(study: Study, title: str, ablations: dict[str, str]) -> dict[str, str]:
    """Flag file → title of the whole model and of its ablations, if the study has any."""
    return {study.label: title} | (ablations if study.label == ABLATED else {})
