"""What the closed-form systems share: centring, matrix functions, sparse rows, the encoder."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.layers import Affine

# Added to ‖u‖² of a row, so that the norm of a row of zeros has a slope.
SMOOTHING = 1e-7


def centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) features less their mean, and the mean (d,), both float64."""
    mean = features.mean(axis=0, dtype=np.float64)
    return features - mean, mean


def projections(
    image_weights: np.ndarray,
    image_mean: np.ndarray,
    text_weights: np.ndarray,
    text_mean: np.ndarray,
) -> CommonSpaceEncoder:
    """The encoder x → (x − mean) W of each modality, with W (d, e) and mean (d,)."""
    return CommonSpaceEncoder(
        Identity(len(image_mean)),
        Identity(len(text_mean)),
        Affine.of(image_weights, -image_mean @ image_weights),
        Affine.of(text_weights, -text_mean @ text_weights),
        None,
    )


def whitening(features: np.ndarray, ridge: float) -> np.ndarray:
    """(XᵀX / n + ridge I)^-½ of centred features (n, d).

    Directions without variance beyond rounding, which only a ridge near zero leaves, map to zero.
    """
    covariance = features.T @ features / len(features) + ridge * np.eye(features.shape[1])
    # The default driver gives up on some covariances of pooled activations.
    values, vectors = linalg.eigh(covariance, driver="evd")
    useful = values > 1e-12 * values[-1]
    vectors, values = vectors[:, useful], values[useful]
    return (vectors / np.sqrt(values)) @ vectors.T


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """`matrix`⁻¹ `right`, with `matrix` (d, d) positive definite.

    Raises:
      InputError: it is not, to double precision.
    """
    try:
        return linalg.solve(matrix, right, assume_a="pos")
    except linalg.LinAlgError:
        raise InputError(
            "The features' scale drowns the penalty in rounding; scale the features down, or "
            "raise it with --model_settings=sparsity=…"
        ) from None


def row_lengths(weights: np.ndarray) -> np.ndarray:
    """(d,) smoothed norms √(‖u_i‖² + 1e-7) of the rows of (d, c)."""
    return np.sqrt(np.square(weights).sum(axis=1) + SMOOTHING)
