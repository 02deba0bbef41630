"""Sampled queries with what they retrieve, for a person to look at.

Nothing here is picked by its result: the queries are drawn by seed, one class after the other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from xgacmn_tf.evaluation.identity import Direction
from xgacmn_tf.evaluation.metrics import average_precision
from xgacmn_tf.evaluation.representations import Representations, similarities
from xgacmn_tf.evaluation.whole_ranking import Relevance, ascending, checked_targets


@dataclass(frozen=True)
class Hit:
    """One retrieved item: its row in the split, its rank from 1, and how it relates to the query.

    `right`: it shares a label with the query. `own`: it counts as the query's own pair.
    """

    row: int
    rank: int
    right: bool
    own: bool


@dataclass(frozen=True)
class Example:
    """One query (its row), its average precision, its first hits and the rank of its own pair."""

    row: int
    average_precision: float
    hits: tuple[Hit, ...]
    own_rank: int
    relevant: int


def sample_rows(
    targets: np.ndarray | sparse.sparray, count: int, rng: np.random.Generator
) -> list[int]:
    """Draws `count` different rows (all, if there are fewer), going round the classes.

    Args:
      targets: (n, c), not zero where the row has the class; dense or sparse.
      count: how many rows to draw, at least 0.
      rng: decides the order of the classes and of the rows within each.

    Returns:
      Rows in the order in which they were drawn. A row with several labels stands for whichever of
      them comes first; no class gets a second row before every class that still has one got its
      first.
    """
    by_class = sparse.csc_array(targets)
    by_class.sort_indices()
    rows = np.split(by_class.indices.astype(np.int64), by_class.indptr[1:-1])
    queues = [rng.permutation(rows[c]).tolist() for c in rng.permutation(targets.shape[1])]
    chosen: list[int] = []
    taken: set[int] = set()
    while len(chosen) < count and any(queues):
        for queue in queues:
            while queue and queue[0] in taken:
                queue.pop(0)
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
                taken.add(chosen[-1])
    return chosen


def retrieve(
    queries: Any,
    gallery: Any,
    targets: np.ndarray | sparse.sparray,
    rows: list[int],
    depth: int,
    direction: Direction,
) -> list[Example]:
    """Ranks the whole gallery for the queries at `rows`, by inner product.

    Order, average precision and rank are computed as for the reported numbers, ties included.
    Average precision is over the whole ranking and divided by the number of relevant items, as in
    the headline mAP; it is 0 for a query without any.

    Args:
      queries: (n, d) representations of one modality, an array or `Representations`.
      gallery: (n, d) representations of the other; row i of both is the same pair.
      targets: (n, c) one-hot or multi-hot, dense or sparse.
      rows: which queries to answer.
      depth: how many hits to keep of each.
      direction: which items count as a query's own pair.
    """
    if not rows:
        return []
    queries = Representations.of("queries", queries)
    gallery = Representations.of("gallery", gallery)
    scores = similarities(queries.take(np.array(rows))[:], gallery)
    order = np.argsort(ascending(scores), axis=1, kind="stable")
    labels = checked_targets(targets)
    relevant = Relevance(labels, labels).of(np.array(rows))
    right, num_relevant = np.take_along_axis(relevant, order, axis=1), relevant.sum(axis=1)
    precision = average_precision(right, num_relevant)
    own = (order[:, :, np.newaxis] == direction.own(np.array(rows))[:, np.newaxis]).any(axis=2)
    return [
        Example(
            row=row,
            average_precision=float(precision[i]),
            hits=tuple(
                Hit(row=int(item), rank=k + 1, right=bool(right[i, k]), own=bool(own[i, k]))
                for k, item in enumerate(order[i, :depth])
            ),
            own_rank=1 + int(own[i].argmax()),
            relevant=int(num_relevant[i]),
        )
        for i, row in enumerate(rows)
    ]
