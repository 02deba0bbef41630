"""Scores per category, and those of categories that were never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from xgacmn_tf.evaluation.identity import Identity, directions
from xgacmn_tf.evaluation.ranking import rank_gallery

# Results per query in which confusions are counted.
DEPTH = 10
# Queries, evenly spaced, whose results are looked at: ranking 90,000 once more takes minutes.
MAX_QUERIES = 10_000


def category_table(
    label_names: Sequence[str],
    train_pairs: np.ndarray,
    label: np.ndarray,
    image: np.ndarray,
    text: np.ndarray,
    average_precision: Mapping[str, np.ndarray],
    identity: Identity,
    deduplicated: bool = False,
) -> list[dict[str, Any]]:
    """Return scores and confusions of every category that has a test pair.

    Args:
        label_names: c names.
        train_pairs: (c,) training pairs of each category.
        label: (n,) integers or (n, c) multi-hot labels of the test pairs.
        image: (n, d) representations of the test images; inner products rank the gallery.
        text: (n, d) likewise.
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
    labels = label_matrix(label, len(label_names))
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
        queries = np.asarray(query.sum(axis=0)).ravel()
        total = query.T @ average_precision[name]
        sides = (image, text) if name == "i2t" else (text, image)
        confusion = _confusion(
            query, gallery, sides[0][direction.query], sides[1][direction.gallery]
        )
        for category, entry in table.items():
            entry["queries"][name] = int(queries[category])
            entry["mAP"][name] = float(total[category] / queries[category])
            first, last = confusion.indptr[category : category + 2]
            shares, others = confusion.data[first:last], confusion.indices[first:last]
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
    labels = label_matrix(label, len(label_names))
    tested = np.asarray(labels.sum(axis=0)).ravel()
    unseen = np.flatnonzero((tested > 0) & (train_pairs == 0))
    if not unseen.size:
        return None
    known = np.asarray(labels @ (train_pairs > 0).astype(np.float64)).ravel() > 0
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
                chosen = values[seen[way] == (part == "seen")]
                means[way] = float(chosen.mean()) if chosen.size else None
            known_means = [value for value in means.values() if value is not None]
            means["avg"] = float(np.mean(known_means)) if len(known_means) == len(means) else None
            scores[similarity][part] = means
    return {
        "pairs": {str(label_names[row]): int(tested[row]) for row in unseen.tolist()},
        "queries": {way: int((~of).sum()) for way, of in seen.items()},
        "mAP": scores,
    }


def label_matrix(label: np.ndarray, num_classes: int) -> sparse.csr_matrix:
    """Return labels (n,) or multi-hot (n, c) as a sparse (n, c) float64 matrix of ones."""
    if label.ndim == 2:
        return sparse.csr_matrix(label, dtype=np.float64)
    rows = np.arange(len(label) + 1)
    return sparse.csr_matrix((np.ones(len(label)), label, rows), (len(label), num_classes))


def _joined(labels: sparse.csr_matrix, place: np.ndarray) -> sparse.csr_matrix:
    """The labels of each image: those of all its pairs. `place` is each pair's image."""
    pairs = sparse.csr_matrix(
        (np.ones(len(place)), (place, np.arange(len(place)))), (int(place.max()) + 1, len(place))
    )
    joined = (pairs @ labels).tocsr()
    joined.data[:] = 1
    return joined


def _confusion(
    query: sparse.csr_matrix,
    gallery: sparse.csr_matrix,
    query_values: np.ndarray,
    gallery_values: np.ndarray,
) -> sparse.csr_matrix:
    """(c, c) share of wrong items by their category among the first results of each category."""
    rows = np.unique(
        np.linspace(0, len(query_values) - 1, min(len(query_values), MAX_QUERIES)).astype(int)
    )
    order, _ = rank_gallery(query_values[rows], gallery_values, DEPTH)
    query = query[rows]
    hits = sparse.csr_matrix(
        (
            np.ones(order.size),
            order.ravel(),
            np.arange(0, order.size + 1, order.shape[1]),
        ),
        (len(rows), len(gallery_values)),
    )
    # An item that shares a label with the query is right.
    common = np.asarray(
        query[np.repeat(np.arange(len(rows)), order.shape[1])]
        .multiply(gallery[order.ravel()])
        .sum(axis=1)
    ).ravel()
    hits.data = (common == 0).astype(np.float64)
    hits.eliminate_zeros()
    wrong = (query.T @ (hits @ gallery)).tocsr()
    results = np.maximum(np.asarray(query.sum(axis=0)).ravel() * order.shape[1], 1)
    return sparse.csr_matrix(sparse.diags(1 / results) @ wrong)
