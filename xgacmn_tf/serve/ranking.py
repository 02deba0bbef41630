"""What the embeddings of a query and of its hits tell: categories, and whether anything fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xgacmn_tf.gallery import categories_with_posteriors
from xgacmn_tf.model.encoders import MATCH_DEPTH, match_score
from xgacmn_tf.serve.encoder import Encoder


@dataclass(frozen=True)
class Category:
    """A category with the probability in [0, 1] that the class layer gives it.

    Attributes:
      category: as known, or else the most probable class; None where neither is known.
      posterior: its probability; None where the class layer does not know it.
      known: whether it is the category as known.
    """

    category: str | None
    posterior: float | None
    known: bool


def categories_of(
    encoder: Encoder, embeddings: np.ndarray, categories: Sequence[str]
) -> list[Category]:
    """Return the categories of n items or queries.

    Args:
      encoder: made the embeddings.
      embeddings: (n, e) float32, n at least 1.
      categories: n categories as known, or "".
    """
    posteriors = encoder.posteriors_of(embeddings)
    if posteriors is None or encoder.label_names is None:
        return [Category(name or None, None, bool(name)) for name in categories]
    found = categories_with_posteriors(posteriors, encoder.label_names, np.array(categories))
    rows = zip(categories, *(values.tolist() for values in found), strict=True)
    return [
        # A category that is no class is shown as it is.
        Category(given, None, True) if given and not known else Category(shown, posterior, known)
        for given, shown, posterior, known in rows
    ]


def is_no_good_match(
    encoder: Encoder, query: np.ndarray, hits: Sequence[np.ndarray], threshold: float
) -> bool:
    """Return whether the first hits (e,) of a query (e,) fit it worse than a threshold."""
    if not hits:
        return True
    best = encoder.items_of(np.stack(hits[:MATCH_DEPTH]))
    own = encoder.items_of(query)
    return bool(match_score(own[np.newaxis], best[np.newaxis])[0] < threshold)
