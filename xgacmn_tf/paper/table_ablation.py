"""Table 3: X-GACMN without one part at a time, on Wikipedia's split of 2,173 and 693 pairs.

The paper's caption names another split than its text (§4.2), which is taken here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.published import PUBLISHED_ABLATION
from xgacmn_tf.paper.comparison import WAYS
from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import document, intervals
from xgacmn_tf.paper.document import Block, Section, Table
from xgacmn_tf.paper.intervals import Interval
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.scores import MEASURES, Scores, read_scores
from xgacmn_tf.paper.studies import ABLATED

# Flag file → what the paper calls the setting; the whole model comes last, as there. The first is
# the paper's own objective, without what the flag file of the whole model adds to it.
SETTINGS = {
    "ablation_without_distillation": "X-GACMN without distillation (ours)",
    "ablation_without_d_c": "X-GACMN without D_C",
    "ablation_without_d_i_d_t": "X-GACMN without D_I and D_T",
    "ablation_without_a_softmax": "X-GACMN without L_A-Softmax",
    "ablation_without_l2": "X-GACMN without L_l2",
    "ablation_with_softmax": "X-GACMN with L_Softmax",
    ABLATED: "Whole X-GACMN",
}
SIMILARITIES = ("posterior", "cosine")
DEPTHS = {
    "mAP@50": "mAP@50: AP over the first 50, divided by the relevant items found among them (hits)",
    "mAP": "Full-gallery mAP: AP over the whole gallery, divided by all relevant items in it",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """A setting's scores at one similarity and measure.

    Attributes:
      label: its flag file.
      means: direction → (seeds,).
      pairs: (n,) score of each test pair, mean of directions and seeds.
      ids: (n,) of the pairs.
    """

    label: str
    means: Mapping[str, np.ndarray]
    pairs: np.ndarray
    ids: np.ndarray


@dataclasses.dataclass(frozen=True)
class Difference:
    """A setting's average minus the whole model's, with 95 % intervals."""

    mean: float
    seeds: Interval | None
    pairs: Interval


def cells(request: Request) -> list[Experiment]:
    """All settings with every seed."""
    return [
        cell for label in SETTINGS for cell in request.cells(label, seeds=request.ablation_seeds)
    ]


def section(runs: Runs) -> Section:
    """A table for each measure."""
    title = "Table 3: ablation on Wikipedia"
    if ABLATED in runs.missing:
        return Section(title, missing=[runs.short_reason(ABLATED)])
    scores = {label: _scores(runs, label) for label in SETTINGS}
    return Section(
        title,
        parts=[_table(runs, scores, measure) for measure in DEPTHS],
        missing=[
            f"{SETTINGS[cell.label]}, seed {cell.config.seed}: {why}"
            for cell, why in runs.failed.items()
            if cell.label in SETTINGS and cell.config.model == "xgacmn"
        ],
    )


def setting(
    label: str, runs: Mapping[int, Scores], seeds: Sequence[int], similarity: str, measure: str
) -> Setting | None:
    """Puts the runs of a setting together; None if they do not define the similarity.

    Args:
      label: the flag file.
      runs: seed → scores.
      seeds: those that count.
      similarity, measure: which scores.

    Raises:
      InputError: the seeds do not share their test pairs.
    """
    found = [runs[seed] for seed in seeds]
    if not found or any(similarity not in scores.per_query for scores in found):
        return None
    if any(not np.array_equal(scores.id, found[0].id) for scores in found):
        raise InputError(
            f"the runs of {label} have different test pairs; Table 3 needs a fixed test split"
        )
    means = [scores.mean(similarity, measure) for scores in found]
    return Setting(
        label,
        {way: np.array([mean[way] for mean in means]) for way in WAYS},
        np.mean([scores.by_pair(similarity, measure) for scores in found], axis=0),
        found[0].id,
    )


def difference(found: Setting, whole: Setting) -> Difference:
    """What is lost (below zero) or won by a setting; both have the same seeds.

    Raises:
      InputError: their test pairs differ.
    """
    if not np.array_equal(found.ids, whole.ids):
        raise InputError(
            f"{found.label} and {whole.label} have different test pairs; Table 3 needs one split"
        )
    by_seed = found.means["avg"] - whole.means["avg"]
    by_pair = found.pairs - whole.pairs
    return Difference(
        float(by_seed.mean()), intervals.over_seeds(by_seed), intervals.over_pairs(by_pair)
    )


def _scores(runs: Runs, label: str) -> dict[int, Scores]:
    finished = runs.finished(label, seeds=runs.request.ablation_seeds)
    return {cell.config.seed: read_scores(runs.request.output, cell) for cell in finished}


def _table(runs: Runs, scores: Mapping[str, Mapping[int, Scores]], measure: str) -> Table:
    # Only seeds that every setting has finished, so that differences are paired.
    seeds = sorted(set.intersection(*(set(found) for found in scores.values())))
    blocks, rows = [], []
    for similarity in SIMILARITIES:
        settings = [setting(x, scores[x], seeds, similarity, measure) for x in SETTINGS]
        found = [x for x in settings if x is not None]
        whole = next((x for x in found if x.label == ABLATED), None)
        if whole is None:
            continue
        differences = [None if x is whole else difference(x, whole) for x in found]
        blocks.append(Block(f"{similarity} similarity", _lines(found, differences, measure)))
        rows += [
            _record(x, change, similarity, measure)
            for x, change in zip(found, differences, strict=True)
        ]
    count = len(seeds)
    over = document.seeds_in_words(count) if seeds == list(range(count)) else f"seeds {seeds}"
    paper = ["paper i2t", "paper t2i"] if measure == "mAP@50" else []
    return Table(
        f"table_3_{MEASURES[measure].replace('@', '').lower()}",
        f"Table 3 on Wikipedia 2173/693, shallow features. {DEPTHS[measure]}; {over}, test split. "
        "Δ avg: average minus the whole model's with the same seeds and queries, with 95 % "
        "intervals: t over seeds; percentile bootstrap over test pairs (9,999 samples of scores "
        "averaged over seeds). Best in bold, second underlined, within each similarity. Without a "
        "class loss there is no posterior.",
        ["setting", *paper, "i2t", "t2i", "avg", "Δ avg", "95 %, seeds", "95 %, queries"],
        blocks,
        rows,
    )


def _lines(
    found: Sequence[Setting], differences: Sequence[Difference | None], measure: str
) -> list[document.Line]:
    marks = [document.marks([float(x.means[way].mean()) for x in found]) for way in WAYS]
    lines: list[document.Line] = []
    for index, (x, change) in enumerate(zip(found, differences, strict=True)):
        published = PUBLISHED_ABLATION.get(x.label)
        paper = ["–", "–"] if published is None else [document.number(v) for v in published]
        scores = [
            document.Experiment(document.spread(x.means[way]), marks[column][index])
            for column, way in enumerate(WAYS)
        ]
        lines.append(
            [
                SETTINGS[x.label],
                *(paper if measure == "mAP@50" else []),
                *scores,
                "–" if change is None else document.number(change.mean, 4),
                "–" if change is None else _interval(change.seeds),
                "–" if change is None else _interval(change.pairs),
            ]
        )
    return lines


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return " … ".join(document.number(end, 4) for end in interval)


def _record(
    found: Setting, change: Difference | None, similarity: str, measure: str
) -> dict[str, Any]:
    published = PUBLISHED_ABLATION.get(found.label) if measure == "mAP@50" else None
    i2t, t2i = published or (None, None)
    scores: dict[str, float | None] = {}
    for way in WAYS:
        scores[way] = float(found.means[way].mean())
        scores[f"{way}_sd"] = document.deviation(found.means[way])
    by_seed = change.seeds if change and change.seeds else (None, None)
    by_pair = change.pairs if change else (None, None)
    return {
        "setting": found.label,
        "measure": measure,
        "similarity": similarity,
        "paper_i2t": i2t,
        "paper_t2i": t2i,
        **scores,
        "seeds": len(found.means["avg"]),
        "difference": change and change.mean,
        "seeds_low": by_seed[0],
        "seeds_high": by_seed[1],
        "pairs_low": by_pair[0],
        "pairs_high": by_pair[1],
    }
