"""Retrieval measures: pure functions of a ranking's relevance, in double precision.

`relevance` is always a (queries, ranked) boolean matrix whose row is one query's gallery in ranked
order, best first: `relevance[q, k - 1]` says whether the item at rank k is relevant. Where several
measures are taken of one ranking, `Hits.of(relevance)` may stand in its place: few items are
relevant, and only they count. Symbols:

  N          items in the gallery
  R          relevant items in the gallery, per query (`num_relevant`)
  K          depth: number of ranks that count
  rel(k)     1 if the item at rank k is relevant, else 0
  P(k)       precision at rank k, (rel(1) + … + rel(k)) / k

The definitions are those of Manning, Raghavan and Schütze, "Introduction to Information Retrieval"
(2008), §8.4. The paper (§4.2) reports mean average precision in its Tables 1–3 and
precision-scope curves in Fig. 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from xgacmn_tf.errors import InputError

Normalizer = Literal["relevant", "hits", "min"]
# Of shares that go through logarithms of factorials.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class Hits:
    """The relevant items of some rankings, query by query and best rank first.

    Attributes:
      queries: number of rankings.
      query: (h,) row of the query of each hit, ascending.
      rank: (h,) rank of the hit, from 1.
      number: (h,) number of the hit among those of its query, from 1.
    """

    queries: int
    query: np.ndarray
    rank: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, relevance: ArrayLike | Hits) -> Hits:
        """Return those of a (q, n) boolean matrix in ranked order; hits stay as they are."""
        if isinstance(relevance, Hits):
            return relevance
        relevance = np.asarray(relevance, bool)
        query, column = np.divmod(np.flatnonzero(relevance), max(relevance.shape[1], 1))
        first = np.searchsorted(query, np.arange(len(relevance)))
        number = np.arange(1, len(query) + 1) - first[query]
        return cls(len(relevance), query, column + 1, number)

    @cached_property
    def precision(self) -> np.ndarray:
        """P(k) at each hit, (h,)."""
        return self.number / self.rank


def average_precision(
    relevance: ArrayLike | Hits,
    num_relevant: ArrayLike,
    depth: int | None = None,
    normalizer: Normalizer = "relevant",
) -> np.ndarray:
    """Return AP = Σ_{k ≤ K} rel(k) P(k) / Z of each query.

    Z is set by `normalizer`:
      "relevant"  R, all relevant items of the gallery. With K = N the AP of text books, with
                  K < N that of TREC.
      "hits"      the relevant items within K. The published code of ACMR (Wang et al. 2017)
                  and DSCMR (Zhen et al. 2019) divides so; it favors rankings with few hits.
      "min"       min(K, R), what a perfect ranking would find within K.

    Worked: relevant items at ranks 1, 3 and 6, R = 3. Full AP = (1/1 + 2/3 + 3/6) / 3 = 0.7222.
    At K = 5 the sum is 1/1 + 2/3 = 1.6667: 0.5556 by "relevant", 0.8333 by "hits", 0.5556 by
    "min" (which at K = 2 gives 1/2 where "relevant" gives 1/3).

    Args:
      relevance: (q, n) bool, ranked.
      num_relevant: (q,) integers, R. A query with R = 0 has AP 0.
      depth: K ≥ 1; a depth beyond n looks at all n. None: n.
      normalizer: as above.

    Returns:
      (q,) float64 in [0, 1].

    Raises:
      InputError: `normalizer` is none of the three.

    Example:

    >>> from xgacmn_tf import metrics
    >>> metrics.average_precision([[1, 0, 1, 0, 0, 1]], num_relevant=[3]).round(4).tolist()
    [0.7222]
    """
    hits, num_relevant = Hits.of(relevance), np.asarray(num_relevant)
    query, precision = hits.query, hits.precision
    if depth is not None:
        within = hits.rank <= depth
        query, precision = query[within], precision[within]
    if normalizer == "relevant":
        divisor = num_relevant
    elif normalizer == "hits":
        divisor = np.bincount(query, minlength=hits.queries)
    elif normalizer == "min":
        divisor = num_relevant if depth is None else np.minimum(num_relevant, depth)
    else:
        raise InputError(f"normalizer {normalizer!r} is unknown; use 'relevant', 'hits' or 'min'")
    total = np.bincount(query, precision, minlength=hits.queries)
    return total / np.maximum(divisor, 1)


def precision_at(relevance: ArrayLike, depth: ArrayLike) -> np.ndarray:
    """Return P(K) = (relevant items within the first K) / K of each query.

    Over K = 1, 2, …, averaged over queries, this is the precision-scope curve of the paper's
    Fig. 3. Beyond the end of the ranking there is nothing to find, but K still divides.

    Worked: relevant items at ranks 1 and 3 give P(1) = 1, P(2) = 1/2, P(3) = 2/3.

    Args:
      relevance: (q, n) bool, ranked.
      depth: K ≥ 1, one or a (d,) vector of them.

    Returns:
      (q,) float64 in [0, 1], or (q, d) for a vector of depths.

    Example:

    >>> from xgacmn_tf import metrics
    >>> metrics.precision_at([[1, 0, 1]], depth=[1, 2]).tolist()
    [[1.0, 0.5]]
    """
    relevance, depth = np.asarray(relevance, bool), np.asarray(depth)
    hits = np.cumsum(relevance[:, : depth.max()], axis=1, dtype=np.int64)
    return hits[:, np.minimum(depth, hits.shape[1]) - 1] / depth


def chance_average_precision(
    num_relevant: ArrayLike,
    gallery_size: int,
    depth: int | None = None,
    normalizer: Normalizer = "relevant",
) -> np.ndarray:
    """Return the expected `average_precision` of a ranking drawn at random, in closed form.

    With H(K) = 1 + 1/2 + … + 1/K, rank k holds a relevant item with probability R/N, and then
    each rank before it does with probability (R − 1)/(N − 1), so that

      S(R, N, K) = E[Σ_{k ≤ K} rel(k) P(k)] / R = (1/N) Σ_{k ≤ K} (1/k) (1 + (k − 1)(R − 1)/(N − 1))
                 = (1/N) (H(K) + (K − H(K)) (R − 1)/(N − 1)).

    "relevant"  S(R, N, K); for K = N the formula of Bestgen, "Exact Expected Average Precision of
                the Random Baseline for System Evaluation" (2015).
    "min"       S(R, N, K) R / min(K, R).
    "hits"      given that h ≥ 1 of the K items are relevant they lie at random within the K, so
                that AP has mean S(h, K, K), which is linear in h; h is hypergeometric with mean
                KR/N and P(h = 0) = p₀ = C(N − R, K) / C(N, K). Together
                (1/K) (H(K) (1 − p₀) + (K − H(K)) (KR/N − (1 − p₀)) / (K − 1)).

    Worked: N = 3, R = 1: the item is first, second or third, (1 + 1/2 + 1/3) / 3 = 0.6111. At
    K = 2: (1 + 1/2 + 0) / 3 = 0.5 whichever the normalizer.

    Args:
      num_relevant: (q,) integers, R in [0, N].
      gallery_size: N ≥ 1.
      depth: K ≥ 1; a depth beyond N looks at all N. None: N.
      normalizer: as for `average_precision`.

    Returns:
      (q,) float64 in [0, 1]; 0 where R = 0.

    Raises:
      InputError: an argument outside its range.
    """
    if gallery_size < 1:
        raise InputError(f"gallery_size is {gallery_size}; it must be at least 1")
    if depth is not None and depth < 1:
        raise InputError(f"depth is {depth}; it must be at least 1")
    relevant = np.asarray(num_relevant, np.float64)
    if ((relevant < 0) | (relevant > gallery_size)).any():
        raise InputError(f"num_relevant must lie between 0 and gallery_size = {gallery_size}")
    within = min(depth or gallery_size, gallery_size)
    harmonic = (1.0 / np.arange(1.0, within + 1.0)).sum()
    if normalizer == "hits":
        hit = 1.0 - _chance_of_no_hit(relevant, gallery_size, within)
        others = within * relevant / gallery_size - hit
        expected = harmonic * hit + (within - harmonic) * others / max(within - 1, 1)
        expected /= within
    elif normalizer in ("relevant", "min"):
        others = (relevant - 1.0) / max(gallery_size - 1, 1)
        expected = (harmonic + (within - harmonic) * others) / gallery_size
        if normalizer == "min" and depth is not None:
            expected *= np.maximum(relevant / depth, 1.0)
    else:
        raise InputError(f"normalizer {normalizer!r} is unknown; use 'relevant', 'hits' or 'min'")
    return np.where(relevant > 0, expected, 0.0)


def chance_of_a_hit(num_own: ArrayLike, gallery_size: int, depth: int) -> np.ndarray:
    """Return the expected recall at K of a ranking drawn at random: 1 − C(N − M, K) / C(N, K).

    Worked: N = 4, M = 2, K = 1 gives 1/2, and K = 2 gives 1 − 1/6 = 5/6.

    Args:
      num_own: (q,) integers, M in [1, N]: items that count as each query's own pair.
      gallery_size: N ≥ 1.
      depth: K ≥ 1; a depth beyond N looks at all N.

    Returns:
      (q,) float64 in [0, 1].
    """
    own = np.asarray(num_own, np.float64)
    return 1.0 - _chance_of_no_hit(own, gallery_size, min(depth, gallery_size))


def chance_median_rank(num_own: ArrayLike, gallery_size: int) -> float:
    """Return the median, over all queries, of the own pair's rank in rankings drawn at random.

    With one item that counts as the own pair every rank is as likely, and it is (N + 1) / 2.

    Args:
      num_own: (q,) integers in [1, N], see `chance_of_a_hit`.
      gallery_size: N ≥ 1.
    """
    kinds, queries = np.unique(np.asarray(num_own), return_counts=True)

    def share_within(rank: int) -> float:
        return float(np.average(chance_of_a_hit(kinds, gallery_size, rank), weights=queries))

    def first_rank(reaches: Callable[[float], bool]) -> int:
        low, high = 1, gallery_size
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if reaches(share_within(middle)) else (middle + 1, high)
        return low

    # Of an even number of values, the median lies between the two in the middle.
    at_least = first_rank(lambda share: share >= 0.5 - _ROUNDING)
    return (at_least + first_rank(lambda share: share > 0.5 + _ROUNDING)) / 2


def _chance_of_no_hit(relevant: np.ndarray, items: int, within: int) -> np.ndarray:
    """C(N − R, K) / C(N, K), through logarithms of factorials, which do not overflow."""
    irrelevant = items - relevant
    remaining = np.maximum(irrelevant - within, 0.0)  # Zero also where the binomial below is zero.
    log_ratio = (
        gammaln(irrelevant + 1.0)
        - gammaln(remaining + 1.0)
        - gammaln(items + 1.0)
        + gammaln(items - within + 1.0)
    )
    return np.where(irrelevant >= within, np.exp(log_ratio), 0.0)
