"""Class posteriors that can be believed: one factor a modality, found on validation pairs.

After training, class posteriors softmax(‖x‖ cos θ_c) are too sure of what the encoder learned by
heart, and by how much differs between modalities, which the posterior similarity feels: a text
query ranks images by how sure each is of the text's classes. As in temperature scaling (Guo et al.,
"On calibration of modern neural networks", ICML 2017) the codes x of a modality are multiplied by
the one number a > 0 that makes the labels of held-out pairs most likely. Rankings by dot product
and cosine within a gallery of one modality stay exactly as they are.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from scipy import optimize

from xgacmn_tf.baselines.layers import Chain, Factor
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.model.encoders import CommonSpaceEncoder

# Limits of log a. A split that is told apart without a mistake would ask for infinity.
LIMITS = (-math.log(10), math.log(10))
# Keeps the logarithm finite where a posterior is rounded to zero.
LEAST_POSTERIOR = 1e-12


def calibration_factors(
    encoder: CommonSpaceEncoder, split: Split, num_classes: int
) -> dict[str, float]:
    """The factor of each modality that gives the labels of held-out pairs their highest likelihood.

    Args:
      encoder: trained, with a class layer.
      split: pairs that it was not trained on.
      num_classes: c.

    Returns:
      {"image": a_v, "text": a_t}, each between 0.1 and 10.
    """
    targets = split.targets(num_classes).astype(np.float64)
    # An item with several labels shares its weight among them.
    shares = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1)
    return {
        "image": _factor(encoder, encoder.codes_of("image", split.image), shares),
        "text": _factor(encoder, encoder.codes_of("text", split.text), shares),
    }


def _factor(encoder: CommonSpaceEncoder, codes: tf.Tensor, shares: np.ndarray) -> float:
    def surprise(log_factor: float) -> float:
        posteriors = encoder.represent(codes * math.exp(log_factor), "posterior").numpy()
        logs = np.log(np.maximum(posteriors.astype(np.float64), LEAST_POSTERIOR))
        return float(-(shares * logs).sum() / len(shares))

    found = optimize.minimize_scalar(
        surprise, bounds=LIMITS, method="bounded", options={"xatol": 1e-3}
    )
    return math.exp(float(found.x))


def calibrated(encoder: CommonSpaceEncoder, factors: dict[str, float]) -> CommonSpaceEncoder:
    """`encoder` with its codes multiplied by the factor of their modality."""
    return CommonSpaceEncoder(
        encoder.image_map,
        encoder.text_map,
        Chain([encoder.image_encoder, Factor(factors["image"])]),
        Chain([encoder.text_encoder, Factor(factors["text"])]),
        encoder.class_layer,
    )
