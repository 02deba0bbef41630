"""Pseudo-labels: classes of pairs without a category, from a model of the labeled pairs.

As in Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural
networks" (ICML workshop 2013), here once: a first training labels the pairs that it is confident
of, and a second training learns from all. Not in the paper.
"""

from __future__ import annotations

import numpy as np

from xgacmn_tf.datasets.checks import has_category
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.evaluation.representations import MAX_NUMBERS
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.names import MODALITIES


def pseudo_labels(encoder: CommonSpaceEncoder, split: Split, confidence: float) -> np.ndarray:
    """Return the labels of a split, with a class for unlabeled pairs of high posterior.

    Args:
      encoder: trained on the labeled pairs, with a class layer, calibrated if possible.
      split: n pairs.
      confidence: mean class posterior of the items of a pair, above which it receives the class.

    Returns:
      Labels as of `Split.label`; a multi-hot row receives a single class.
    """
    assert encoder.num_classes is not None
    label = split.label.copy()
    unlabeled = np.flatnonzero(~has_category(label))
    size = max(1, MAX_NUMBERS // encoder.num_classes)
    for first in range(0, len(unlabeled), size):
        rows = unlabeled[first : first + size]
        part = split.take(rows)
        weights = {m: part.has(m)[:, np.newaxis].astype(np.float32) for m in MODALITIES}
        posterior = weights["image"] * encoder.encode_image(part.image, "posterior")
        posterior += weights["text"] * encoder.encode_text(part.text, "posterior")
        posterior /= weights["image"] + weights["text"]
        sure = posterior.max(axis=1) > confidence
        classes = posterior.argmax(axis=1)[sure]
        if label.ndim == 1:
            label[rows[sure]] = classes
        else:
            label[rows[sure], classes] = 1
    return label
