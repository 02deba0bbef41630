"""Thresholds of the match score, below which a query has no good match."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy import sparse

from xgacmn_tf.datasets.paired import PairedDataset, Split, label_matrix
from xgacmn_tf.evaluation.representations import Representations, represent, similarities
from xgacmn_tf.gallery import combines, from_split, search_embeddings
from xgacmn_tf.groups import first_rows
from xgacmn_tf.model.encoders import MATCH_DEPTH, CommonSpaceEncoder, match_score
from xgacmn_tf.names import MODALITIES, OTHER
from xgacmn_tf.training.items import sample

# Share of matched validation queries that count as having no good match, and the number of queries
# below which this share cannot be measured.
MAX_REJECTED, MIN_QUERIES = 0.05, 20
# Queries that are ranked at once: bounds the memory of their scores.
QUERIES_AT_ONCE = 64


def choose_match_thresholds(
    encoder: CommonSpaceEncoder, dataset: PairedDataset, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the thresholds of `match_score`, chosen on validation queries.

    A query is matched in a gallery that holds its category and its own pair, and unmatched in the
    same gallery without both. The threshold is the score below which `MAX_REJECTED` of the matched
    queries fall. Queries whose features are all zero find nothing and are left out.

    Items that were trained on fit queries better than others. So there are two galleries: the
    validation split, for galleries of other items than the training split's; and training and
    validation split together, for galleries with the training split's items.

    Args:
        encoder: with item embeddings of a weight above 0, neither trained on the validation split.
        dataset: with a validation split.
        seed: draws the pairs of a large split.

    Returns:
        "test" (the first gallery) and "all" (the second) → modality of the query → "threshold";
        "matched_rejected" and "unmatched_rejected", the shares of queries below it; "queries".
        Modalities of fewer than `MIN_QUERIES` queries are missing.
    """
    split, _ = sample(dataset, seed)
    # Of a streamed split, the sample that is in memory.
    train = dataset.train.to_fit().complete()
    results = {}
    for name, gallery in (("test", [split]), ("all", [train, split])):
        scores = {m: _match_scores(encoder, dataset, split, gallery, m) for m in MODALITIES}
        results[name] = {
            modality: _threshold(matched, unmatched)
            for modality, (matched, unmatched) in scores.items()
            if min(len(matched), len(unmatched)) >= MIN_QUERIES
        }
    return results


def _threshold(matched: np.ndarray, unmatched: np.ndarray) -> dict[str, float]:
    """See `choose_match_thresholds`."""
    threshold = float(np.quantile(matched, MAX_REJECTED))
    return {
        "threshold": threshold,
        "matched_rejected": float((matched < threshold).mean()),
        "unmatched_rejected": float((unmatched < threshold).mean()),
        "queries": len(matched),
    }


def _match_scores(
    encoder: CommonSpaceEncoder,
    dataset: PairedDataset,
    queries: Split,
    gallery: Sequence[Split],
    modality: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return `match_score` of the matched and the unmatched queries of a modality."""
    queries = queries.take(getattr(queries, modality).any(axis=1))
    scores: tuple[list[np.ndarray], list[np.ndarray]] = ([np.empty(0)], [np.empty(0)])
    if not len(queries):
        return scores[0][0], scores[1][0]
    other = OTHER[modality]
    encodings = encoder.encodings_of(modality, getattr(queries, modality)).numpy()
    query = represent(encoder, encodings, "item", modality)
    gallery, items, vectors = _offered(encoder, gallery, dataset.label_names, other)
    labels = _labels([queries], dataset), _labels(gallery, dataset)
    keys = np.concatenate([split.group_keys for split in (queries, *gallery)])
    group, group_of_item = np.split(first_rows(keys), [len(queries)])
    for rows in query.slices(QUERIES_AT_ONCE):
        ranked = similarities(query[rows], items)
        own = (labels[0][rows] @ labels[1].T).toarray() | (group[rows, np.newaxis] == group_of_item)
        for values, scored in zip(scores, (ranked, np.where(own, -np.inf, ranked)), strict=True):
            best, place = tf.math.top_k(scored, min(MATCH_DEPTH, len(items)))
            complete = np.isfinite(best).all(axis=1)
            hits = vectors[place.numpy()[complete]]
            own_items = encodings[rows][complete, encoder.code_dim :]
            values.append(match_score(own_items, hits).numpy())
    return np.concatenate(scores[0]), np.concatenate(scores[1])


def _offered(
    encoder: CommonSpaceEncoder,
    gallery: Sequence[Split],
    label_names: Sequence[str],
    modality: str,
) -> tuple[Sequence[Split], Representations, np.ndarray]:
    """Return the items of a gallery, as searches compare them, with their item embeddings.

    With training items in it they are those of searches of all items, by image and caption
    (`gallery.search_embeddings`). The last split, which the queries are from, is compared by one
    modality: a typed query is rarely the very caption of an item. It has no caption features
    therefore, and the training items are compared without them.
    """
    if len(gallery) > 1:
        trained, held = gallery
        whole = from_split(trained, label_names)
        if combines(encoder, "item", whole):
            items, combined = search_embeddings(
                encoder, "item", whole, modality, caption_features=False
            )
            row_of = {name: row for row, name in enumerate(trained.id.tolist())}
            rows = np.array([row_of[name] for name in items.id.tolist()])
            encodings = encoder.encodings_of(modality, getattr(held, modality))
            alone = encoder.represent(encodings, "item", modality)
            embeddings = np.concatenate([combined, alone])
            offered = Representations.of(modality, embeddings)
            return [trained.take(rows), held], offered, encoder.items_of(embeddings)
    encodings = np.concatenate(
        [encoder.encodings_of(modality, getattr(split, modality)) for split in gallery]
    )
    offered = represent(encoder, encodings, "item", modality)
    return gallery, offered, encodings[:, encoder.code_dim :]


def _labels(splits: Sequence[Split], dataset: PairedDataset) -> sparse.csr_array:
    """Return the labels of concatenated splits, (n, c) bool."""
    parts = [label_matrix(split.label, dataset.num_classes) for split in splits]
    return sparse.csr_array(sparse.vstack(parts))
