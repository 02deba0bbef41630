"""Rows of a comparison: the scores of systems over seeds, tested against the best, as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xgacmn_tf.evaluation.significance import holm, mean_by_query, randomization_test
from xgacmn_tf.names import CODE_SIMILARITIES, SIMILARITIES
from xgacmn_tf.paper import document
from xgacmn_tf.paper.experiments import Experiment, title
from xgacmn_tf.paper.published import Scores, published

WAYS = ("i2t", "t2i", "avg")
# Measures beside mAP, as means of both directions, and their definitions.
ITEM_MEASURES = {
    "R@10": "share of queries with their own pair among the first 10",
    "fine_mAP": "mAP by finer labels, which training never reads",
    "coverage@10": "share of the gallery among the first 10 of some query",
}


@dataclasses.dataclass
class Row:
    """A system at one similarity on one data set, over its finished seeds.

    Attributes:
      title: the system's name in tables.
      similarity: what it ranks by.
      scores: direction → (seeds,) full-gallery mAP.
      queries: "<direction>/<id>" → average precision, averaged over the seeds.
      item_measures: measure of `ITEM_MEASURES` → (seeds,) mean of both directions. A measure is
        missing if the data have no fine labels, or if the version that ran did not compute it.
      model: the system, as --model names it; None for embeddings made elsewhere.
      is_own: whether the similarity is the one that the system itself names.
      seconds: median training time; None if unknown.
      settings: those that differ from the defaults, with their seeds if these differ.
      group: title of the rows that are ranked and tested together.
      p: corrected p-value of the difference from the best row of the group; None for the best.
    """

    title: str
    similarity: str
    scores: dict[str, np.ndarray]
    queries: dict[str, float]
    item_measures: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    model: str | None = None
    is_own: bool = True
    seconds: float | None = None
    settings: str = ""
    group: str = ""
    p: float | None = None

    @property
    def is_ranked(self) -> bool:
        """Whether the row is ranked and tested; "item" is not, because it is beyond the paper."""
        return self.similarity in CODE_SIMILARITIES

    @property
    def mean(self) -> float:
        """mAP, averaged over directions and seeds."""
        return float(self.scores["avg"].mean())


def rows_of(experiments: Sequence[Experiment], all_similarities: bool = False) -> list[Row]:
    """Return the rows of one data set, without p-values, in the order of the systems.

    Args:
      experiments: of one data set; unfinished ones are left out.
      all_similarities: return a row for each similarity that a system defines, not only for its
        own. If X-GACMN has item embeddings, the similarity "item" is a row in any case.
    """
    finished = [experiment for experiment in experiments if experiment.folder.is_finished()]
    rows = []
    for model in dict.fromkeys(experiment.model for experiment in finished):
        seeds = [experiment for experiment in finished if experiment.model == model]
        metrics = [experiment.folder.read_metrics() for experiment in seeds]
        own = metrics[0]["headline_similarity"]
        defined = [s for s in metrics[0]["test"] if s in CODE_SIMILARITIES]
        similarities = defined if all_similarities else [own]
        if all("item" in m["test"] for m in metrics):
            similarities = [*similarities, "item"]
        for similarity in similarities:
            per_query = [experiment.folder.read_per_query(similarity) for experiment in seeds]
            row = row_of(title(model), similarity, [m["test"][similarity] for m in metrics])
            row.queries = mean_by_query(per_query)
            row.model, row.is_own = model, similarity == own
            row.title += "" if row.is_ranked else ", item"
            row.seconds = float(np.median([m["training_time_s"] for m in metrics]))
            row.settings = _settings(seeds)
            rows.append(row)
    return rows


def row_of(title: str, similarity: str, measures: Sequence[Mapping[str, Any]]) -> Row:
    """Return a row without queries from the measures of each seed, as metrics.json has them."""
    return Row(
        title,
        similarity,
        {way: np.array([m["mAP"][way] for m in measures]) for way in WAYS},
        {},
        {
            name: np.array([m[name]["avg"] for m in measures])
            for name in ITEM_MEASURES
            if all(name in m for m in measures)
        },
    )


def _settings(seeds: Sequence[Experiment]) -> str:
    """ "c=30, centre=true", or each variant with its seeds if not all have the same settings."""
    variants: dict[str, list[str]] = {}
    for experiment in seeds:
        config = experiment.config
        variants.setdefault(", ".join(config.system.model_settings), []).append(str(config.seed))
    if len(variants) == 1:
        return next(iter(variants))
    return "; ".join(
        f"{settings or 'defaults'} (seeds {', '.join(names)})"
        for settings, names in variants.items()
    )


def group_by_similarity(rows: Sequence[Row]) -> list[Row]:
    """Return the rows sorted by similarity, each of which forms a group."""
    grouped = [dataclasses.replace(row, group=f"{row.similarity} similarity") for row in rows]
    return sorted(grouped, key=lambda row: SIMILARITIES.index(row.similarity))


def set_p_values(rows: Sequence[Row]) -> None:
    """Test the ranked rows of each group against the best of the group."""
    for group in dict.fromkeys(row.group for row in rows):
        ranked = [row for row in rows if row.group == group and row.is_ranked]
        if not ranked:
            continue
        best = max(ranked, key=lambda row: row.mean)
        others = [row for row in ranked if row is not best]
        p_values = holm([_p_value(best, row) for row in others])
        for row, p in zip(others, p_values, strict=True):
            row.p = p


def _p_value(best: Row, row: Row) -> float:
    queries = sorted(best.queries.keys() & row.queries.keys())
    first, second = (np.array([r.queries[query] for query in queries]) for r in (best, row))
    # A query is "<direction>/<id of its pair>", see `RunFolder.read_per_query`.
    return randomization_test(first, second, [query.partition("/")[2] for query in queries])


def score_table(
    label: str,
    caption: str,
    rows: Sequence[Row],
    paper: Mapping[str, Scores],
    item_measures: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> document.Table:
    """Return the table of some rows.

    Args:
      label: name of the table's files.
      caption: states the measure and the seeds.
      rows: from `rows_of`, grouped and tested.
      paper: system → the paper's scores on the same features.
      item_measures: measures to print beside mAP, with the training time.
      notes: sentences below the table.
    """
    grouped = len({row.group for row in rows if row.is_ranked}) > 1
    cells, records = [], []
    for row in rows:
        i2t, t2i = (row.is_ranked and paper.get(row.model or "")) or (None, None)
        cells.append(
            {
                "system": row.title,
                "similarity": row.similarity + "*" * (grouped and row.is_own),
                "paper i2t": document.number(i2t),
                "paper t2i": document.number(t2i),
                **{way: document.spread(row.scores[way]) for way in WAYS},
                "p": document.p_value(row.p),
            }
        )
        if item_measures:
            for name in item_measures:
                cells[-1][name.replace("_", " ")] = document.spread(row.item_measures.get(name))
            cells[-1]["fit (s)"] = "–" if row.seconds is None else f"{row.seconds:.1f}"
        values = row.scores | {name: row.item_measures.get(name) for name in ITEM_MEASURES}
        records.append(
            {
                "group": row.group,
                "system": row.title,
                "model": row.model,
                "similarity": row.similarity,
                "paper_i2t": i2t,
                "paper_t2i": t2i,
                **document.means({way: values[way] for way in (*WAYS, *ITEM_MEASURES)}),
                "seeds": len(row.scores["avg"]),
                "p": row.p,
                "seconds": row.seconds,
                "settings": row.settings,
            }
        )
    groups = [row.group if row.is_ranked else None for row in rows]
    means = {way: [float(row.scores[way].mean()) for row in rows] for way in WAYS}
    return document.Table(
        label,
        caption,
        pd.DataFrame(cells, index=[row.group for row in rows]),
        pd.DataFrame(records),
        {way: document.marks(means[way], groups) for way in WAYS} if rows else {},
        notes,
    )


def dataset_table(
    specification: str,
    finished: Sequence[Experiment],
    rows: Sequence[Row],
    errors: Mapping[str, str],
    all_similarities: bool = False,
) -> document.Table:
    """Return the table of one data set.

    Args:
      specification: the data set or flag file.
      finished: its finished experiments.
      rows: its rows, tested.
      errors: system → why some of its runs failed.
      all_similarities: whether there is a row for each similarity.
    """
    label = dataset = Path(specification).stem
    paper: Mapping[str, Scores] = {}
    if finished:
        features = finished[0].config.features
        dataset = finished[0].folder.read_metrics()["dataset"]
        paper = published(dataset, features.image_features, features.text_features)
    measures = [name for name in ITEM_MEASURES if any(name in row.item_measures for row in rows)]
    seeds = max((len(row.scores["avg"]) for row in rows), default=0)
    fewer = [f"{r.title} {len(r.scores['avg'])}" for r in rows if len(r.scores["avg"]) < seeds]
    within = " of each similarity; * marks the system's own" if all_similarities else ""
    over = "one seed" if seeds == 1 else f"mean ± sd over {seeds} seeds"
    caption = (
        f"Full-gallery mAP on the test split of {dataset}, {over}; best in bold, second "
        f"underlined{within}."
    )
    definitions = "; ".join(f"{n.replace('_', ' ')}: {ITEM_MEASURES[n]}" for n in measures)
    external = ", ".join(dict.fromkeys(row.title for row in rows if row.model is None))
    changed = dict.fromkeys(f"{row.title}: {row.settings}" for row in rows if row.settings)
    notes = {
        "p: paired randomization test against the best row, over pairs (both queries of a pair are "
        "exchanged together), Holm-corrected; the best row was found on the same queries. "
        "fit: median seconds.": True,
        f"{definitions} (means of both directions, neither ranked nor tested).": bool(measures),
        "X-GACMN, item is beyond the paper: X-GACMN ranked by class posteriors and item "
        "embeddings together; it is neither ranked nor tested.": any(
            not row.is_ranked for row in rows
        ),
        f"Embeddings made elsewhere: {external}.": bool(external),
        f"Fewer seeds: {', '.join(dict.fromkeys(fewer))}.": bool(fewer),
        f"Settings: {'; '.join(changed)}.": bool(changed),
    }
    unfinished = [f"{title(m)}: not every run finished: {error}" for m, error in errors.items()]
    shown = [note for note, applies in notes.items() if applies]
    return score_table(label, caption, rows, paper, measures, shown + unfinished)
