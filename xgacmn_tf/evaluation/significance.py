"""Significance tests and confidence intervals of differences between systems.

The image query and the text query of a pair depend on each other, so tests and intervals resample
pairs rather than queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 10_000
BOOTSTRAP_SAMPLES = 9_999
CONFIDENCE = 0.95

Interval = tuple[float, float]


def randomization_test(
    first: np.ndarray,
    second: np.ndarray,
    pairs: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> float:
    """Return the p-value of the two-sided paired randomization test (Fisher; Smucker 2007).

    Args:
      first: (q,) scores of one system.
      second: (q,) scores of the other; entry i of both is the score of the same query.
      pairs: (q,) the pair of each query, whose queries are exchanged together; by default every
        query is a pair.
      seed: draws the exchanges.
      resamples: number of exchanges that are drawn, unless all possible ones are fewer; the
        minimum p-value is 1 / (resamples + 1).
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
    """Return p-values corrected for their number (Holm 1979)."""
    corrected, largest = np.ones(len(p_values)), 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected.tolist()


def mean_by_query(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return query → mean score over those runs (seeds) that have the query."""
    scores: dict[str, list[float]] = {}
    for run in runs:
        for query, score in run.items():
            scores.setdefault(query, []).append(score)
    return {query: float(np.mean(values)) for query, values in scores.items()}


def interval_over_seeds(differences: np.ndarray) -> Interval | None:
    """Return Student's t interval of the mean difference over seeds.

    Example: differences 1, 2, 3 have mean 2 and standard deviation 1. With two degrees of freedom
    t = 4.303, so the interval is 2 ± 4.303 / √3 = (−0.484, 4.484).

    Args:
      differences: (seeds,) setting minus reference with the same seed.

    Returns:
      The bounds, or None for fewer than two seeds.
    """
    if len(differences) < 2:
        return None
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)


def interval_over_pairs(differences: np.ndarray, seed: int = 0) -> Interval:
    """Return the percentile bootstrap interval of the mean difference over test pairs.

    Args:
      differences: (n,) setting minus reference of each test pair, averaged over directions and
        seeds.
      seed: draws the samples.
    """
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=BOOTSTRAP_SAMPLES,
        method="percentile",
        vectorized=True,
        batch=500,  # Bounds the memory to 500 copies of the differences.
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
