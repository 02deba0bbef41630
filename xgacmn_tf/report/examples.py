"""Example queries with their first results: the best, typical and worst ones of a split.

The queries are those at fixed quantiles of the rank of their own item, so that the examples show
what the split's ranks show. Hits carry one of four grades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from xgacmn_tf.datasets.paired import Split, label_matrix
from xgacmn_tf.evaluation.fine_labels import has_finer_label
from xgacmn_tf.evaluation.identity import Direction, Identity, directions
from xgacmn_tf.evaluation.metrics import average_precision
from xgacmn_tf.evaluation.relevance import Labels, Relevance, checked_targets
from xgacmn_tf.evaluation.representations import Representations, similarities
from xgacmn_tf.evaluation.retrieval import own_ranks

# Of the rank of a query's own item: 0 is the best rank, 1 the worst.
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
# How a hit relates to its query, best first, with the mark that shows it.
GRADES = {"own": "★", "fine": "✓", "category": "≈", "none": "✗"}
GRADE_NAMES = {
    "own": "own item",
    "fine": "same fine label",
    "category": "same category",
    "none": "other category",
}


@dataclass(frozen=True)
class Hit:
    """One retrieved item.

    Attributes:
        row: of the split.
        rank: from 1.
        grade: a key of `GRADES`. "own": it counts as the query's own item. "fine": it shares the
            query's fine label, which says more than a category. "category": it shares a category.
    """

    row: int
    rank: int
    grade: str


@dataclass(frozen=True)
class Example:
    """One query with its first results.

    Attributes:
        row: of the split.
        quantile: at which the own item's rank is among those of all queries, from 0 to 1.
        own_rank: of the first item that counts as the query's own.
        average_precision: of the whole ranking, by category.
        hits: best first.
    """

    row: int
    quantile: float
    own_rank: int
    average_precision: float
    hits: tuple[Hit, ...]


def examples_by_rank(
    image: Any,
    text: Any,
    split: Split,
    label_names: Sequence[str],
    identity: Identity,
    depth: int = 8,
    seed: int = 0,
) -> dict[str, list[Example]]:
    """Return the best, typical and worst queries of both directions, with their first results.

    For each of `QUANTILES`, it is a query whose own item has the rank of that quantile. Among
    several with this rank, those of a category that has no example yet come first, then the order
    drawn by the seed decides. In a split with fewer queries of a rank than quantiles of it, some
    quantiles have no example.

    Args:
        image: (n, d) representations of the images, an array or `Representations`; their inner
            products with the texts rank the gallery, ties by row.
        text: (n, d) likewise.
        split: n pairs.
        label_names: c names.
        identity: which items count as a query's own.
        depth: number of hits of each example.
        seed: breaks ties.

    Returns:
        "i2t" and "t2i" → examples, from the best own rank to the worst.
    """
    ranks = own_ranks(image, text, identity=identity)
    targets = label_matrix(split.label, len(label_names))
    fine = None
    if split.fine_label is not None:
        finer = has_finer_label(split.fine_label, split.label, label_names)
        fine = np.where(finer, np.unique(split.fine_label, return_inverse=True)[1], -1)
    rng = np.random.default_rng(seed)
    examples = {}
    for way, direction in directions(identity, deduplicated=False).items():
        query, gallery = (image, text) if way == "i2t" else (text, image)
        rows = rows_at_quantiles(ranks[way], targets, rng)
        examples[way] = retrieve(query, gallery, targets, fine, rows, depth, direction)
    return examples


def rows_at_quantiles(
    ranks: np.ndarray, targets: np.ndarray | sparse.csr_array, rng: np.random.Generator
) -> dict[int, float]:
    """Return the rows of the queries to show, with their quantiles, see `examples_by_rank`.

    Args:
        ranks: (n,) ranks of the own items.
        targets: (n, c) labels.
        rng: orders the queries of one rank.
    """
    order = rng.permutation(len(ranks))
    rows: dict[int, float] = {}
    shown: np.ndarray = np.zeros(targets.shape[1], bool)
    # In small splits, the best, the worst and the typical query come first.
    for quantile in sorted(QUANTILES, key=lambda value: min(abs(value - k) for k in (0, 0.5, 1))):
        rank = np.quantile(ranks, quantile, method="inverted_cdf")
        candidates = [row for row in order[ranks[order] == rank].tolist() if row not in rows]
        if candidates:
            is_shown = targets[candidates] @ shown
            row = candidates[int(np.argmin(is_shown))]
            rows[row] = quantile
            shown |= (targets[[row]].sum(axis=0) > 0).astype(bool)
    return dict(sorted(rows.items(), key=lambda item: item[1]))


def retrieve(
    queries: Any,
    gallery: Any,
    targets: np.ndarray | sparse.csr_array,
    fine: np.ndarray | None,
    rows: dict[int, float],
    depth: int,
    direction: Direction,
) -> list[Example]:
    """Rank the whole gallery for the queries at `rows`, by inner product.

    Order, average precision and rank are computed as for the reported numbers, ties included.
    Average precision is over the whole ranking and divided by the number of relevant items, as in
    the headline mAP; it is 0 for a query without any.

    Args:
        queries: (n, d) representations of one modality, an array or `Representations`.
        gallery: (n, d) representations of the other; row i of both is the same pair.
        targets: (n, c) one-hot or multi-hot, dense or sparse.
        fine: (n,) numbers of the fine labels, −1 for pairs without one that says more than their
            category; None without fine labels.
        rows: the queries to answer → their quantiles.
        depth: number of hits of each.
        direction: which items count as a query's own.
    """
    if not rows:
        return []
    queries = Representations.of("queries", queries)
    gallery = Representations.of("gallery", gallery)
    query_rows = np.array(list(rows))
    scores = similarities(queries.take(query_rows)[:], gallery)
    order = np.argsort(-scores, axis=1, kind="stable")
    relevant, same_fine = _relevant(checked_targets(targets), fine, query_rows)
    right = np.take_along_axis(relevant, order, axis=1)
    precision = average_precision(right, relevant.sum(axis=1))
    own = (order[:, :, np.newaxis] == direction.own(query_rows)[:, np.newaxis]).any(axis=2)
    grades = np.select(
        [own, np.take_along_axis(same_fine, order, axis=1), right],
        ["own", "fine", "category"],
        "none",
    )
    return [
        Example(
            row=row,
            quantile=quantile,
            own_rank=1 + int(own[i].argmax()),
            average_precision=float(precision[i]),
            hits=tuple(
                Hit(row=int(item), rank=k + 1, grade=str(grades[i, k]))
                for k, item in enumerate(order[i, :depth])
            ),
        )
        for i, (row, quantile) in enumerate(rows.items())
    ]


def _relevant(
    labels: Labels, fine: np.ndarray | None, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which items share a category and a fine label with queries, (b, n) bool each.

    Items with one fine label and different categories are not told apart by it, so that a shared
    fine label counts only within a shared category.
    """
    relevant = Relevance(labels, labels).of(rows)
    if fine is None:
        return relevant, np.zeros_like(relevant)
    of_queries = fine[rows, np.newaxis]
    return relevant, relevant & (of_queries == fine) & (of_queries >= 0)
