"""Scores per category, and those of categories that were never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from xgacmn_tf.datasets.paired import label_matrix
from xgacmn_tf.evaluation.first_results import FirstResults
from xgacmn_tf.evaluation.identity import Identity, directions


def category_table(
    label_names: Sequence[str],
    train_pairs: np.ndarray,
    label: np.ndarray,
    first: Mapping[str, FirstResults],
    average_precision: Mapping[str, np.ndarray],
    identity: Identity,
    deduplicated: bool = False,
) -> list[dict[str, Any]]:
    """Return scores and confusions of every category that has a test pair.

    Args:
        label_names: c names.
        train_pairs: (c,) training pairs of each category.
        label: (n,) integers or (n, c) multi-hot labels of the test pairs.
        first: "i2t" and "t2i" → first results, as `first_results` returns them for the same
            identity and deduplication.
        average_precision: "i2t" and "t2i" → AP of each query, in the order of the direction's
            queries, as `retrieval.evaluate_retrieval` returns them.
        identity: of the test pairs.
        deduplicated: each image is a query and in the gallery once.

    Returns:
        A dict per category, in the order of the names: "name"; "train_pairs"; "queries", "mAP" and
        "confused_with" per direction. "confused_with" is the other category with the most wrong
        items among the first 10 results of the category's queries, with its share of these results,
        or None where there are no wrong items. An item with several labels counts for each.
    """
    labels = label_matrix(label, len(label_names)).astype(np.float64)
    table: dict[int, dict[str, Any]] = {
        category: {
            "name": str(label_names[category]),
            "train_pairs": int(train_pairs[category]),
            "queries": {},
            "mAP": {},
            "confused_with": {},
        }
        for category in np.unique(labels.indices).tolist()
    }
    for name, direction in directions(identity, deduplicated).items():
        of_images = labels
        if deduplicated:
            of_images = _joined(labels, direction.image_place)
        query, gallery = (of_images, labels) if name == "i2t" else (labels, of_images)
        queries = query.sum(axis=0)
        total = query.T @ average_precision[name]
        confusion = _confusion(query, gallery, first[name])
        for category, entry in table.items():
            entry["queries"][name] = int(queries[category])
            entry["mAP"][name] = float(total[category] / queries[category])
            start, end = confusion.indptr[category : category + 2]
            shares, others = confusion.data[start:end], confusion.indices[start:end]
            entry["confused_with"][name] = None
            if len(shares):
                # Of equal shares, the first category.
                worst = int(np.lexsort((others, -shares))[0])
                other = int(others[worst])
                entry["confused_with"][name] = {
                    "name": str(label_names[other]),
                    "share": round(float(shares[worst]), 4),
                }
    return list(table.values())


def unseen_categories(
    label_names: Sequence[str],
    train_pairs: np.ndarray,
    label: np.ndarray,
    average_precision: Mapping[str, Mapping[str, np.ndarray]],
    identity: Identity,
    deduplicated: bool = False,
) -> dict[str, Any] | None:
    """Return the scores of test categories without a training pair apart from those of the others.

    Args:
        label_names, train_pairs, label, identity, deduplicated: see `category_table`.
        average_precision: similarity → direction → AP of each query.

    Returns:
        None if all test categories were trained on. Otherwise "pairs": category → number of its
        test pairs; "queries": direction → number of queries without a trained category; "mAP":
        similarity → "seen" and "unseen" → "i2t", "t2i" and "avg". A mean over no query is None.
    """
    labels = label_matrix(label, len(label_names)).astype(np.float64)
    tested = labels.sum(axis=0)
    unseen = np.flatnonzero((tested > 0) & (train_pairs == 0))
    if not unseen.size:
        return None
    known = labels @ (train_pairs > 0).astype(np.float64) > 0
    seen = {}
    for name, direction in directions(identity, deduplicated).items():
        of_queries = known
        if deduplicated and name == "i2t":
            of_queries = np.zeros(len(direction.query), bool)
            np.logical_or.at(of_queries, direction.image_place, known)
        seen[name] = of_queries
    scores: dict[str, dict[str, dict[str, float | None]]] = {}
    for similarity, ways in average_precision.items():
        scores[similarity] = {}
        for part in ("seen", "unseen"):
            means: dict[str, float | None] = {}
            for way, values in ways.items():
                of_part = values[seen[way] == (part == "seen")]
                means[way] = float(of_part.mean()) if of_part.size else None
            known_means = [value for value in means.values() if value is not None]
            means["avg"] = float(np.mean(known_means)) if len(known_means) == len(means) else None
            scores[similarity][part] = means
    return {
        "pairs": {str(label_names[row]): int(tested[row]) for row in unseen.tolist()},
        "queries": {way: int((~of).sum()) for way, of in seen.items()},
        "mAP": scores,
    }


def _joined(labels: sparse.csr_array, place: np.ndarray) -> sparse.csr_array:
    """Return the labels of each image: those of all its pairs. `place` is each pair's image."""
    pairs = np.arange(len(place))
    shape = int(place.max()) + 1, len(place)
    joined = (sparse.csr_array((np.ones(len(place)), (place, pairs)), shape) @ labels).tocsr()
    joined.data[:] = 1
    return joined


def _confusion(
    query: sparse.csr_array, gallery: sparse.csr_array, first: FirstResults
) -> sparse.csr_array:
    """Return (c, c) the share of wrong items by category among each category's first results."""
    rows, order = first.rows, first.order
    query, depth = query[rows], order.shape[1]
    # An item that shares a label with the query is right.
    results = gallery[order.ravel()]
    right = query[np.repeat(np.arange(len(rows)), depth)].multiply(results).sum(axis=1)
    ends = np.arange(0, order.size + 1, depth)
    wrong = sparse.csr_array(
        ((right == 0).astype(np.float64), np.arange(order.size), ends), (len(rows), order.size)
    )
    counts = query.T @ (wrong @ results)
    total = np.maximum(query.sum(axis=0) * depth, 1)
    shares = sparse.csr_array(sparse.diags_array(1 / total) @ counts)
    shares.eliminate_zeros()
    return shares
