"""Significance of the difference between two systems that answered the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 10_000


def randomisation_test(
    first: np.ndarray,
    second: np.ndarray,
    pairs: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> float:
    """Two-sided p-value of the paired randomisation test of equal means (Fisher; Smucker 2007).

    The image query and the text query of a pair depend on each other, so they are exchanged
    together: the test permutes pairs, not queries.

    Args:
      first: (q,) scores of one system.
      second: (q,) scores of the other; entry i of both belongs to the same query.
      pairs: (q,) the pair of each query; by default every query is a pair of its own.
      seed: draws the exchanges.
      resamples: number of exchanges that are drawn, unless all possible ones are fewer; the
        smallest p-value is 1 / (resamples + 1).
    """
    if np.array_equal(first, second):
        return 1.0
    if pairs is not None:
        # Sums, not means: a pair with both of its queries weighs twice as much as one with one.
        _, pair = np.unique(np.asarray(pairs), return_inverse=True)
        first, second = (np.bincount(pair, weights=scores) for scores in (first, second))

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x - y, axis=axis)

    test = stats.permutation_test(
        (first, second),
        difference,
        permutation_type="samples",
        n_resamples=resamples,
        vectorized=True,
        batch=200,  # Bounds the memory to 200 copies of the scores.
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """The same p-values, corrected for their number (Holm 1979)."""
    corrected, largest = np.ones(len(p_values)), 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected.tolist()


def mean_by_query(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Query → its mean score over those runs (seeds) in which it is a query."""
    totals: dict[str, list[float]] = {}
    for run in runs:
        for query, score in run.items():
            totals.setdefault(query, []).append(score)
    return {query: float(np.mean(scores)) for query, scores in totals.items()}
