"""Scoring a whole gallery in both directions, image → text (i2t) and text → image (t2i).

Every item of one modality is a query, and every item of the other is the gallery. The similarity
is the inner product of two representations: of unit-length codes for the cosine, of raw codes for
the dot product, of class posteriors for the posterior similarity. An item is relevant if it shares
a label with the query. `xgacmn_tf.metrics` defines the measures, `xgacmn_tf.ranking` the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.errors import InputError
from xgacmn_tf.metrics import (
    average_precision,
    chance_average_precision,
    precision_at,
    precision_recall_curve,
    rank_of,
)
from xgacmn_tf.ranking import (
    MATRIX,
    SIZE,
    check_at_least_one,
    checked_representations,
    over_blocks,
    rank_block,
    share_a_label,
)

Measures = dict[str, dict[str, float]]

RECALL_POINTS = 101


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """What `evaluate_retrieval` measures. A direction is "i2t" or "t2i"; n is the number of pairs.

    Attributes:
      measures: measure → {"i2t", "t2i", "avg"}. "mAP" is over the full gallery and divided by the
        relevant items in it; "mAP@50" is divided by the relevant items found in the first 50,
        "mAP@50/min" by min(50, relevant). "R@K" is the share of queries whose own pair is among
        the first K, "median_rank" the median rank of the own pair. "avg" is the directions' mean.
      per_query: direction → {"AP", "AP@50"} (n,) float32 and {"rank"} (n,) int32, of the own pair.
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
    block_size: int = 256,
) -> RetrievalResult:
    """All measures of a set of pairs, in both directions.

    Args:
      image: (n, d) finite representations; arrays or tensors of any floating type.
      text: (n, d) likewise. Row i of `image`, `text` and `targets` is the same pair.
      targets: (n, c) one-hot or multi-hot, zeros and ones of any type. A row of zeros is allowed.
      depth: K of the measures "mAP@K" and "mAP@K/min".
      recall_depths: every K of the measures "R@K".
      max_scope: the last K of the precision-scope curve.
      block_size: queries ranked at a time; the working memory is about 50 bytes × block_size × n.

    Returns:
      A `RetrievalResult`.

    Raises:
      InputError: shapes that do not fit, an empty set, values that are not finite, targets other
        than 0 and 1, or a setting below 1.
    """
    check_at_least_one(depth=depth, max_scope=max_scope, block_size=block_size)
    check_at_least_one(recall_depths=min(recall_depths, default=1))
    image, text, targets = _pairs(image, text, targets)
    measures: Measures = {}
    per_query, scope, curve, without = {}, {}, {}, {}
    for direction, query, gallery in (("i2t", image, text), ("t2i", text, image)):
        full, hits, capped, rank, relevant, at_scope, at_recall = (
            output.numpy()
            for output in _measure(query, gallery, targets, depth, max_scope, block_size)
        )
        found = {"mAP": _mean(full), f"mAP@{depth}": _mean(hits), f"mAP@{depth}/min": _mean(capped)}
        found |= {f"R@{k}": _mean(rank <= k) for k in recall_depths}
        found["median_rank"] = float(np.median(rank))
        for measure, value in found.items():
            measures.setdefault(measure, {})[direction] = value
        per_query[direction] = {"AP": full, f"AP@{depth}": hits, "rank": rank}
        scope[direction] = at_scope.sum(axis=0) / len(rank)
        curve[direction] = at_recall.sum(axis=0) / len(rank)
        without[direction] = int((relevant == 0).sum())
    for values in measures.values():
        values["avg"] = (values["i2t"] + values["t2i"]) / 2
    return RetrievalResult(measures, per_query, scope, curve, without)


def mean_average_precision(
    image: Any, text: Any, targets: Any, block_size: int = 256
) -> dict[str, float]:
    """Full-gallery mAP alone, as `evaluate_retrieval` has it, at a lower cost.

    Args and errors are those of `evaluate_retrieval`.

    Returns:
      {"i2t", "t2i", "avg"}, each in [0, 1].
    """
    check_at_least_one(block_size=block_size)
    image, text, targets = _pairs(image, text, targets)
    i2t = _mean(_full_average_precision(image, text, targets, block_size).numpy())
    t2i = _mean(_full_average_precision(text, image, targets, block_size).numpy())
    return {"i2t": i2t, "t2i": t2i, "avg": (i2t + t2i) / 2}


def chance_levels(
    targets: Any,
    depth: int = 50,
    recall_depths: Sequence[int] = (1, 5, 10),
    block_size: int = 256,
) -> Measures:
    """What a random ranking scores on average, in closed form, in the shape of `measures`.

    The own pair is at each of the n ranks alike, so that R@K = min(K, n) / n and its median rank
    is (n + 1) / 2. For average precision see `chance_average_precision`.

    Args and errors are those of `evaluate_retrieval`.
    """
    check_at_least_one(depth=depth, block_size=block_size)
    check_at_least_one(recall_depths=min(recall_depths, default=1))
    targets = _targets(targets)
    items = int(targets.shape[0])
    relevant = _relevant_counts(targets, block_size)
    levels = {
        "mAP": _mean(chance_average_precision(relevant, items).numpy()),
        f"mAP@{depth}": _mean(chance_average_precision(relevant, items, depth, "hits").numpy()),
        f"mAP@{depth}/min": _mean(chance_average_precision(relevant, items, depth, "min").numpy()),
    }
    levels |= {f"R@{k}": min(k, items) / items for k in recall_depths}
    levels["median_rank"] = (items + 1) / 2
    return {name: dict.fromkeys(("i2t", "t2i", "avg"), level) for name, level in levels.items()}


# Below, tensors are checked. The signatures keep every size open, so that each function is traced
# once for all data sets, block sizes and both directions.

_TARGETS = tf.TensorSpec([None, None], tf.float32)


@tf.function(input_signature=[MATRIX, MATRIX, _TARGETS, SIZE, SIZE, SIZE])
def _measure(query, gallery, targets, depth, max_scope, block_size):
    """Per query: AP, AP@K by hits and by min, own rank, R. Per block: sums of the two curves."""
    rows = tf.shape(query)[0]
    scopes = tf.range(1, tf.minimum(max_scope, rows) + 1)

    def measure_block(first, last):
        order, relevance, num_relevant = rank_block(query, gallery, targets, first, last)
        scope = tf.cast(precision_at(relevance, scopes), tf.float64)
        curve = precision_recall_curve(relevance, num_relevant, RECALL_POINTS)
        return (
            average_precision(relevance, num_relevant),
            average_precision(relevance, num_relevant, depth, "hits"),
            average_precision(relevance, num_relevant, depth, "min"),
            rank_of(order, tf.range(first, last)),
            num_relevant,
            tf.reduce_sum(scope, axis=0, keepdims=True),
            tf.reduce_sum(tf.cast(curve, tf.float64), axis=0, keepdims=True),
        )

    per_query = [tf.float32, tf.float32, tf.float32, tf.int32, tf.int32]
    specs = [tf.TensorSpec([None], dtype) for dtype in per_query] + [MATRIX, MATRIX]
    return over_blocks(measure_block, rows, block_size, specs)


@tf.function(input_signature=[MATRIX, MATRIX, _TARGETS, SIZE])
def _full_average_precision(query, gallery, targets, block_size):
    """(n,) float32 average precision over the full gallery."""

    def measure_block(first, last):
        _, relevance, num_relevant = rank_block(query, gallery, targets, first, last)
        return (average_precision(relevance, num_relevant),)

    specs = [tf.TensorSpec([None], tf.float32)]
    return over_blocks(measure_block, tf.shape(query)[0], block_size, specs)[0]


@tf.function(input_signature=[_TARGETS, SIZE])
def _relevant_counts(targets, block_size):
    """(n,) int32: to how many of the n items each item is relevant, itself included."""

    def count_block(first, last):
        relevant = share_a_label(targets[first:last], targets)
        return (tf.math.count_nonzero(relevant, axis=1, dtype=tf.int32),)

    specs = [tf.TensorSpec([None], tf.int32)]
    return over_blocks(count_block, tf.shape(targets)[0], block_size, specs)[0]


def _pairs(image: Any, text: Any, targets: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The three as checked tensors on the device."""
    image, text = checked_representations("image", image), checked_representations("text", text)
    targets = _targets(targets)
    if image.shape != text.shape or image.shape[0] != targets.shape[0]:
        raise InputError(
            f"image is {tuple(image.shape)}, text {tuple(text.shape)} and targets "
            f"{tuple(targets.shape)}; image and text must have the same shape, and all three one "
            "row per pair"
        )
    return image, text, targets


def _targets(value: Any) -> tf.Tensor:
    value = tf.cast(value, tf.float32)
    if value.shape.rank != 2 or 0 in value.shape:
        raise InputError(
            f"targets has shape {tuple(value.shape)}; give (items, classes), at least one of "
            "each, one-hot or multi-hot"
        )
    bad = int(tf.math.count_nonzero((value != 0) & (value != 1)))
    if bad:
        raise InputError(
            f"targets holds {bad} values other than 0 and 1; give one-hot or multi-hot"
        )
    return value


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
