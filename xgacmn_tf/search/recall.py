"""How much an index finds of what exact search finds, and the effort that it takes.

Recall@m is the share of the first m items found that are at least as similar to the query as the
exact m-th item. So any item that ties with it counts: where class posteriors are compared, many do.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from xgacmn_tf.search.checks import checked_embeddings, checked_ids
from xgacmn_tf.search.index import Index

DEPTH = 50
TARGET = 0.99
QUERIES = 200
# Gallery rows compared at once: double precision of a whole large gallery would take too much.
ROWS_AT_ONCE = 100_000
# Engines sum in single precision: scores are equal that differ by less, relative to themselves.
TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Recall:
    """What was measured.

    Attributes:
      at10, at50: recall among the first 10 and 50, from 0 to 1.
      effort: the index's effort; 0 where it has none.
      queries: how many were asked.
      target: the recall@10 that was wanted.
    """

    at10: float
    at50: float
    effort: int
    queries: int
    target: float

    @property
    def reached(self) -> bool:
        return self.at10 >= self.target

    def __str__(self) -> str:
        effort = f", effort {self.effort}" if self.effort else ""
        missed = "" if self.reached else f"; {self.target:g} was out of reach"
        return (
            f"recall@10 {self.at10:.3f}, recall@50 {self.at50:.3f} against exact search "
            f"({self.queries} queries{effort}){missed}"
        )


def tune(
    index: Index,
    embeddings: Any,
    ids: Any = None,
    queries: Any = None,
    *,
    target: float = TARGET,
    sample: int = QUERIES,
    seed: int = 0,
) -> Recall:
    """Raises an index's effort until recall@10 reaches the target, and tells the recall.

    An index without effort is only measured. Where the target is out of reach, the largest effort
    stays.

    Args:
      index: what holds the embeddings.
      embeddings: (n, d), all that it holds.
      ids: (n,), under which; None for row numbers.
      queries: (q, d) such as will be asked, best of the other modality; None for items of the
        gallery, each without itself among the results.
      target: the recall@10 wanted.
      sample: how many queries are asked, drawn if there are more.
      seed: of the draw.

    Raises:
      InputError: embeddings, ids or queries do not fit each other or the index.
    """
    vectors = checked_embeddings("the gallery", embeddings)
    ids = checked_ids(ids, len(vectors))
    asked = vectors if queries is None else checked_embeddings("the query", queries)
    drawn = np.random.default_rng(seed).permutation(len(asked))[:sample]
    asked = asked[drawn]
    # A gallery of one item has nothing but itself to find.
    without_self = queries is None and len(vectors) > 1
    own = drawn if without_self else np.full(len(drawn), -1)
    own_ids = ids[own] if without_self else np.full(len(drawn), "")
    truth = exact_scores(asked, vectors, own)
    for effort in index.efforts() or (index.effort,):
        index.effort = effort
        hits = index.query(asked, truth.shape[1] + without_self)
        found = _best_but(own_ids, hits.ids, hits.scores)
        at10, at50 = recall_at(10, found, truth), recall_at(50, found, truth)
        if at10 >= target:
            break
    return Recall(at10, at50, effort, len(asked), target)


def exact_scores(queries: np.ndarray, vectors: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(q, k) float32, the largest inner products of each query, descending, 50 at most.

    Args:
      queries: (q, d).
      vectors: (n, d).
      own: (q,) the row that each query is itself, left out; −1 for all where they are none.
    """
    # Imported here: TensorFlow takes seconds to load, and asking for help need not wait for it.
    from xgacmn_tf.evaluation.ranking import rank_gallery

    extra = int(own.max() >= 0)
    rows, scores = np.empty((len(queries), 0), int), np.empty((len(queries), 0), np.float32)
    for first in range(0, len(vectors), ROWS_AT_ONCE):
        part = vectors[first : first + ROWS_AT_ONCE]
        more_rows, more_scores = rank_gallery(queries, part, DEPTH + extra)
        rows = np.hstack([rows, more_rows + first])
        scores = np.hstack([scores, more_scores])
    return _best_but(own, rows, scores)[:, : min(DEPTH, len(vectors) - extra)]


def recall_at(m: int, found: np.ndarray, truth: np.ndarray) -> float:
    """Recall@m of scores found, (q, k), given the exact ones, (q, k), both descending."""
    m = min(m, truth.shape[1])
    least = truth[:, m - 1 : m]
    return float(np.mean(found[:, :m] >= least - TOLERANCE * np.abs(least)))


def _best_but(own: np.ndarray, items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(q, k) scores of (q, k) items, descending, with −∞ for the item that a query is itself."""
    return -np.sort(-np.where(items == own[:, None], -np.inf, scores), axis=1)
