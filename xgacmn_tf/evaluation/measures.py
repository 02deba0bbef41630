"""Retrieval measures of a model on a split."""

from __future__ import annotations

from typing import Any

import numpy as np

from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.representations import represent
from xgacmn_tf.evaluation.retrieval import Measures, evaluate_retrieval
from xgacmn_tf.groups import first_rows, without_large
from xgacmn_tf.model.encoders import CommonSpaceEncoder, search_similarity
from xgacmn_tf.model.xgacmn import XGACMN


def evaluate(model: Any, data: PairedDataset | Split, *, similarity: str | None = None) -> Measures:
    """Return the measures of the images and texts of a split as queries and galleries.

    Args:
        model: an `XGACMN`, whose averaged encoders are evaluated; a `CommonSpaceEncoder`; or any
            object with functions `encode_image` and `encode_text` from raw features to embeddings
            (n, e).
        data: n pairs, or a data set, whose test split is evaluated.
        similarity: "posterior", "cosine", "dot" or "item", where the model defines it; None takes
            what searches rank by.

    Returns:
        Measure → {"i2t", "t2i", "avg"}: "mAP" of the full gallery, "mAP@50", "mAP@50/min", "R@1",
        "R@5", "R@10" and "median_rank", see `evaluation.retrieval.RetrievalResult`.

    Raises:
        InputError: the model does not define the similarity, or features do not fit it.

    Example:

    >>> import numpy as np
    >>> import xgacmn_tf as xg
    >>> class Identical:
    ...     encode_image = encode_text = staticmethod(np.asarray)
    >>> label = np.arange(4) % 2
    >>> pairs = xg.Split(np.eye(2)[label], np.eye(2)[label], label, np.arange(4).astype(str))
    >>> xg.evaluate(Identical(), pairs)["mAP"]
    {'i2t': 1.0, 't2i': 1.0, 'avg': 1.0}
    """
    if isinstance(data, PairedDataset):
        split, identity = data.test, split_identity(data)
    elif not hasattr(data, "in_memory"):
        raise InputError(f"evaluate received a {type(data).__name__}; expected a Split: data.test")
    else:
        split, identity = data.in_memory(), _identity(data)
    encoder = model.averaged if isinstance(model, XGACMN) else model
    if isinstance(encoder, CommonSpaceEncoder):
        similarity = similarity or search_similarity(encoder)
        image, text = (
            represent(encoder, encoder.encodings_of(name, features), similarity, name)
            for name, features in (("image", split.image), ("text", split.text))
        )
    elif similarity is None:
        image, text = model.encode_image(split.image), model.encode_text(split.text)
    else:
        raise InputError(
            f"similarity={similarity!r}: a {type(model).__name__} has one of its own; leave it out"
        )
    return evaluate_retrieval(image, text, split.label, identity=identity).measures


def split_identity(dataset: PairedDataset) -> Identity:
    """Return which items of the test split count as one another's own pair."""
    rows = sum(len(split) for _, split in dataset.splits())
    return Identity.of(dataset.test.image, dataset.test.text, dataset.groups["test"], rows)


def _identity(split: Split) -> Identity:
    """The same of a split alone."""
    numbers: np.ndarray = first_rows(split.group_keys)
    groups = without_large(numbers) if split.group is None else numbers
    return Identity.of(split.image, split.text, groups)
