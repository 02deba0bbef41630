"""Sampled queries with what they retrieve, for a person to look at.

Nothing here is picked by its result: the queries are drawn by seed, one class after the other.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hit:
    """One retrieved item: its row in the split, its rank from 1, and how it relates to the query.

    `right`: it shares a label with the query. `own`: it is the other half of the query's pair.
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


def sample_rows(targets: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """Draws `count` different rows (all, if there are fewer), going round the classes.

    Args:
      targets: (n, c), positive where the row has the class.
      count: how many rows to draw, at least 0.
      rng: decides the order of the classes and of the rows within each.

    Returns:
      Rows in the order in which they were drawn. A row with several labels stands for whichever of
      them comes first; no class gets a second row before every class that still has one got its
      first.
    """
    queues = [
        rng.permutation(np.flatnonzero(targets[:, c] > 0)).tolist()
        for c in rng.permutation(targets.shape[1])
    ]
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
    queries: np.ndarray, gallery: np.ndarray, targets: np.ndarray, rows: list[int], depth: int
) -> list[Example]:
    """Ranks the whole gallery for the queries at `rows`, by inner product.

    Equal scores are ordered by gallery row, the lower first. Average precision is over the whole
    ranking and divided by the number of relevant items, as in the headline mAP; it is 0 for a
    query without any.

    Args:
      queries: (n, d) representations of one modality.
      gallery: (n, d) representations of the other; row i of both is the same pair.
      targets: (n, c), positive where a pair has the class.
      rows: which queries to answer.
      depth: how many hits to keep of each.
    """
    examples = []
    for row in rows:
        # In double precision, so that rounding does not make up an order between equal items.
        scores = gallery.astype(np.float64) @ queries[row].astype(np.float64)
        order = np.argsort(-scores, kind="stable")
        relevant = ((targets > 0) & (targets[row] > 0)).any(axis=1)[order]
        ranks = np.flatnonzero(relevant) + 1
        precisions = np.arange(1, len(ranks) + 1) / ranks
        examples.append(
            Example(
                row=row,
                average_precision=float(precisions.mean()) if len(ranks) else 0.0,
                hits=tuple(
                    Hit(row=int(item), rank=k + 1, right=bool(relevant[k]), own=bool(item == row))
                    for k, item in enumerate(order[:depth])
                ),
                own_rank=int(np.flatnonzero(order == row)[0]) + 1,
                relevant=len(ranks),
            )
        )
    return examples
