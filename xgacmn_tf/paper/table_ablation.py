"""Table 3: X-GACMN without one part at a time, on Wikipedia's split of 2,173 and 693 pairs.

The paper's caption names another split than its text (§4.2); this is the split of the text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.significance import Interval, interval_over_pairs, interval_over_seeds
from xgacmn_tf.names import XGACMN
from xgacmn_tf.paper import document
from xgacmn_tf.paper.comparison import WAYS
from xgacmn_tf.paper.document import Section, Table
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.published import PUBLISHED_ABLATION
from xgacmn_tf.paper.runs import Request, Runs
from xgacmn_tf.paper.scores import MEASURES, Scores, read_scores
from xgacmn_tf.paper.studies import ABLATED

TITLE = "Table 3: ablation on Wikipedia"
# Flag file → the paper's name of the setting; the whole model is last, as in the paper. The first
# has the paper's terms, without the distillation that the flag file of the whole model adds.
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
    "mAP@50": "mAP@50: AP over the first 50, divided by the number of relevant items among them "
    "(hits)",
    "mAP": "Full-gallery mAP: AP over the whole gallery, divided by the number of relevant items "
    "in it",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """The scores of a setting by one similarity and measure.

    Attributes:
      label: its flag file.
      means: direction → (seeds,).
      pairs: (n,) score of each test pair, averaged over directions and seeds.
      ids: (n,) ids of the pairs.
    """

    label: str
    means: Mapping[str, np.ndarray]
    pairs: np.ndarray
    ids: np.ndarray


@dataclasses.dataclass(frozen=True)
class Difference:
    """The average of a setting minus that of the whole model, with 95 % intervals."""

    mean: float
    seeds: Interval | None
    pairs: Interval


def experiments(request: Request) -> list[Experiment]:
    """Return the runs of all settings."""
    seeds = request.ablation_seeds
    return [run for label in SETTINGS for run in request.experiments(label, seeds=seeds)]


def section(runs: Runs) -> Section:
    """Return the section with a table for each measure."""
    if ABLATED in runs.missing:
        return Section(TITLE, missing=[runs.short_reason(ABLATED)])
    scores = {}
    for label in SETTINGS:
        finished = runs.finished(label, seeds=runs.request.ablation_seeds)
        scores[label] = {run.config.seed: read_scores(runs.request.output, run) for run in finished}
    failed = [
        f"{SETTINGS[run.label]}, seed {run.config.seed}: {error}"
        for run, error in runs.failed.items()
        if run.label in SETTINGS and run.model == XGACMN
    ]
    return Section(TITLE, [_table(scores, measure) for measure in DEPTHS], failed)


def setting_of(
    label: str, runs: Mapping[int, Scores], seeds: Sequence[int], similarity: str, measure: str
) -> Setting | None:
    """Average the runs of a setting; None if they do not define the similarity.

    Args:
      label: the flag file.
      runs: seed → scores.
      seeds: the seeds to average.
      similarity, measure: of the scores.

    Raises:
      InputError: the seeds have different test pairs.
    """
    scores = [runs[seed] for seed in seeds]
    if not scores or any(similarity not in one.per_query for one in scores):
        return None
    if any(not np.array_equal(one.id, scores[0].id) for one in scores):
        raise InputError(
            f"the runs of {label} have different test pairs; Table 3 needs a fixed test split"
        )
    means = [one.mean(similarity, measure) for one in scores]
    return Setting(
        label,
        {way: np.array([mean[way] for mean in means]) for way in WAYS},
        np.mean([one.by_pair(similarity, measure) for one in scores], axis=0),
        scores[0].id,
    )


def difference(setting: Setting, whole: Setting) -> Difference:
    """Compare a setting with the whole model, both with the same seeds.

    Raises:
      InputError: their test pairs differ.
    """
    if not np.array_equal(setting.ids, whole.ids):
        raise InputError(
            f"{setting.label} and {whole.label} have different test pairs; Table 3 needs one split"
        )
    by_seed = setting.means["avg"] - whole.means["avg"]
    by_pair = setting.pairs - whole.pairs
    return Difference(
        float(by_seed.mean()), interval_over_seeds(by_seed), interval_over_pairs(by_pair)
    )


def _table(scores: Mapping[str, Mapping[int, Scores]], measure: str) -> Table:
    # Only seeds that all settings have finished, so that differences are paired.
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in scores.values())))
    cells, values, groups = [], [], []
    marks: dict[str, list[str]] = {way: [] for way in WAYS}
    for similarity in SIMILARITIES:
        all_settings = [setting_of(x, scores[x], seeds, similarity, measure) for x in SETTINGS]
        settings = [setting for setting in all_settings if setting is not None]
        if not settings or (whole := settings[-1]).label != ABLATED:
            continue
        for setting in settings:
            row, record = _row(setting, whole, measure)
            cells.append(row)
            values.append({**record, "similarity": similarity})
            groups.append(f"{similarity} similarity")
        for way in WAYS:
            marks[way] += document.marks([float(s.means[way].mean()) for s in settings])
    count = len(seeds)
    over = document.seeds_in_words(count) if seeds == list(range(count)) else f"seeds {seeds}"
    return Table(
        f"table_3_{MEASURES[measure].replace('@', '').lower()}",
        f"Table 3 on Wikipedia 2173/693, shallow features. {DEPTHS[measure]}; {over}, test split. "
        "Δ avg: average minus that of the whole model with the same seeds and queries, with 95 % "
        "intervals: t over seeds; percentile bootstrap over test pairs (9,999 samples of scores "
        "averaged over seeds). Best in bold, second underlined, within each similarity. Without a "
        "class loss there is no posterior.",
        pd.DataFrame(cells, groups),
        pd.DataFrame(values),
        marks if cells else {},
    )


def _row(setting: Setting, whole: Setting, measure: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the cells of a setting, and its line of the CSV file."""
    change = None if setting is whole else difference(setting, whole)
    paper = (PUBLISHED_ABLATION.get(setting.label) if measure == "mAP@50" else None) or (None, None)
    intervals = (change.seeds, change.pairs) if change else (None, None)
    cells = {"setting": SETTINGS[setting.label]}
    if measure == "mAP@50":
        cells |= {f"paper {way}": document.number(x) for way, x in zip(WAYS, paper, strict=False)}
    cells |= {way: document.spread(setting.means[way]) for way in WAYS}
    cells["Δ avg"] = document.number(change.mean if change else None, 4)
    for name, bounds in zip(("95 %, seeds", "95 %, queries"), intervals, strict=True):
        cells[name] = " … ".join(document.number(x, 4) for x in bounds) if bounds else "–"
    by_seed, by_pair = (bounds or (None, None) for bounds in intervals)
    return cells, {
        "setting": setting.label,
        "measure": measure,
        "similarity": None,
        "paper_i2t": paper[0],
        "paper_t2i": paper[1],
        **document.means(setting.means),
        "seeds": len(setting.means["avg"]),
        "difference": change and change.mean,
        "seeds_low": by_seed[0],
        "seeds_high": by_seed[1],
        "pairs_low": by_pair[0],
        "pairs_high": by_pair[1],
    }
