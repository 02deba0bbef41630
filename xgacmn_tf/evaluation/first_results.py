"""The first results of many queries, and the share of a gallery that they cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.evaluation.identity import Identity, directions
from xgacmn_tf.evaluation.representations import MAX_NUMBERS, Representations, similarities

DEPTH = 10
# Maximum number of queries, evenly spaced: ranking 90,000 once more takes minutes.
MAX_QUERIES = 10_000


@dataclass(frozen=True, eq=False)
class FirstResults:
    """The first items of a gallery for the queries of one direction.

    Attributes:
        rows: (m,) int64, the queries, all or `MAX_QUERIES` evenly spaced ones.
        order: (m, min(DEPTH, n)) int32 rows of the gallery, best first, ties to the lower row.
        items: n, the size of the gallery.
    """

    rows: np.ndarray
    order: np.ndarray
    items: int

    @classmethod
    def of(cls, query: Representations, gallery: Representations) -> FirstResults:
        """Return the first results of q queries in a gallery of n items."""
        rows = np.linspace(0, len(query) - 1, min(len(query), MAX_QUERIES)).astype(int)
        selected, depth = query.take(rows), min(DEPTH, len(gallery))
        size = min(selected.block, max(1, MAX_NUMBERS // len(gallery)))
        blocks = [
            tf.math.top_k(similarities(selected[block], gallery), depth).indices.numpy()
            for block in selected.slices(size)
        ]
        return cls(rows, np.concatenate(blocks), len(gallery))


def first_results(
    image: Any, text: Any, identity: Identity, deduplicated: bool = False
) -> dict[str, FirstResults]:
    """Return the first results of both directions, "i2t" and "t2i".

    Args:
        image: (n, d) representations of the images, an array or `Representations`; their inner
            products with the texts rank the gallery.
        text: (n, d) likewise. Row i of both is a pair.
        identity: of the pairs.
        deduplicated: each image is a query and in the gallery once.
    """
    image, text = Representations.of("image", image), Representations.of("text", text)
    results = {}
    for name, direction in directions(identity, deduplicated).items():
        query, gallery = (image, text) if name == "i2t" else (text, image)
        results[name] = FirstResults.of(
            query.take(direction.query), gallery.take(direction.gallery)
        )
    return results


def spread_measures(results: Mapping[str, FirstResults]) -> dict[str, dict[str, float]]:
    """Return the number of different items among the results, in both directions.

    Args:
        results: of `first_results`.

    Returns:
        "distinct_first": direction → number of different items that are the first result of some
        query; "coverage@10": direction → share of the gallery among the first 10 results of some
        query. "avg" is the mean of both directions.
    """
    measures: dict[str, dict[str, float]] = {"distinct_first": {}, f"coverage@{DEPTH}": {}}
    for way, first in results.items():
        measures["distinct_first"][way] = float(len(np.unique(first.order[:, 0])))
        measures[f"coverage@{DEPTH}"][way] = len(np.unique(first.order)) / first.items
    for values in measures.values():
        values["avg"] = (values["i2t"] + values["t2i"]) / 2
    return measures
