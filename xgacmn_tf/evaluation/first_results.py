"""The first results of many queries, and how much of a gallery appears among them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from xgacmn_tf.evaluation.representations import MAX_NUMBERS, Representations, similarities

DEPTH = 10
# Queries, evenly spaced, whose results are looked at: ranking 90,000 once more takes minutes.
MAX_QUERIES = 10_000


def first_results(
    query: Representations, gallery: Representations, depth: int = DEPTH
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first items of a gallery for each query, ties to the lower row.

    Args:
        query: q representations.
        gallery: n representations.
        depth: number of results per query.

    Returns:
        (m,) int64 rows of the queries, all or `MAX_QUERIES` evenly spaced ones, and
        (m, min(depth, n)) int32 rows of the gallery, best first.
    """
    rows = np.linspace(0, len(query) - 1, min(len(query), MAX_QUERIES)).astype(int)
    chosen, depth = query.take(rows), min(depth, len(gallery))
    size = min(chosen.block, max(1, MAX_NUMBERS // len(gallery)))
    blocks = [
        tf.math.top_k(similarities(chosen[block], gallery), depth).indices.numpy()
        for block in chosen.slices(size)
    ]
    return rows, np.concatenate(blocks)


def spread_measures(image: Representations, text: Representations) -> dict[str, dict[str, float]]:
    """Return how many different items searches find, both ways.

    Args:
        image: n representations of images; row i of both is a pair.
        text: n representations of texts.

    Returns:
        "distinct_first": direction → number of different items that are the first result of some
        query; "coverage@10": direction → share of the gallery among the first 10 results of some
        query. "avg" is the mean of both directions.
    """
    measures: dict[str, dict[str, float]] = {"distinct_first": {}, f"coverage@{DEPTH}": {}}
    for way, query, gallery in (("i2t", image, text), ("t2i", text, image)):
        _, order = first_results(query, gallery)
        measures["distinct_first"][way] = float(len(np.unique(order[:, 0])))
        measures[f"coverage@{DEPTH}"][way] = len(np.unique(order)) / len(gallery)
    for values in measures.values():
        values["avg"] = (values["i2t"] + values["t2i"]) / 2
    return measures
