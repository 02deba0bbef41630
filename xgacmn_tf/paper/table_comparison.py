"""Tables 1 and 2, and the same on the bundled clip art: systems compared by mAP.

A system's rank depends on its similarity. Every system is therefore listed at its own similarity,
at the cosine of its codes and, if it has class posteriors, at their inner product; the best is
marked among rows of one group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from xgacmn_tf.names import XGACMN
from xgacmn_tf.paper import comparison, document
from xgacmn_tf.paper.comparison import Row
from xgacmn_tf.paper.document import Section, Table
from xgacmn_tf.paper.experiments import Experiment, title
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.studies import STUDIES, Study

TITLES = {
    "1": "Table 1: comparison on Wikipedia",
    "2": "Table 2: comparison on Pascal Sentence and NUS-WIDE-10k",
    "openclipart": "The same comparison on the bundled clip art",
}
OWN = "own similarity"
GROUPS = {OWN: None, "cosine similarity": "cosine", "posterior similarity": "posterior"}
SETTINGS_FROM = {
    False: "Compared systems have their default settings, of which those named in docs/results.md "
    "were chosen on validation parts of the training split of Wikipedia 2173.",
    True: "Compared systems have the settings that are best on validation pairs of these data.",
}


class Part:
    """One of `TITLES`: the runs and the section of its studies."""

    def __init__(self, name: str):
        self.title = TITLES[name]
        self.studies = [study for study in STUDIES if study.table == name]

    def experiments(self, request: Request) -> list[Experiment]:
        """Return the runs of all systems on all studies."""
        models = (XGACMN, *request.compared)
        return [run for s in self.studies for run in request.experiments(s.label, models)]

    def section(self, runs: Runs) -> Section:
        """Return the section with a table for each study."""
        parts = [
            _published_table(runs, study) if study.label in runs.missing else _table(runs, study)
            for study in self.studies
        ]
        return Section(self.title, parts)


def grouped_rows(experiments: Sequence[Experiment]) -> list[Row]:
    """Return the rows of `GROUPS`, tested within each."""
    everything = comparison.rows_of(experiments, all_similarities=True)
    rows = [
        dataclasses.replace(row, group=group)
        for group, similarity in GROUPS.items()
        for row in everything
        if row.is_ranked and (row.is_own if group == OWN else row.similarity == similarity)
    ]
    comparison.set_p_values(rows)
    return rows


def _table(runs: Runs, study: Study) -> Table:
    rows = grouped_rows(runs.finished(study.label, model=None))
    seeds = max((len(row.scores["avg"]) for row in rows), default=0)
    caption = (
        f"{study.title}. Full-gallery mAP: AP over the whole gallery, divided by the number of "
        f"relevant items in it; {document.seeds_in_words(seeds)}, test split. Best in bold, second "
        "underlined, within each group of rows: each system at its own similarity; at the cosine "
        "of the codes; at the inner product of class posteriors. p: paired randomization test over "
        "pairs, both queries of a pair together, against the best average of the group, "
        f"Holm-corrected. The paper names no similarity. {SETTINGS_FROM[study.tuned]}"
    )
    errors = runs.errors(study.label).items()
    notes = [f"{title(model)}: not every run finished: {error}" for model, error in errors]
    return comparison.score_table(study.label, caption, rows, study.published, notes=notes)


def _published_table(runs: Runs, study: Study) -> Table:
    """The paper's scores, and why there are none of ours."""
    reason = runs.short_reason(study.label)
    models = [m for m in (XGACMN, *runs.request.compared) if m in study.published]
    cells, values = [], list[dict[str, Any]]()
    for model in models:
        i2t, t2i = study.published[model]
        cells.append([title(model), document.number(i2t), document.number(t2i), reason])
        values.append({"model": model, "paper_i2t": i2t, "paper_t2i": t2i, "note": reason})
    return Table(
        study.label,
        f"{study.title}. Full-gallery mAP as the paper prints it; not reproduced here.",
        pd.DataFrame(cells, [""] * len(cells), ["system", "paper i2t", "paper t2i", "ours"]),
        pd.DataFrame(values),
    )
