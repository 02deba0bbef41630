"""Comparison of two finished runs on the test pairs that both have.

Both runs rank the same gallery: the pairs that are in the test split of both. Pairs whose group
(image) either run was trained on are excluded, because they would favor that run. Relevance follows
the labels of the new run. Every difference comes with the paired randomization test over pairs.
"""

from __future__ import annotations

import dataclasses
import logging
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
from xgacmn_tf.groups import first_rows
from xgacmn_tf.io import array_files
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.test_pairs import TestPairs
from xgacmn_tf.runs.trained import TrainedRun

SIGNIFICANCE = 0.05
RECALL_DEPTHS = (1, 5, 10)
# A smaller category is not tested.
MIN_CATEGORY_PAIRS = 10
DIRECTIONS = ("i2t", "t2i")
_IDENTITY = ("group", "image", "text")
# Images and texts, (n, e) each.
_Sides = tuple[np.ndarray, np.ndarray]
# Fewer cannot be ranked.
MIN_PAIRS = 2
logger = logging.getLogger(__name__)


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


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """What a run folder holds of its test split."""

    name: str
    metrics: dict[str, Any]
    arrays: dict[str, np.ndarray]
    pairs: TestPairs | None
    label_names: tuple[str, ...]

    @property
    def id(self) -> np.ndarray:
        return self.arrays["id"]


def compare_runs(old: str | Path, new: str | Path) -> Comparison:
    """Compare two finished runs on their common test pairs.

    Args:
        old, new: run folders.

    Raises:
        InputError: a folder holds no finished run, or the runs have no test pair in common.
    """
    before, after = _read(old), _read(new)
    rows, counts, notes = _common(before, after)
    identity, label, fine_label = _subset(after, rows[1])
    fine = fine_targets(fine_label, label, after.label_names)
    similarities = [s for s in after.metrics["test"] if s in before.metrics["test"]]
    measures: list[tuple[Row, np.ndarray | None, np.ndarray | None]] = []
    categories: tuple[Row, ...] = ()
    headline = after.metrics["headline_similarity"]
    if headline not in similarities:
        notes.append(f"{old} has no {headline} similarity, so that {similarities[0]} is compared")
        headline = similarities[0]
    for similarity in [headline, *(s for s in similarities if s != headline)]:
        old_sides, new_sides = (
            _sides(run, similarity, taken) for run, taken in zip((before, after), rows, strict=True)
        )
        if old_sides is None or new_sides is None:
            notes.append(
                f"{similarity} was not compared: a run folder does not hold its embeddings"
            )
            continue
        sides = [old_sides, new_sides]
        results = [_evaluated(*side, label, identity) for side in sides]
        measures += _measures(similarity, results, sides, identity, fine)
        if similarity == headline:
            categories = _categories(results, label, after.label_names)
    if not measures:
        raise InputError(f"{old} and {new} have no similarity in common that can be compared")
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


def _read(path: str | Path) -> _Run:
    folder = RunFolder(path)
    if not folder.is_finished():
        raise InputError(f"{path} holds no finished run (no metrics.json); name a run folder")
    metrics = folder.read_metrics()
    arrays = array_files.read(folder.embeddings, lambda names: None)
    missing = sorted({"id", "label", "image", "text"} - set(arrays))
    names = metrics.get("label_names")
    if missing or not isinstance(names, list):
        raise InputError(
            f"{path}: an earlier version did not store {', '.join(missing) or 'the label names'}; "
            f"run `xgacmn evaluate --run={path} --output_dir=NEW` and compare that folder"
        )
    return _Run(
        Path(path).resolve().name,
        metrics,
        arrays,
        _pairs(folder, len(arrays["id"])),
        tuple(map(str, names)),
    )


def _pairs(folder: RunFolder, rows: int) -> TestPairs | None:
    """Return the record of the test pairs, from pairs.npz or the data set."""
    if folder.pairs.exists():
        try:
            return TestPairs.from_arrays(array_files.read(folder.pairs, lambda names: None), rows)
        except InputError as error:
            raise InputError(f"{folder.pairs}: {error}") from error
    try:
        return TestPairs.of(TrainedRun(folder.path).dataset())
    except InputError as error:
        logger.warning("%s: it is not known which images it was trained on: %s", folder.path, error)
        return None


def _common(
    old: _Run, new: _Run
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
            "was trained on; compare runs of the same data set, split by the same seed"
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


def _subset(run: _Run, rows: np.ndarray) -> tuple[Identity, np.ndarray, np.ndarray | None]:
    """Return identity, labels and fine labels of the pairs at `rows`."""
    label = run.arrays["label"][rows]
    if run.pairs is None:
        return Identity.of(run.arrays["image"][rows], run.arrays["text"][rows]), label, None
    parts = (getattr(run.pairs.identity, name)[rows] for name in ("group", "image", "text"))
    fine = run.pairs.fine_label
    return (
        Identity(*(first_rows(part) for part in parts)),
        label,
        None if fine is None else fine[rows],
    )


def _sides(run: _Run, similarity: str, rows: np.ndarray) -> _Sides | None:
    """Return the images and the texts whose inner products are a similarity, if stored."""
    name = {"posterior": "{}_posterior", "item": "search_{}"}.get(similarity, "{}")
    if similarity == "item" and run.metrics.get("search_similarity") != "item":
        return None
    if any(name.format(modality) not in run.arrays for modality in MODALITIES):
        return None
    sides = [run.arrays[name.format(modality)][rows].astype(np.float64) for modality in MODALITIES]
    if similarity == "cosine":
        lengths = (np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
        sides = [side / np.maximum(n, 1e-12) for side, n in zip(sides, lengths, strict=True)]
    return sides[0], sides[1]


def _evaluated(
    image: np.ndarray, text: np.ndarray, label: np.ndarray, identity: Identity
) -> RetrievalResult:
    return evaluate_retrieval(image, text, label, identity=identity, recall_depths=RECALL_DEPTHS)


def _measures(
    similarity: str,
    results: Sequence[RetrievalResult],
    sides: Sequence[_Sides],
    identity: Identity,
    fine: dict[str, tuple[np.ndarray, np.ndarray]],
) -> list[tuple[Row, np.ndarray | None, np.ndarray | None]]:
    """Return the rows of a similarity with the scores of the pairs, where queries have scores."""
    scores = [_scores(result) for result in results]
    for name, (rows, labels) in fine.items():
        for values, (image, text) in zip(scores, sides, strict=True):
            parts = Identity(*(first_rows(getattr(identity, f)[rows]) for f in _IDENTITY))
            result = evaluate_retrieval(image[rows], text[rows], labels, identity=parts)
            values[name] = {way: result.per_query[way]["AP"] for way in DIRECTIONS}
    rows_of_table = []
    for name, old in scores[0].items():
        new = scores[1][name]
        means = {way: (float(old[way].mean()), float(new[way].mean())) for way in DIRECTIONS}
        each = [(values["i2t"] + values["t2i"]) / 2 for values in (old, new)]
        row = _row(f"{similarity}/{name}", means, len(each[0]))
        rows_of_table.append((row, each[0], each[1]))
    spread = [spread_measures(first_results(*side, identity)) for side in sides]
    for name, old_values in spread[0].items():
        means = {way: (old_values[way], spread[1][name][way]) for way in DIRECTIONS}
        row = _row(f"{similarity}/{name}", means, len(identity))
        rows_of_table.append((row, None, None))
    return rows_of_table


def _scores(result: RetrievalResult) -> dict[str, dict[str, np.ndarray]]:
    """Return measure → direction → (n,) scores of the queries."""
    by_way = {way: result.per_query[way] for way in DIRECTIONS}
    scores = {name: {w: v[name] for w, v in by_way.items()} for name in ("AP", "AP@50")}
    named = {"mAP": scores["AP"], "mAP@50": scores["AP@50"]}
    return named | {
        f"R@{k}": {way: (values["rank"] <= k).astype(np.float64) for way, values in by_way.items()}
        for k in RECALL_DEPTHS
    }


def _row(name: str, means: dict[str, tuple[float, float]], pairs: int) -> Row:
    old, new = (float(np.mean([values[k] for values in means.values()])) for k in (0, 1))
    return Row(name, old, new, means, pairs)


def _tested(
    measured: Sequence[tuple[Row, np.ndarray | None, np.ndarray | None]],
) -> tuple[Row, ...]:
    """Return rows with p-values, corrected over those that have one."""
    raw = [
        None if old is None or new is None else randomization_test(old, new)
        for _, old, new in measured
    ]
    corrected = iter(holm([p for p in raw if p is not None]))
    return tuple(
        dataclasses.replace(row, raw_p=p, p=None if p is None else next(corrected))
        for (row, _, _), p in zip(measured, raw, strict=True)
    )


def _categories(
    results: Sequence[RetrievalResult], label: np.ndarray, label_names: Sequence[str]
) -> tuple[Row, ...]:
    """Return AP by category, the largest loss first."""
    members = label_matrix(label, len(label_names)).astype(bool).tocsc()
    measured = []
    for number, name in enumerate(label_names):
        rows = members.indices[members.indptr[number] : members.indptr[number + 1]]
        if not len(rows):
            continue
        of_run = [{way: r.per_query[way]["AP"][rows] for way in DIRECTIONS} for r in results]
        means = {
            way: (float(of_run[0][way].mean()), float(of_run[1][way].mean())) for way in DIRECTIONS
        }
        each = [(values["i2t"] + values["t2i"]) / 2 for values in of_run]
        tested = each if len(rows) >= MIN_CATEGORY_PAIRS else [None, None]
        measured.append((_row(str(name), means, len(rows)), *tested))
    return tuple(sorted(_tested(measured), key=lambda row: row.difference))
