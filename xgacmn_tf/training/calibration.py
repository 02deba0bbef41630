"""Temperature scaling of class posteriors, with a factor for each modality.

After training, class posteriors are overconfident, and by how much differs between modalities. The
posterior similarity is sensitive to this: a text query ranks images by the posteriors of the text's
classes. As in temperature scaling (Guo et al., "On calibration of modern neural networks", ICML
2017) the class logits of a modality are multiplied by the number a > 0 with the smallest negative
log-likelihood of the validation labels. Codes stay as they were trained, so rankings by dot product
and by cosine do, too. X-GACMN and every compared system with class posteriors are calibrated so.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from scipy import optimize

from xgacmn_tf.datasets.paired import targets_of
from xgacmn_tf.evaluation.representations import MAX_NUMBERS
from xgacmn_tf.model.encoders import CommonSpaceEncoder

# Limits of log a: of a split without a single error the best a would be infinite.
LIMITS = (-math.log(10), math.log(10))
# Keeps the logarithm finite where a posterior is rounded to zero.
MIN_POSTERIOR = 1e-12


def calibration_factors(
    encoder: CommonSpaceEncoder, image: np.ndarray, text: np.ndarray, label: np.ndarray
) -> dict[str, float]:
    """Return the factor of each modality with the smallest negative log-likelihood of the labels.

    Args:
      encoder: trained, with a class layer; its own calibration is not read.
      image: (n, d_v) features of pairs that it was not trained on.
      text: (n, d_t) features of the same pairs.
      label: (n,) whole numbers, or (n, c) one-hot or multi-hot. An item with several labels shares
        its weight equally among them.

    Returns:
      {"image": a_v, "text": a_t}, each between 0.1 and 10.
    """
    return {
        modality: _factor(encoder, encoder.codes_of(modality, features), label)
        for modality, features in (("image", image), ("text", text))
    }


def _factor(encoder: CommonSpaceEncoder, codes: tf.Tensor, label: np.ndarray) -> float:
    class_layer, num_classes = encoder.class_layer, encoder.num_classes
    assert class_layer is not None and num_classes is not None
    block = max(1, MAX_NUMBERS // num_classes)
    blocks = [slice(first, first + block) for first in range(0, len(label), block)]

    def log_likelihood(rows: slice, factor: float) -> float:
        label_weights = targets_of(label[rows], num_classes).astype(np.float64)
        label_weights /= np.maximum(label_weights.sum(axis=1, keepdims=True), 1)
        posteriors = np.asarray(class_layer.posterior(codes[rows], factor), np.float64)
        return float((label_weights * np.log(np.maximum(posteriors, MIN_POSTERIOR))).sum())

    def negative_log_likelihood(log_factor: float) -> float:
        factor = math.exp(log_factor)
        return -sum(log_likelihood(rows, factor) for rows in blocks) / len(label)

    minimum = optimize.minimize_scalar(
        negative_log_likelihood, bounds=LIMITS, method="bounded", options={"xatol": 1e-3}
    )
    return math.exp(float(minimum.x))
