"""Comparison of two finished runs on the test pairs that both have.

Both runs rank the same gallery: the pairs that are in the test split of both. Pairs whose group
(image) either run was trained on are excluded, because they would favor that run. Relevance follows
the labels of the new run. Every difference comes with the paired randomization test over pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.datasets.paired import label_matrix
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.fine_labels import fine_targets
from xgacmn_tf.evaluation.first_results import first_results, spread_measures
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.retrieval import RetrievalResult, evaluate_retrieval
from xgacmn_tf.evaluation.significance import holm, randomization_test
from xgacmn_tf.names import DIRECTIONS
from xgacmn_tf.runs.stored_run import Sides, StoredRun

SIGNIFICANCE = 0.05
RECALL_DEPTHS = (1, 5, 10)
# A smaller category is not tested.
MIN_CATEGORY_PAIRS = 10
# Fewer cannot be ranked.
MIN_PAIRS = 2


@dataclasses.dataclass(frozen=True)
class Row:
    """One measure, or one category, of both runs.

    Attributes:
        name: "similarity/measure", or the category.
        old, new: mean of both directions.
        directions: direction → (old, new).
        pairs: number of pairs that the means are of.
        p: p-value of the paired randomization test, corrected by Holm over the rows of the table;
            None where it was not computed.
        raw_p: the same without correction.
    """

    name: str
    old: float
    new: float
    directions: dict[str, tuple[float, float]]
    pairs: int
    p: float | None = None
    raw_p: float | None = None

    @property
    def difference(self) -> float:
        return self.new - self.old


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs on their common test pairs.

    Attributes:
        old, new: names of the run folders.
        pairs: number of pairs compared.
        counts: numbers of pairs that were not compared, by reason, and of both test splits.
        measures: rows of the similarities that both runs define.
        categories: rows by the headline similarity, the largest loss first.
        headline: "similarity/measure" that the gate reads by default.
        notes: what a reader should know.
    """

    old: str
    new: str
    pairs: int
    counts: dict[str, int]
    measures: tuple[Row, ...]
    categories: tuple[Row, ...]
    headline: str
    notes: tuple[str, ...] = ()

    def measure(self, name: str) -> Row:
        """Return the row of a measure.

        Raises:
            InputError: there is none of this name.
        """
        for row in self.measures:
            if row.name == name:
                return row
        raise InputError(
            f"--gate={name}: expected one of {', '.join(row.name for row in self.measures)}"
        )

    def is_worse(self, name: str, max_loss: float = 0.0) -> bool:
        """Whether the new run is significantly worse than the old one, by more than `max_loss`.

        The p-value is that of the one measure, without correction for the others, which a gate
        does not read.
        """
        row = self.measure(name)
        return row.difference < -max_loss and (row.raw_p is None or row.raw_p < SIGNIFICANCE)

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return dataclasses.asdict(self)


# Direction → (n,) scores of the queries.
_Scores = dict[str, np.ndarray]
# A row with the scores of the pairs of both runs, (n,) each, where pairs have scores.
_Measured = tuple[Row, tuple[np.ndarray, np.ndarray] | None]


def compare_runs(old: str | Path, new: str | Path) -> Comparison:
    """Compare two finished runs on their common test pairs.

    Args:
        old, new: run folders.

    Raises:
        InputError: a folder holds no finished run, or the runs have no test pair in common.
    """
    before, after = StoredRun.read(old), StoredRun.read(new)
    rows, counts, notes = _common(before, after)
    identity, label, fine_label = after.subset(rows[1])
    fine = fine_targets(fine_label, label, after.label_names)
    similarities = [s for s in after.metrics["test"] if s in before.metrics["test"]]
    if not similarities:
        raise InputError(f"{old} and {new} have no similarity in common")
    measures: list[_Measured] = []
    categories: tuple[Row, ...] = ()
    headline = after.metrics["headline_similarity"]
    if headline not in similarities:
        notes.append(f"{old} has no {headline} similarity, so that {similarities[0]} is compared")
        headline = similarities[0]
    for similarity in [headline, *(s for s in similarities if s != headline)]:
        old_sides, new_sides = (
            run.sides(similarity, taken) for run, taken in zip((before, after), rows, strict=True)
        )
        if old_sides is None or new_sides is None:
            notes.append(
                f"{similarity} was not compared: a run folder does not hold its embeddings"
            )
            continue
        sides = [old_sides, new_sides]
        results = [
            evaluate_retrieval(*side, label, identity=identity, recall_depths=RECALL_DEPTHS)
            for side in sides
        ]
        measures += _measures(similarity, results, sides, identity, fine)
        if similarity == headline:
            categories = _categories(results, label, after.label_names)
    if not measures:
        raise InputError(f"{old} and {new} store no similarity in common")
    return Comparison(
        before.name,
        after.name,
        len(label),
        counts,
        _tested(measures),
        categories,
        measures[0][0].name,
        tuple(notes),
    )


def _common(
    old: StoredRun, new: StoredRun
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, int], list[str]]:
    """Return the rows of the common test pairs in both runs, counts, and notes."""
    shared, in_old, in_new = np.intersect1d(old.id, new.id, return_indices=True)
    order = np.argsort(in_new)
    in_old, in_new = in_old[order], in_new[order]
    notes, usable = [], np.ones(len(shared), bool)
    for run, other, rows in ((old, new, in_new), (new, old, in_old)):
        if run.pairs is None or other.pairs is None:
            notes.append(f"pairs that {run.name} was trained on could not be excluded")
            continue
        usable &= ~np.isin(other.pairs.group[rows], run.pairs.trained_groups)
    if usable.sum() < MIN_PAIRS:
        raise InputError(
            f"{old.name} and {new.name} have {int(usable.sum())} test pairs in common that neither "
            "was trained on; compare runs of the same data set, with the same ids and seed"
        )
    unknown = set(new.label_names) - set(old.label_names)
    if unknown:
        names = ", ".join(sorted(unknown)[:5])
        notes.append(f"{old.name} was trained without {len(unknown):,} categories: {names}")
    counts = {
        "old_test": len(old.id),
        "new_test": len(new.id),
        "common": len(shared),
        "excluded_as_trained_on": int((~usable).sum()),
    }
    return (in_old[usable], in_new[usable]), counts, notes


def _measures(
    similarity: str,
    results: Sequence[RetrievalResult],
    sides: Sequence[Sides],
    identity: Identity,
    fine: dict[str, tuple[np.ndarray, np.ndarray]],
) -> list[_Measured]:
    """Return the measures of a similarity."""
    scores = [_scores(result) for result in results]
    for name, (rows, labels) in fine.items():
        alone = identity.take(rows)
        for values, (image, text) in zip(scores, sides, strict=True):
            result = evaluate_retrieval(image[rows], text[rows], labels, identity=alone)
            values[name] = {way: result.per_query[way]["AP"] for way in DIRECTIONS}
    old, new = scores
    measured = [_of_pairs(f"{similarity}/{name}", old[name], new[name]) for name in old]
    spread = [spread_measures(first_results(*side, identity)) for side in sides]
    for name, by_way in spread[0].items():
        means = {way: (by_way[way], spread[1][name][way]) for way in DIRECTIONS}
        measured.append((_row(f"{similarity}/{name}", means, len(identity)), None))
    return measured


def _scores(result: RetrievalResult) -> dict[str, _Scores]:
    """Return measure → scores of the queries."""
    by_way = {way: result.per_query[way] for way in DIRECTIONS}
    scores = {
        name: {way: values[key] for way, values in by_way.items()}
        for name, key in (("mAP", "AP"), ("mAP@50", "AP@50"))
    }
    return scores | {
        f"R@{k}": {way: (values["rank"] <= k).astype(np.float64) for way, values in by_way.items()}
        for k in RECALL_DEPTHS
    }


def _of_pairs(name: str, old: _Scores, new: _Scores) -> _Measured:
    """Return the row of a measure, with the scores of the pairs of both runs."""
    means = {way: (float(old[way].mean()), float(new[way].mean())) for way in DIRECTIONS}
    of_old, of_new = ((values["i2t"] + values["t2i"]) / 2 for values in (old, new))
    return _row(name, means, len(of_old)), (of_old, of_new)


def _row(name: str, means: dict[str, tuple[float, float]], pairs: int) -> Row:
    old, new = (float(np.mean([values[k] for values in means.values()])) for k in (0, 1))
    return Row(name, old, new, means, pairs)


def _tested(measured: Sequence[_Measured]) -> tuple[Row, ...]:
    """Return rows with p-values, corrected over those that have one."""
    raw = [None if scores is None else randomization_test(*scores) for _, scores in measured]
    corrected = iter(holm([p for p in raw if p is not None]))
    return tuple(
        dataclasses.replace(row, raw_p=p, p=None if p is None else next(corrected))
        for (row, _), p in zip(measured, raw, strict=True)
    )


def _categories(
    results: Sequence[RetrievalResult], label: np.ndarray, label_names: Sequence[str]
) -> tuple[Row, ...]:
    """Return AP by category, the largest loss first."""
    members = label_matrix(label, len(label_names)).astype(bool).tocsc()
    measured: list[_Measured] = []
    for number, name in enumerate(label_names):
        rows = members.indices[members.indptr[number] : members.indptr[number + 1]]
        if len(rows):
            old, new = ({w: r.per_query[w]["AP"][rows] for w in DIRECTIONS} for r in results)
            row, scores = _of_pairs(name, old, new)
            measured.append((row, scores if len(rows) >= MIN_CATEGORY_PAIRS else None))
    return tuple(sorted(_tested(measured), key=lambda row: row.difference))
