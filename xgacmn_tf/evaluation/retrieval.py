"""Scoring a whole gallery in both directions, image → text (i2t) and text → image (t2i).

Every item of one modality is a query, and every item of the other is the gallery. The similarity
is the inner product of two representations: of unit-length codes for the cosine, of raw codes for
the dot product, of class posteriors for the posterior similarity. An item is relevant if it shares
a label with the query; it counts as the query's own pair as `identity.Identity` tells.
`xgacmn_tf.evaluation.metrics` defines the measures.

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
from xgacmn_tf.evaluation.identity import Direction, Identity, directions
from xgacmn_tf.evaluation.metrics import (
    Hits,
    average_precision,
    chance_average_precision,
    chance_median_rank,
    chance_of_a_hit,
    precision_at,
    precision_recall_curve,
)
from xgacmn_tf.evaluation.ranking import check_at_least_one, checked_representations
from xgacmn_tf.evaluation.whole_ranking import Ranking, Relevance, checked_targets

Measures = dict[str, dict[str, float]]

RECALL_POINTS = 101

# Pairs of query and item that a thread ranks at a time: about 32 MB of working memory.
PAIRS = 2**20
# Queries at a time at least: with fewer, reading a large gallery takes longer than multiplying it.
QUERIES = 32


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """What `evaluate_retrieval` measures. A direction is "i2t" or "t2i" with q queries.

    Attributes:
      measures: measure → {"i2t", "t2i", "avg"}. "mAP" is over the full gallery and divided by the
        relevant items in it; "mAP@50" is divided by the relevant items found in the first 50,
        "mAP@50/min" by min(50, relevant). "R@K" is the share of queries for which an item that
        counts as the own pair is among the first K, "median_rank" the median rank of the first such
        item. "avg" is the directions' mean.
      per_query: direction → {"AP", "AP@50"} (q,) float64, and {"rank", "pair"} (q,) int64: the rank
        of the own pair, and the row of a pair that the query is of.
      precision_scope: direction → float64, mean precision at K = 1, 2, … up to max_scope or to the
        gallery's size.
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
    identity: Identity | None = None,
    deduplicated: bool = False,
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
      identity: which items are the same. By default those with equal representations, which is
        right where the encoders give different items different representations.
      deduplicated: each image is a query and in the gallery once, with all its texts.
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
    image, text, targets = _pairs(image, text, targets)
    identity = _checked_identity(identity, image, text)

    def measure(ranking: Ranking) -> tuple[np.ndarray, ...]:
        """Per query: AP, AP@K by hits and by min, own rank, R. Of the block: two curves' sums."""
        hits, relevant = Hits.of(ranking.relevance), ranking.num_relevant
        scopes = np.arange(1, min(max_scope, ranking.relevance.shape[1]) + 1)
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
    for name, direction in directions(identity, deduplicated).items():
        full, hits, capped, rank, relevant, at_scope, at_recall = _over_blocks(
            measure, name, direction, image, text, targets, block_size
        )
        found = {"mAP": _mean(full), f"mAP@{depth}": _mean(hits), f"mAP@{depth}/min": _mean(capped)}
        found |= {f"R@{k}": _mean(rank <= k) for k in recall_depths}
        found["median_rank"] = float(np.median(rank))
        for measured, value in found.items():
            measures.setdefault(measured, {})[name] = value
        per_query[name] = {
            "AP": full,
            f"AP@{depth}": hits,
            "rank": rank,
            "pair": direction.query,
        }
        scope[name] = at_scope.sum(axis=0) / len(rank)
        curve[name] = at_recall.sum(axis=0) / len(rank)
        without[name] = int((relevant == 0).sum())
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
    image, text, targets = _pairs(image, text, targets)

    def measure(ranking: Ranking) -> tuple[np.ndarray, ...]:
        return (average_precision(ranking.relevance, ranking.num_relevant),)

    alone = np.arange(len(image))
    scores = {
        name: _mean(_over_blocks(measure, name, way, image, text, targets, block_size)[0])
        for name, way in directions(Identity(alone, alone, alone), False).items()
    }
    return {**scores, "avg": (scores["i2t"] + scores["t2i"]) / 2}


def chance_levels(
    targets: Any,
    depth: int = 50,
    recall_depths: Sequence[int] = (1, 5, 10),
    block_size: int | None = None,
    identity: Identity | None = None,
    deduplicated: bool = False,
) -> Measures:
    """What a random ranking scores on average, in closed form, in the shape of `measures`.

    For average precision see `chance_average_precision`; for R@K and the median rank
    `chance_of_a_hit`, of the items that count as the own pair.

    Args and errors are those of `evaluate_retrieval`; without an identity all items differ.
    """
    check_at_least_one(depth=depth)
    check_at_least_one(recall_depths=min(recall_depths, default=1))
    checked = checked_targets(targets)
    alone = np.arange(len(checked))
    identity = Identity(alone, alone, alone) if identity is None else identity
    levels: Measures = {}
    for name, direction in directions(identity, deduplicated).items():
        relevance, items = _relevance(direction, checked, name), len(direction.gallery)

        def count(
            first: int, last: int, relevance: Relevance = relevance
        ) -> tuple[np.ndarray, ...]:
            return (relevance.of(slice(first, last)).sum(axis=1),)

        (relevant,) = _in_threads(count, len(direction.query), items, block_size)
        own = direction.own_count()
        found = {
            "mAP": _mean(chance_average_precision(relevant, items)),
            f"mAP@{depth}": _mean(chance_average_precision(relevant, items, depth, "hits")),
            f"mAP@{depth}/min": _mean(chance_average_precision(relevant, items, depth, "min")),
        }
        found |= {f"R@{k}": _mean(chance_of_a_hit(own, items, k)) for k in recall_depths}
        found["median_rank"] = chance_median_rank(own, items)
        for measured, value in found.items():
            levels.setdefault(measured, {})[name] = value
    for values in levels.values():
        values["avg"] = (values["i2t"] + values["t2i"]) / 2
    return levels


def _over_blocks(
    function: Callable[[Ranking], tuple[np.ndarray, ...]],
    name: str,
    direction: Direction,
    image: np.ndarray,
    text: np.ndarray,
    targets: np.ndarray,
    block_size: int | None,
) -> list[np.ndarray]:
    """What a function finds in each block's ranking, joined along axis 0."""
    query, gallery = (image, text) if name == "i2t" else (text, image)
    query, gallery = _at(query, direction.query), _at(gallery, direction.gallery)
    relevance = _relevance(direction, targets, name)

    def rank(first: int, last: int) -> tuple[np.ndarray, ...]:
        rows = slice(first, last)
        similarity = (query[rows] @ gallery.T).astype(np.float32)
        return function(Ranking(similarity, relevance.of(rows), direction.own(rows)))

    return _in_threads(rank, len(query), len(gallery), block_size)


def _relevance(direction: Direction, targets: np.ndarray, name: str) -> Relevance:
    """Relevance by label; an image that stands for several pairs has the labels of all of them."""
    images = direction.query if name == "i2t" else direction.gallery
    of_images = targets
    if len(images) < len(targets):
        of_images = np.zeros((len(images), targets.shape[1]), targets.dtype)
        np.maximum.at(of_images, direction.image_place, targets)
    return Relevance(of_images, targets) if name == "i2t" else Relevance(targets, of_images)


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`values[rows]`, without a copy where these are all of them."""
    return values if len(rows) == len(values) else values[rows]


def _in_threads(
    function: Callable[[int, int], tuple[np.ndarray, ...]],
    rows: int,
    items: int,
    block_size: int | None,
) -> list[np.ndarray]:
    """Joins along axis 0 what `function(first, last)` gives for blocks of rows against items."""
    size = max(QUERIES, PAIRS // items) if block_size is None else block_size
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


def _pairs(image: Any, text: Any, targets: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sides in double precision and the targets, checked."""
    image, text = (
        checked_representations(name, value).numpy()
        for name, value in (("image", image), ("text", text))
    )
    checked = checked_targets(targets)
    if image.shape != text.shape or len(image) != len(checked):
        raise InputError(
            f"image is {image.shape}, text {text.shape} and targets {np.shape(targets)}; image and "
            "text must have the same shape, and all three one row per pair"
        )
    return image, text, checked


def _checked_identity(identity: Identity | None, image: np.ndarray, text: np.ndarray) -> Identity:
    if identity is None:
        return Identity.of(image, text)
    if len(identity) != len(image):
        raise InputError(f"identity is of {len(identity)} pairs, image has {len(image)}")
    return identity


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
