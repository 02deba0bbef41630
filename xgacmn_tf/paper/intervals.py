"""95 % confidence intervals of a difference between two settings that share seeds and queries."""

from __future__ import annotations

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 9_999

Interval = tuple[float, float]


def over_seeds(differences: np.ndarray) -> Interval | None:
    """Student's t interval of the mean difference, as if other seeds had been drawn.

    Worked: differences 1, 2, 3 have mean 2 and standard deviation 1. With two degrees of freedom
    t = 4.303, so that the interval is 2 ± 4.303 / √3 = (−0.484, 4.484).

    Args:
      differences: (seeds,) setting minus reference, both with the same seed.

    Returns:
      Low and high, or None for fewer than two seeds.
    """
    if len(differences) < 2:
        return None
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(LEVEL)
    return float(interval.low), float(interval.high)


def over_pairs(differences: np.ndarray, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean difference, as if other pairs had been drawn.

    The image query and the text query of a pair are drawn together, because their scores depend on
    each other; `compare.significance` exchanges them together for the same reason.

    Args:
      differences: (n,) setting minus reference of each test pair, averaged over directions and
        seeds.
      seed: draws the samples.
    """
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    found = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        batch=500,  # Bounds the memory to 500 copies of the differences.
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
