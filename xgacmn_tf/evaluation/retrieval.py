"""Scoring a whole gallery in both directions, image → text (i2t) and text → image (t2i).

Every item of one modality is a query, and every item of the other is the gallery. The similarity
is the inner product of two representations: of unit-length codes for the cosine, of raw codes for
the dot product, of class posteriors for the posterior similarity. An item is relevant if it shares
a label with the query. `xgacmn_tf.evaluation.metrics` defines the measures.

The order is that of `xgacmn_tf.evaluation.ranking`: inner products in double precision, rounded to
single, ties to the lower gallery row. Blocks of queries are ranked side by side in threads.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.metrics import (
    Hits,
    average_precision,
    chance_average_precision,
    precision_at,
    precision_recall_curve,
)
from xgacmn_tf.evaluation.ranking import check_at_least_one, checked_representations
from xgacmn_tf.evaluation.whole_ranking import Ranking, Relevance

Measures = dict[str, dict[str, float]]

RECALL_POINTS = 101

# Pairs of query and item that a thread ranks at a time: about 32 MB of working memory.
PAIRS = 2**20
# Queries at a time at least: with fewer, reading a large gallery takes longer than multiplying it.
QUERIES = 32


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """What `evaluate_retrieval` measures. A direction is "i2t" or "t2i"; n is the number of pairs.

    Attributes:
      measures: measure → {"i2t", "t2i", "avg"}. "mAP" is over the full gallery and divided by the
        relevant items in it; "mAP@50" is divided by the relevant items found in the first 50,
        "mAP@50/min" by min(50, relevant). "R@K" is the share of queries whose own pair is among
        the first K, "median_rank" the median rank of the own pair. "avg" is the directions' mean.
      per_query: direction → {"AP", "AP@50"} (n,) float64 and {"rank"} (n,) int64, of the own pair.
      precision_scope: direction → (min(max_scope, n),) float64, mean precision at K = 1, 2, ….
      precision_recall: direction → (101,) float64, mean interpolated precision at recall 0, .01, …,
        1.
      queries_without_relevant: direction → how many queries no gallery item is relevant to. They
        count with AP 0.
    """

    measures: Measures
    per_query: dict[str, dict[str, np.ndarray]]
    precision_scope: dict[str, np.ndarray]
    precision_recall: dict[str, np.ndarray]
    queries_without_relevant: dict[str, int]


def evaluate_retrieval(
    image: Any,
    text: Any,
    targets: Any,
    *,
    depth: int = 50,
    recall_depths: Sequence[int] = (1, 5, 10),
    max_scope: int = 1000,
    block_size: int | None = None,
) -> RetrievalResult:
    """All measures of a set of pairs, in both directions.

    Args:
      image: (n, d) finite representations; arrays or tensors of any floating type.
      text: (n, d) likewise. Row i of `image`, `text` and `targets` is the same pair.
      targets: (n, c) one-hot or multi-hot, zeros and ones of any type. A row of zeros is allowed.
      depth: K of the measures "mAP@K" and "mAP@K/min".
      recall_depths: every K of the measures "R@K".
      max_scope: the last K of the precision-scope curve.
      block_size: queries that a thread ranks at a time, by default as many as make `PAIRS` pairs
        and at least `QUERIES`. The results do not depend on it.

    Returns:
      A `RetrievalResult`.

    Raises:
      InputError: shapes that do not fit, an empty set, values that are not finite, targets other
        than 0 and 1, or a setting below 1.
    """
    check_at_least_one(depth=depth, max_scope=max_scope)
    check_at_least_one(recall_depths=min(recall_depths, default=1))
    image, text, relevance = _pairs(image, text, targets)
    scopes = np.arange(1, min(max_scope, len(image)) + 1)

    def measure(ranking: Ranking) -> tuple[np.ndarray, ...]:
        """Per query: AP, AP@K by hits and by min, own rank, R. Of the block: two curves' sums."""
        hits, relevant = Hits.of(ranking.relevance), ranking.num_relevant
        return (
            average_precision(hits, relevant),
            average_precision(hits, relevant, depth, "hits"),
            average_precision(hits, relevant, depth, "min"),
            ranking.own_rank(),
            relevant,
            precision_at(ranking.relevance, scopes).sum(axis=0, keepdims=True),
            precision_recall_curve(hits, relevant, RECALL_POINTS).sum(axis=0, keepdims=True),
        )

    measures: Measures = {}
    per_query, scope, curve, without = {}, {}, {}, {}
    for direction, query, gallery in (("i2t", image, text), ("t2i", text, image)):
        full, hits, capped, rank, relevant, at_scope, at_recall = _over_blocks(
            measure, query, gallery, relevance, block_size
        )
        found = {"mAP": _mean(full), f"mAP@{depth}": _mean(hits), f"mAP@{depth}/min": _mean(capped)}
        found |= {f"R@{k}": _mean(rank <= k) for k in recall_depths}
        found["median_rank"] = float(np.median(rank))
        for name, value in found.items():
            measures.setdefault(name, {})[direction] = value
        per_query[direction] = {"AP": full, f"AP@{depth}": hits, "rank": rank}
        scope[direction] = at_scope.sum(axis=0) / len(rank)
        curve[direction] = at_recall.sum(axis=0) / len(rank)
        without[direction] = int((relevant == 0).sum())
    for values in measures.values():
        values["avg"] = (values["i2t"] + values["t2i"]) / 2
    return RetrievalResult(measures, per_query, scope, curve, without)


def mean_average_precision(
    image: Any, text: Any, targets: Any, block_size: int | None = None
) -> dict[str, float]:
    """Full-gallery mAP alone, as `evaluate_retrieval` has it, at a lower cost.

    Args and errors are those of `evaluate_retrieval`.

    Returns:
      {"i2t", "t2i", "avg"}, each in [0, 1].
    """
    image, text, relevance = _pairs(image, text, targets)

    def measure(ranking: Ranking) -> tuple[np.ndarray, ...]:
        return (average_precision(ranking.relevance, ranking.num_relevant),)

    i2t = _mean(_over_blocks(measure, image, text, relevance, block_size)[0])
    t2i = _mean(_over_blocks(measure, text, image, relevance, block_size)[0])
    return {"i2t": i2t, "t2i": t2i, "avg": (i2t + t2i) / 2}


def chance_levels(
    targets: Any,
    depth: int = 50,
    recall_depths: Sequence[int] = (1, 5, 10),
    block_size: int | None = None,
) -> Measures:
    """What a random ranking scores on average, in closed form, in the shape of `measures`.

    The own pair is at each of the n ranks alike, so that R@K = min(K, n) / n and its median rank
    is (n + 1) / 2. For average precision see `chance_average_precision`.

    Args and errors are those of `evaluate_retrieval`.
    """
    check_at_least_one(depth=depth)
    check_at_least_one(recall_depths=min(recall_depths, default=1))
    relevance = Relevance(targets)
    items = relevance.items

    def count(first: int, last: int) -> tuple[np.ndarray, ...]:
        return (relevance.of(range(first, last)).sum(axis=1),)

    (relevant,) = _in_threads(count, items, block_size)
    levels = {
        "mAP": _mean(chance_average_precision(relevant, items)),
        f"mAP@{depth}": _mean(chance_average_precision(relevant, items, depth, "hits")),
        f"mAP@{depth}/min": _mean(chance_average_precision(relevant, items, depth, "min")),
    }
    levels |= {f"R@{k}": min(k, items) / items for k in recall_depths}
    levels["median_rank"] = (items + 1) / 2
    return {name: dict.fromkeys(("i2t", "t2i", "avg"), level) for name, level in levels.items()}


def _over_blocks(
    function: Callable[[Ranking], tuple[np.ndarray, ...]],
    query: np.ndarray,
    gallery: np.ndarray,
    relevance: Relevance,
    block_size: int | None,
) -> list[np.ndarray]:
    """What a function finds in each block's ranking, joined along axis 0."""

    def rank(first: int, last: int) -> tuple[np.ndarray, ...]:
        similarity = (query[first:last] @ gallery.T).astype(np.float32)
        return function(Ranking(similarity, relevance.of(range(first, last)), first))

    return _in_threads(rank, len(query), block_size)


def _in_threads(
    function: Callable[[int, int], tuple[np.ndarray, ...]], rows: int, block_size: int | None
) -> list[np.ndarray]:
    """Joins along axis 0 what `function(first, last)` gives for all blocks of so many rows."""
    size = max(QUERIES, PAIRS // rows) if block_size is None else block_size
    check_at_least_one(block_size=size)
    firsts = range(0, rows, size)
    lasts = [min(first + size, rows) for first in firsts]
    # A process among several has its share of the cores in this variable.
    share = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(share) if share.isdecimal() and int(share) else os.cpu_count() or 1
    if threads == 1 or len(firsts) == 1:
        found = list(map(function, firsts, lasts))
    else:
        # Each thread has a core, so matrix products inside of them must not ask for more.
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(function, firsts, lasts))
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _pairs(image: Any, text: Any, targets: Any) -> tuple[np.ndarray, np.ndarray, Relevance]:
    """Both sides in double precision, checked, and what is relevant to what."""
    image, text = (
        checked_representations(name, value).numpy()
        for name, value in (("image", image), ("text", text))
    )
    relevance = Relevance(targets)
    if image.shape != text.shape or len(image) != relevance.items:
        raise InputError(
            f"image is {image.shape}, text {text.shape} and targets {np.shape(targets)}; image and "
            "text must have the same shape, and all three one row per pair"
        )
    return image, text, relevance


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
