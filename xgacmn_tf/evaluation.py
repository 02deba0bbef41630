"""Scoring a whole gallery in both directions, image → text (i2t) and text → image (t2i).

Every item of one modality is a query, and every item of the other is the gallery. The similarity
is the inner product of two representations: of unit-length codes for the cosine, of raw codes for
the dot product, of class posteriors for the posterior similarity. An item is relevant if it shares
a label with the query. `xgacmn_tf.metrics` defines the measures.

The order is that of `xgacmn_tf.ranking`: inner products in double precision, rounded to single,
ties to the lower gallery row. A whole ranking is wanted here, though not which item stands where,
only where relevant ones stand. So similarity and relevance are packed into 32 bits, and NumPy sorts
these with the processor's vector instructions, blocks of queries side by side in threads. Only
where relevant and irrelevant items tie are their rows looked at. An argsort for each query takes
three times as long (`python benchmarks/evaluation.py`).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits

from xgacmn_tf.errors import InputError
from xgacmn_tf.metrics import (
    Hits,
    average_precision,
    chance_average_precision,
    precision_at,
    precision_recall_curve,
)
from xgacmn_tf.ranking import check_at_least_one, checked_representations

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


class Relevance:
    """Which items are relevant to which: those that share a label.

    Args:
      targets: (n, c) one-hot or multi-hot, zeros and ones of any type.

    Attributes:
      items: n.

    Raises:
      InputError: another shape, or other values.
    """

    def __init__(self, targets: Any):
        self._targets = _checked_targets(targets)
        self.items = len(self._targets)
        # With one label each, comparing numbers takes the place of a product over all classes.
        single = (self._targets.sum(axis=1) == 1).all()
        self._labels = self._targets.argmax(axis=1) if single else None

    def of(self, rows: Sequence[int]) -> np.ndarray:
        """(q, n) bool: which of the n items are relevant to the items at `rows`."""
        index = np.asarray(rows)
        if self._labels is not None:
            return self._labels[index, np.newaxis] == self._labels
        return self._targets[index] @ self._targets.T > 0


class Ranking:
    """The whole gallery, ranked for a block of queries.

    Args:
      similarity: (q, n) float32, finite.
      relevant: (q, n) bool, of the items in the gallery's order.
      own: the gallery's row of the first query's pair; those of the others follow.

    Attributes:
      relevance: (q, n) bool in ranked order.
      num_relevant: (q,) relevant items.
    """

    def __init__(self, similarity: np.ndarray, relevant: np.ndarray, own: int):
        self._values, self._own = _ascending(similarity), own
        keys = self._values << 1
        keys |= relevant
        keys.sort(axis=1)
        self.relevance = (keys.astype(np.int8) & 1).view(bool)
        self.num_relevant = np.count_nonzero(relevant, axis=1)
        # Among items that tie, irrelevant ones came first. Where there are both, only the last bit
        # differs between neighbours.
        mixed = (keys[:, 1:] ^ keys[:, :-1]) == 1
        for query in map(int, np.flatnonzero(mixed.any(axis=1))):
            ranked = keys[query] >> 1
            self._settle(query, ranked, ranked[1:][mixed[query]], relevant[query])

    def _settle(
        self, query: int, ranked: np.ndarray, tied: np.ndarray, relevant: np.ndarray
    ) -> None:
        """Puts items that tie in the order of their rows.

        Args:
          query: whose ranking it is.
          ranked: (n,) its sorted values.
          tied: those of them at which relevant and irrelevant items tie.
          relevant: (n,) bool, in the gallery's order.
        """
        # Items whose last bits are those of a value in question: these, and a few that are sorted
        # along to where they stand already.
        marked = np.zeros(2**16, bool)
        marked[tied & 0xFFFF] = True
        row = np.flatnonzero(marked[self._values[query] & 0xFFFF])
        pairs = self._values[query, row].astype(np.int64) << 32 | row << 1 | relevant[row]
        pairs.sort()
        self.relevance[query, marked[ranked & 0xFFFF]] = pairs & 1

    def own_rank(self) -> np.ndarray:
        """(q,) int64 rank of each query's own pair, from 1."""
        query = np.arange(len(self._values))
        own = (query + self._own)[:, np.newaxis]
        value = np.take_along_axis(self._values, own, axis=1)
        ahead = self._values == value
        ahead &= np.arange(self._values.shape[1]) < own
        ahead |= self._values < value
        return 1 + np.count_nonzero(ahead, axis=1)


def _ascending(similarity: np.ndarray) -> np.ndarray:
    """(q, n) int32 of 31 bits that descend as the similarities ascend, and tie where they tie."""
    # The bits of a float, read as an integer, ascend with it from zero up and descend below.
    # Turned over below zero they ascend throughout. Adding 0 makes −0 equal to 0.
    values = (0.0 - similarity).view(np.int32)
    values ^= (values >> 31) & np.int32(0x7FFFFFFF)
    # Similarities below 2 have 31 bits. Larger ones have where those near zero are missing, as they
    # are among fewer than 2^127 times smaller than the largest; otherwise their order is taken.
    excess = max(int(values.max()), -1 - int(values.min())) - (2**30 - 1)
    if excess > 0:
        size = np.abs(values)
        if ((size > 0) & (size <= excess + 1)).any():
            inverse = np.unique(values, return_inverse=True)[1]
            return inverse.reshape(values.shape).astype(np.int32)
        values -= np.sign(values) * np.int32(excess)
    return values


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


def _checked_targets(value: Any) -> np.ndarray:
    """`value` as float32, or an `InputError` that says what is wrong with it."""
    value = tf.cast(value, tf.float32).numpy()
    if value.ndim != 2 or 0 in value.shape:
        raise InputError(
            f"targets has shape {value.shape}; give (items, classes), at least one of each, "
            "one-hot or multi-hot"
        )
    bad = np.count_nonzero((value != 0) & (value != 1))
    if bad:
        raise InputError(
            f"targets holds {bad} values other than 0 and 1; give one-hot or multi-hot"
        )
    return value


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
