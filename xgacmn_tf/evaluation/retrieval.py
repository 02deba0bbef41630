"""Evaluation of a whole gallery in both directions, image → text (i2t) and text → image (t2i).

Every item of one modality is a query, and every item of the other is the gallery. The similarity
is the inner product of two representations: of unit-length codes for the cosine, of raw codes for
the dot product, of class posteriors for the posterior similarity. An item is relevant if it shares
a label with the query; it counts as the query's own pair as `identity.Identity` tells.
`xgacmn_tf.evaluation.metrics` defines the measures.

The order is that of `xgacmn_tf.evaluation.ranking`: inner products in double precision, rounded to
single, ties to the lower gallery row. Blocks of queries are ranked side by side in threads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.blockwise import BlockFunction, in_threads, over_ways, progress_bar
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
from xgacmn_tf.evaluation.ranking import check_at_least_one
from xgacmn_tf.evaluation.representations import Representations
from xgacmn_tf.evaluation.whole_ranking import (
    Labels,
    Ranking,
    Relevance,
    ascending,
    checked_targets,
    own_rank,
    united,
)

Measures = dict[str, dict[str, float]]

RECALL_POINTS = 101


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
        right where the encoders give different items different representations.
      deduplicated: each image is a query and in the gallery once, with all its texts.
      depth: K of the measures "mAP@K" and "mAP@K/min".
      recall_depths: every K of the measures "R@K".
      max_scope: the last K of the precision-scope curve.
      block_size: number of queries that a thread ranks at a time; by default as many as make
        `blockwise.PAIRS` pairs, and at least `blockwise.QUERIES`. It does not affect the results.
      title: of a progress bar; None shows none.

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
    ways = directions(identity, deduplicated)
    ranked = _ranked(measure, ways, targets)
    found_of = over_ways(ranked, ways, image, text, block_size, title)
    for name, direction in ways.items():
        full, hits, capped, rank, relevant, at_scope, at_recall = found_of[name]
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
    image: Any, text: Any, targets: Any, block_size: int | None = None, title: str | None = None
) -> dict[str, float]:
    """Return full-gallery mAP alone, as `evaluate_retrieval` has it, at a lower cost.

    Args and errors are those of `evaluate_retrieval`.

    Returns:
      {"i2t", "t2i", "avg"}, each in [0, 1].
    """
    image, text, targets = _pairs(image, text, targets)

    def measure(ranking: Ranking) -> tuple[np.ndarray, ...]:
        return (average_precision(ranking.relevance, ranking.num_relevant),)

    alone = np.arange(len(image))
    ways = directions(Identity(alone, alone, alone), False)
    ranked = _ranked(measure, ways, targets)
    found = over_ways(ranked, ways, image, text, block_size, title)
    scores = {name: _mean(precision) for name, (precision,) in found.items()}
    return {**scores, "avg": (scores["i2t"] + scores["t2i"]) / 2}


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
    identity = _checked_identity(identity, image, text)
    ways = directions(identity, deduplicated)

    def rank(name: str, rows: slice, similarity: np.ndarray) -> tuple[np.ndarray, ...]:
        return (own_rank(ascending(similarity), ways[name].own(rows)),)

    found = over_ways(rank, ways, image, text, block_size, title)
    return {name: ranks for name, (ranks,) in found.items()}


def chance_levels(
    targets: Any,
    depth: int = 50,
    recall_depths: Sequence[int] = (1, 5, 10),
    block_size: int | None = None,
    identity: Identity | None = None,
    deduplicated: bool = False,
    title: str | None = None,
) -> Measures:
    """What a random ranking scores on average, in closed form, in the shape of `measures`.

    For average precision see `chance_average_precision`; for R@K and the median rank
    `chance_of_a_hit`, of the items that count as the own pair.

    Args and errors are those of `evaluate_retrieval`; without an identity all items differ.
    """
    check_at_least_one(depth=depth)
    check_at_least_one(recall_depths=min(recall_depths, default=1))
    checked = checked_targets(targets)
    alone = np.arange(checked.shape[0])
    identity = Identity(alone, alone, alone) if identity is None else identity
    levels: Measures = {}
    ways = directions(identity, deduplicated)
    counts = {}
    with progress_bar(title, ways, passes=2) as bar:
        for name, direction in ways.items():
            relevant = _relevant_items(direction, checked, name, block_size, bar)
            counts[name] = relevant, direction.own_count(bar.update)
    for name, direction in ways.items():
        (relevant, own), items = counts[name], len(direction.gallery)
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


def _ranked(
    measure: Callable[[Ranking], tuple[np.ndarray, ...]],
    ways: Mapping[str, Direction],
    targets: Labels,
) -> BlockFunction:
    """What a measure finds in the ranking of the whole gallery."""
    relevance = {name: _relevance(direction, targets, name) for name, direction in ways.items()}

    def ranked(name: str, rows: slice, similarity: np.ndarray) -> tuple[np.ndarray, ...]:
        return measure(Ranking(similarity, relevance[name].of(rows), ways[name].own(rows)))

    return ranked


def _relevant_items(
    direction: Direction, targets: Labels, name: str, block_size: int | None, bar: tqdm
) -> np.ndarray:
    """Return (q,) the number of items that are relevant to each query."""
    relevance, items = _relevance(direction, targets, name), len(direction.gallery)

    def count(first: int, last: int) -> tuple[np.ndarray, ...]:
        return (relevance.of(slice(first, last)).sum(axis=1),)

    return in_threads(count, range(len(direction.query)), items, block_size, bar)[0]


def _relevance(direction: Direction, targets: Labels, name: str) -> Relevance:
    """Relevance by label; an image that stands for several pairs has the labels of all of them."""
    images = direction.query if name == "i2t" else direction.gallery
    of_images = targets
    if len(images) < targets.shape[0]:
        of_images = united(targets, direction.image_place, len(images))
    return Relevance(of_images, targets) if name == "i2t" else Relevance(targets, of_images)


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


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
