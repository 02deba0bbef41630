"""Evaluation of a whole gallery in both directions, image → text (i2t) and text → image (t2i).

Every item of one modality is a query, and every item of the other is in the gallery. The similarity
is the inner product of two representations: of unit-length codes for the cosine, of raw codes for
the dot product, of class posteriors for the posterior similarity. An item is relevant if it shares
a label with the query; `identity.Identity` defines which items count as the query's own pair.
`metrics` defines the measures.

The order is that of `ranking`: inner products in double precision, rounded to single, ties to the
lower gallery row. Blocks of queries are ranked in parallel threads.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.identity import Direction, Identity, directions
from xgacmn_tf.evaluation.metrics import (
    Hits,
    average_precision,
    chance_average_precision,
    chance_median_rank,
    chance_of_a_hit,
    precision_at,
)
from xgacmn_tf.evaluation.query_blocks import in_threads, over_queries, query_bar
from xgacmn_tf.evaluation.ranking import check_at_least_one
from xgacmn_tf.evaluation.relevance import Labels, Relevance, checked_targets, united
from xgacmn_tf.evaluation.representations import Representations

Measures = dict[str, dict[str, float]]


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """The results of `evaluate_retrieval`. A direction is "i2t" or "t2i" with q queries.

    Attributes:
      measures: measure → {"i2t", "t2i", "avg"}. "mAP" is over the full gallery and divided by the
        relevant items in it; "mAP@50" is divided by the relevant items among the first 50,
        "mAP@50/min" by min(50, relevant). "R@K" is the share of queries for which an item that
        counts as the own pair is among the first K, "median_rank" the median rank of the first such
        item. "avg" is the directions' mean.
      per_query: direction → {"AP", "AP@50"} (q,) float64, and {"rank", "pair"} (q,) int64: the rank
        of the own pair, and the row of a pair that the query belongs to.
      precision_scope: direction → float64, mean precision at K = 1, 2, … up to max_scope or to the
        gallery's size.
      queries_without_relevant: direction → number of queries without a relevant gallery item. They
        count with AP 0.
    """

    measures: Measures
    per_query: dict[str, dict[str, np.ndarray]]
    precision_scope: dict[str, np.ndarray]
    queries_without_relevant: dict[str, int]


def evaluate_retrieval(
    image: Any,
    text: Any,
    targets: Any,
    *,
    identity: Identity | None = None,
    deduplicated: bool = False,
    depth: int = 50,
    recall_depths: Sequence[int] = (1, 5, 10),
    max_scope: int = 1000,
    block_size: int | None = None,
    title: str | None = None,
) -> RetrievalResult:
    """Return all measures of a set of pairs, in both directions.

    Args:
      image: (n, d) finite representations; arrays or tensors of any floating type, or
        `representations.Representations`.
      text: (n, d) likewise. Row i of `image`, `text` and `targets` is the same pair.
      targets: (n,) labels, whole numbers from 0; or (n, c) one-hot or multi-hot, zeros and ones of
        any type, dense or sparse. A row of zeros is allowed.
      identity: which items are the same. By default those with equal representations, which is
        right if the encoders give different items different representations.
      deduplicated: each image is a query and in the gallery once, with all its texts.
      depth: K of the measures "mAP@K" and "mAP@K/min".
      recall_depths: every K of the measures "R@K".
      max_scope: the last K of the precision-scope curve.
      block_size: number of queries that a thread ranks at a time, by default as many as make
        `PAIRS` pairs and at least `QUERIES`. The results do not depend on it.
      title: title of a progress bar; None shows none.

    Returns:
      A `RetrievalResult`.

    Raises:
      InputError: shapes do not fit, a set is empty, values are not finite, targets are neither 0
        nor 1, or a setting is below 1.
    """
    check_at_least_one(
        depth=depth, max_scope=max_scope, recall_depths=min(recall_depths, default=1)
    )
    image, text, targets = _pairs(image, text, targets)
    ways = directions(_checked_identity(identity, image, text), deduplicated)
    relevance = _relevance(ways, targets)

    def measure(name: str, rows: slice, scores: np.ndarray) -> tuple[np.ndarray, ...]:
        """Per query: AP, AP@K by hits and by min, own rank, R. Per block: summed precisions."""
        relevant = relevance[name].of(rows)
        ranked, count = _ranked_relevance(scores, relevant), relevant.sum(axis=1)
        hits, scopes = Hits.of(ranked), np.arange(1, min(max_scope, ranked.shape[1]) + 1)
        return (
            average_precision(hits, count),
            average_precision(hits, count, depth, "hits"),
            average_precision(hits, count, depth, "min"),
            _own_rank(scores, ways[name].own(rows)),
            count,
            precision_at(ranked, scopes).sum(axis=0, keepdims=True),
        )

    by_way, per_query, scope, without = {}, {}, {}, {}
    for name, results in over_queries(measure, ways, image, text, block_size, title).items():
        full, hits, capped, rank, relevant, at_scope = results
        by_way[name] = {
            "mAP": _mean(full),
            f"mAP@{depth}": _mean(hits),
            f"mAP@{depth}/min": _mean(capped),
            **{f"R@{k}": _mean(rank <= k) for k in recall_depths},
            "median_rank": float(np.median(rank)),
        }
        pair = ways[name].query
        per_query[name] = {"AP": full, f"AP@{depth}": hits, "rank": rank, "pair": pair}
        scope[name] = at_scope.sum(axis=0) / len(rank)
        without[name] = int((relevant == 0).sum())
    return RetrievalResult(_by_measure(by_way), per_query, scope, without)


def mean_average_precision(
    image: Any, text: Any, targets: Any, block_size: int | None = None, title: str | None = None
) -> dict[str, float]:
    """Return full-gallery mAP alone, as `evaluate_retrieval` has it, at a lower cost.

    Args and errors are those of `evaluate_retrieval`.

    Returns:
      {"i2t", "t2i", "avg"}, each in [0, 1].
    """
    image, text, targets = _pairs(image, text, targets)
    ways = directions(_all_different(len(image)), False)
    relevance = _relevance(ways, targets)

    def measure(name: str, rows: slice, scores: np.ndarray) -> tuple[np.ndarray, ...]:
        relevant = relevance[name].of(rows)
        return (average_precision(_ranked_relevance(scores, relevant), relevant.sum(axis=1)),)

    results = over_queries(measure, ways, image, text, block_size, title)
    return _by_measure({name: {"mAP": _mean(full)} for name, (full,) in results.items()})["mAP"]


def own_ranks(
    image: Any,
    text: Any,
    *,
    identity: Identity | None = None,
    deduplicated: bool = False,
    block_size: int | None = None,
    title: str | None = None,
) -> dict[str, np.ndarray]:
    """Return the rank of the first item that counts as each query's own pair.

    The ranks are those of `evaluate_retrieval`, at a lower cost, since nothing is sorted. Args and
    errors are those of `evaluate_retrieval`.

    Returns:
      "i2t" and "t2i" → (q,) int64 ranks, from 1.
    """
    image, text = _sides(image, text)
    ways = directions(_checked_identity(identity, image, text), deduplicated)

    def rank(name: str, rows: slice, scores: np.ndarray) -> tuple[np.ndarray, ...]:
        return (_own_rank(scores, ways[name].own(rows)),)

    results = over_queries(rank, ways, image, text, block_size, title)
    return {name: ranks for name, (ranks,) in results.items()}


def chance_levels(
    targets: Any,
    depth: int = 50,
    recall_depths: Sequence[int] = (1, 5, 10),
    block_size: int | None = None,
    identity: Identity | None = None,
    deduplicated: bool = False,
    title: str | None = None,
) -> Measures:
    """Return the expected measures of a random ranking, in closed form.

    For average precision see `chance_average_precision`; for R@K and the median rank
    `chance_of_a_hit`, of the items that count as the own pair.

    Args and errors are those of `evaluate_retrieval`; without an identity all items differ.
    """
    check_at_least_one(depth=depth, recall_depths=min(recall_depths, default=1))
    checked = checked_targets(targets)
    ways = directions(identity or _all_different(checked.shape[0]), deduplicated)
    relevance = _relevance(ways, checked)
    by_way = {}
    with query_bar(title, ways, passes=2) as bar:
        for name, direction in ways.items():
            queries, items = range(len(direction.query)), len(direction.gallery)
            count = partial(_count_relevant, relevance[name])
            (relevant,) = in_threads(count, queries, items, block_size, bar)
            own = direction.own_count(bar.update)
            by_way[name] = {
                "mAP": _mean(chance_average_precision(relevant, items)),
                f"mAP@{depth}": _mean(chance_average_precision(relevant, items, depth, "hits")),
                f"mAP@{depth}/min": _mean(chance_average_precision(relevant, items, depth, "min")),
                **{f"R@{k}": _mean(chance_of_a_hit(own, items, k)) for k in recall_depths},
                "median_rank": chance_median_rank(own, items),
            }
    return _by_measure(by_way)


def _count_relevant(relevance: Relevance, first: int, last: int) -> tuple[np.ndarray]:
    """Return the number of items that are relevant to each query from `first` to `last`."""
    return (relevance.of(slice(first, last)).sum(axis=1),)


def _by_measure(by_way: Mapping[str, Mapping[str, float]]) -> Measures:
    """Return direction → measure → number as measure → direction → number, with "avg"."""
    return {
        measure: {
            "i2t": value,
            "t2i": by_way["t2i"][measure],
            "avg": (value + by_way["t2i"][measure]) / 2,
        }
        for measure, value in by_way["i2t"].items()
    }


def _ranked_relevance(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return relevance in ranked order.

    Args:
      scores: (q, n) float32, finite.
      relevant: (q, n) bool, in the order of the gallery.

    Returns:
      (q, n) bool, in the order of descending scores, ties in the order of the gallery.
    """
    # The bits of a float, as an integer, ascend with it above zero and descend below, where they
    # are inverted.
    bits = (0.0 - scores).view(np.int32)
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
    return (_by_one_sort if _one_sort_is_faster() else _by_radix)(bits, relevant)


def _by_one_sort(keys: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return relevance (q, n) in the order of ascending int32 keys, ties by column."""
    # Key, column and relevance in one integer, so that sorting it moves all three.
    packed = keys.astype(np.int64) << 32
    packed |= np.arange(keys.shape[1]) << 1
    packed |= relevant
    packed.sort(axis=1)
    return (packed & 1).astype(bool)


def _by_radix(keys: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return the same as `_by_one_sort`.

    NumPy sorts 16-bit integers stably by radix, so two passes, by the lower half and by the upper,
    are a stable sort.
    """
    lower, upper = keys.astype(np.uint16), (keys >> 16).astype(np.int16)
    ranked = np.empty_like(relevant)
    for row in range(len(keys)):
        order = np.argsort(lower[row], kind="stable")
        order = order[np.argsort(upper[row][order], kind="stable")]
        ranked[row] = relevant[row][order]
    return ranked


@functools.cache
def _one_sort_is_faster() -> bool:
    """Return which of two equal functions this processor runs faster, in some milliseconds.

    One sort takes 0.7 of the time of the radix sort where NumPy sorts 64-bit integers with AVX2,
    and three times as long with AVX-512 on AMD's Zen 4.
    """
    keys = np.random.default_rng(0).integers(2**31, size=(2, 10_000), dtype=np.int32)

    def seconds(sort: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
        started = time.thread_time()
        sort(keys, keys % 8 == 0)
        return time.thread_time() - started

    one, radix = (min(seconds(sort) for _ in range(3)) for sort in (_by_one_sort, _by_radix))
    return one < radix


def _own_rank(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the rank, from 1, of the first item that counts as each query's own pair.

    Args:
      scores: (q, n) float32.
      own: (q, m) rows of the gallery that count as each query's own pair; rows may repeat.

    Returns:
      (q,) int64.
    """
    of_own = np.take_along_axis(scores, own, axis=1)
    best = of_own.max(axis=1, keepdims=True)
    items = scores.shape[1]
    row = np.where(of_own == best, own, items).min(axis=1, keepdims=True)
    ahead = (scores > best) | ((scores == best) & (np.arange(items) < row))
    return 1 + np.count_nonzero(ahead, axis=1)


def _relevance(ways: Mapping[str, Direction], targets: Labels) -> dict[str, Relevance]:
    """Return relevance by label; an image of several pairs has the labels of all of them."""
    relevance = {}
    for name, direction in ways.items():
        images = direction.query if name == "i2t" else direction.gallery
        of_images = targets
        if len(images) < targets.shape[0]:
            of_images = united(targets, direction.image_place, len(images))
        sides = (of_images, targets) if name == "i2t" else (targets, of_images)
        relevance[name] = Relevance(*sides)
    return relevance


def _pairs(image: Any, text: Any, targets: Any) -> tuple[Representations, Representations, Labels]:
    """Return both sides and the labels, checked."""
    image, text = _sides(image, text)
    checked = checked_targets(targets)
    if len(image) != checked.shape[0]:
        raise InputError(
            f"image and text are {image.shape}, targets {np.shape(targets)}; all three must have "
            "one row per pair"
        )
    return image, text, checked


def _sides(image: Any, text: Any) -> tuple[Representations, Representations]:
    """Return both sides, checked."""
    image, text = (
        Representations.of(name, value) for name, value in (("image", image), ("text", text))
    )
    if image.shape != text.shape:
        raise InputError(
            f"image is {image.shape} and text {text.shape}; both must have the same shape"
        )
    return image, text


def _checked_identity(
    identity: Identity | None, image: Representations, text: Representations
) -> Identity:
    if identity is None:
        return Identity.of(image[:], text[:])
    if len(identity) != len(image):
        raise InputError(f"identity is of {len(identity)} pairs, image has {len(image)}")
    return identity


def _all_different(items: int) -> Identity:
    """Return the identity of pairs that are all distinct."""
    alone = np.arange(items)
    return Identity(alone, alone, alone)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
