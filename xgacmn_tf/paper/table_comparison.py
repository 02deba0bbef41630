"""Tables 1 and 2, and the same on the bundled clip art: X-GACMN and its rivals by mAP.

A system's rank depends on the similarity that it ranks by, so every system is listed at its own, at
the cosine of its codes and, where it has class posteriors, at their inner product; the best is
marked among rows of one similarity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from xgacmn_tf import baselines
from xgacmn_tf.paper import tables
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.comparison import WAYS, Row
from xgacmn_tf.paper import document
from xgacmn_tf.paper.document import Block, Section, Table
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.studies import STUDIES, Study
from xgacmn_tf.settings.config import XGACMN

TITLES = {
    "1": "Table 1: comparison on Wikipedia",
    "2": "Table 2: comparison on Pascal Sentence and NUS-WIDE-10k",
    "openclipart": "The same comparison on the bundled clip art",
}
BLOCKS = {
    "own": "each system at its own similarity",
    "cosine": "all at the cosine of the codes",
    "posterior": "all that have class posteriors, at their inner product",
}
SETTINGS_FROM = {
    False: "Compared systems have their default settings, of which those named in docs/results.md "
    "were chosen on validation parts of the training split of Wikipedia 2173.",
    True: "Compared systems have the settings that are best on validation pairs of these data.",
}
HEADER = (
    "system",
    "similarity",
    "paper i2t",
    "paper t2i",
    *(f"ours {way}" for way in WAYS),
    "p",
)


def cells(request: Request, table: str) -> list[Experiment]:
    """All systems on all studies of a table."""
    return [
        cell
        for study in STUDIES
        if study.table == table
        for cell in request.cells(study.label, (XGACMN, *request.rivals))
    ]


def section(runs: Runs, table: str) -> Section:
    """A table for each study."""
    studies = [study for study in STUDIES if study.table == table]
    return Section(
        TITLES[table],
        parts=[
            _missing_table(runs, study) if study.label in runs.missing else _table(runs, study)
            for study in studies
        ],
    )


def blocks(cells: Sequence[Experiment]) -> dict[str, list[Row]]:
    """The finished runs' rows by the keys of `BLOCKS`, each block with p-values of its own."""
    everything = tables.uncompared_rows(cells, all_similarities=True)
    found = {
        name: [
            dataclasses.replace(row)
            for row in everything
            if (row.own if name == "own" else row.similarity == name)
        ]
        for name in BLOCKS
    }
    for rows in found.values():
        tables.compare_with_best(rows)
    return {name: rows for name, rows in found.items() if rows}


def _table(runs: Runs, study: Study) -> Table:
    found = blocks(runs.finished(study.label, model=None))
    seeds = max((len(row.scores["avg"]) for rows in found.values() for row in rows), default=0)
    caption = (
        f"{study.title}. Full-gallery mAP: AP over the whole gallery, divided by all relevant "
        f"items in it; {document.seeds_in_words(seeds)}, test split. Best in bold, second "
        "underlined, within each similarity. p: paired randomisation test over pairs, both queries "
        "of a pair together, against the block's best average, Holm-corrected. The paper names no "
        "similarity. "
        f"{SETTINGS_FROM[study.tuned]}"
    )
    reasons = runs.reasons(study.label)
    return Table(
        study.label,
        caption,
        HEADER,
        [Block(BLOCKS[name], _lines(rows, study)) for name, rows in found.items()],
        [_record(name, row, study) for name, rows in found.items() for row in rows],
        [f"{system_title(model)}, not every seed: {why}" for model, why in reasons.items()],
    )


def _missing_table(runs: Runs, study: Study) -> Table:
    """The paper's figures, and why there are none of ours."""
    short = runs.short_reason(study.label)
    models = [m for m in (XGACMN, *runs.request.rivals) if m in study.published]
    empty: dict[str, Any] = dict.fromkeys(_NAMES)
    return Table(
        study.label,
        f"{study.title}. Full-gallery mAP as the paper prints it; not reproduced here.",
        HEADER,
        [Block("", [[system_title(m), "", *_paper(m, study), short, "", "", ""] for m in models])],
        [
            {**empty, "study": study.label, "system": m, **_paper_record(m, study), "note": short}
            for m in models
        ],
    )


def _lines(rows: Sequence[Row], study: Study) -> list[document.Line]:
    marks = [document.marks([float(row.scores[way].mean()) for row in rows]) for way in WAYS]
    return [
        [
            row.title,
            row.similarity,
            *_paper(row.model, study),
            *(
                document.Experiment(document.spread(row.scores[way]), marks[column][index])
                for column, way in enumerate(WAYS)
            ),
            _p(row.p),
        ]
        for index, row in enumerate(rows)
    ]


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< .001" if value < 0.001 else document.number(value)


def _paper(model: str, study: Study) -> list[str]:
    if model not in study.published:
        return ["–", "–"]
    return [document.number(value) for value in study.published[model]]


def system_title(model: str) -> str:
    """A system's name in tables and legends."""
    return "X-GACMN" if model == XGACMN else baselines.system(model).title


_NAMES = (
    *("study", "block", "system", "similarity", "paper_i2t", "paper_t2i"),
    *(f"{way}{suffix}" for way in WAYS for suffix in ("", "_sd")),
    *("seeds", "p", "fit_seconds", "note"),
)


def _paper_record(model: str, study: Study) -> dict[str, float | None]:
    return dict(
        zip(("paper_i2t", "paper_t2i"), study.published.get(model, (None, None)), strict=True)
    )


def _record(block: str, row: Row, study: Study) -> dict[str, Any]:
    scores: dict[str, float | None] = {}
    for way in WAYS:
        scores[way] = float(row.scores[way].mean())
        scores[f"{way}_sd"] = document.deviation(row.scores[way])
    found = {
        "study": study.label,
        "block": block,
        "system": row.model,
        "similarity": row.similarity,
        **_paper_record(row.model, study),
        **scores,
        "seeds": len(row.scores["avg"]),
        "p": row.p,
        "fit_seconds": row.seconds,
        "note": None,
    }
    return {name: found[name] for name in _NAMES}
