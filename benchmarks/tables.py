"""Parts of the Markdown tables that benchmarks print."""

from collections.abc import Sequence

import numpy as np


def header(*titles: str) -> list[str]:
    """Return the first two lines of a table."""
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def mean_and_deviation(scores: Sequence[float]) -> str:
    """Return the mean ± standard deviation over seeds; the mean alone of one seed."""
    mean = f"{np.mean(scores):.3f}"
    return mean if len(scores) == 1 else f"{mean} ± {np.std(scores, ddof=1):.3f}"
