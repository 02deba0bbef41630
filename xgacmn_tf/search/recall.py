"""Recall of an index against exact search, and the effort that reaches a target recall.

Recall@m is the share of the first m hits that are at least as similar to the query as the exact
m-th item. An item that ties with it counts as well: with class posteriors, many items tie.

Recall depends on the queries. Items of the gallery find their own neighborhood with little effort,
while queries of the other modality lie elsewhere, so recall is measured with the latter.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from xgacmn_tf.search.index import Index, checked_embeddings

DEPTH = 50
TARGET = 0.99
QUERIES = 200
# Gallery rows compared at once: double precision of a whole large gallery would take too much.
ROWS_AT_ONCE = 100_000
# Engines sum in single precision: scores are equal that differ by less, relative to themselves.
TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Recall:
    """A measured recall.

    Attributes:
      at10, at50: recall among the first 10 and 50 hits, from 0 to 1.
      effort: the index's effort; 0 where it has none.
      queries: the number of queries.
      target: the recall@10 that was wanted.
      source: where the queries come from, such as "text queries of the test split".
    """

    at10: float
    at50: float
    effort: int
    queries: int
    target: float
    source: str = "queries"

    @property
    def reached(self) -> bool:
        return self.at10 >= self.target

    def __str__(self) -> str:
        effort = f" at effort {self.effort}" if self.effort else ""
        missed = "" if self.reached else f"; {self.target:g} was out of reach"
        return (
            f"recall@10 {self.at10:.3f}, recall@50 {self.at50:.3f} for {self.queries} {self.source}"
            f"{effort}{missed}"
        )


def tune(
    index: Index,
    embeddings: Any,
    queries: Any,
    *,
    source: str = "queries",
    target: float = TARGET,
    sample: int = QUERIES,
    seed: int = 0,
) -> Recall:
    """Raise an index's effort until recall@10 reaches the target, and return the recall.

    An index without effort is only measured. Where the target is out of reach, the largest effort
    stays.

    Args:
      index: the index that holds the embeddings.
      embeddings: (n, d), everything that it holds.
      queries: (q, d) embeddings of the modality that will query the index, none of them all zero.
        Items of the gallery are no substitute: their recall says nothing of the other modality's.
      source: what the recall calls the queries.
      target: the recall@10 wanted.
      sample: the number of queries used, drawn if there are more.
      seed: seed of the draw.

    Raises:
      InputError: embeddings and queries do not fit each other or the index.
    """
    vectors = checked_embeddings("the gallery", embeddings)
    queries = checked_embeddings("the query", queries, vectors.shape[1])
    queries = queries[np.random.default_rng(seed).permutation(len(queries))[:sample]]
    truth = exact_scores(queries, vectors)

    def measured(m: int) -> float:  # A search for more than m may look at more of the index.
        return recall_at(m, index.query(queries, m).scores, truth)

    for effort in index.efforts() or (index.effort,):
        index.effort = effort
        at10 = measured(10)
        if at10 >= target:
            break
    return Recall(at10, measured(50), effort, len(queries), target, source)


def exact_scores(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the largest inner products of each query, descending.

    Args:
      queries: (q, d).
      vectors: (n, d).

    Returns:
      (q, k) float32, where k is the smaller of n and `DEPTH`.
    """
    # Imported here: TensorFlow takes seconds to load, and asking for help need not wait for it.
    from xgacmn_tf.evaluation.ranking import rank_gallery

    scores = np.empty((len(queries), 0), np.float32)
    for first in range(0, len(vectors), ROWS_AT_ONCE):
        _, more = rank_gallery(queries, vectors[first : first + ROWS_AT_ONCE], DEPTH)
        scores = -np.sort(-np.hstack([scores, more]), axis=1)[:, :DEPTH]
    return scores


def recall_at(m: int, scores: np.ndarray, truth: np.ndarray) -> float:
    """Return recall@m of an index's scores.

    Args:
      m: the number of first hits that count.
      scores: (q, j) of the index's hits, descending; a missing hit counts as missed.
      truth: (q, k) exact scores, descending.
    """
    m = min(m, truth.shape[1])
    lowest = truth[:, m - 1 : m]
    return float(np.sum(scores[:, :m] >= lowest - TOLERANCE * np.abs(lowest)) / (m * len(truth)))
