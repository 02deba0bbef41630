"""Linear algebra shared by the closed-form systems."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import linalg, sparse
from sklearn.neighbors import kneighbors_graph

from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.layers import Affine

# Added to the squared norm of each row, so that the norm is differentiable at zero.
SMOOTHING = 1e-7


def center(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, d) features minus their mean, and the mean (d,), both float64."""
    mean = features.mean(axis=0, dtype=np.float64)
    return features - mean, mean


def projections(
    image_weights: np.ndarray,
    image_mean: np.ndarray,
    text_weights: np.ndarray,
    text_mean: np.ndarray,
) -> CommonSpaceEncoder:
    """Return the encoder x → (x − mean) W of each modality, with W (d, e) and mean (d,)."""
    return CommonSpaceEncoder(
        Identity(len(image_mean)),
        Identity(len(text_mean)),
        Affine.of(image_weights, -image_mean @ image_weights),
        Affine.of(text_weights, -text_mean @ text_weights),
        None,
    )


def whitening(features: np.ndarray, ridge: float) -> np.ndarray:
    """Return (XᵀX / n + ridge I)^-½ of centered features X (n, d).

    Directions whose variance is rounding error map to zero; a ridge near zero leaves some.
    """
    covariance = features.T @ features / len(features) + ridge * np.eye(features.shape[1])
    # The default driver does not converge for some covariances of pooled activations.
    values, vectors = linalg.eigh(covariance, driver="evd")
    useful = values > 1e-12 * values[-1]
    vectors, values = vectors[:, useful], values[useful]
    return (vectors / np.sqrt(values)) @ vectors.T


def row_norms(weights: np.ndarray) -> np.ndarray:
    """Return the smoothed norms √(‖u_i‖² + 1e-7) (d,) of the rows of U (d, c)."""
    return np.sqrt(np.square(weights).sum(axis=1) + SMOOTHING)


def solve_row_sparse(
    matrix: np.ndarray, right: np.ndarray, weights: np.ndarray, sparsity: float
) -> np.ndarray:
    """Return the half-quadratic update (A + λ diag(1 / (2 ‖u_i‖)))⁻¹ B of U under a λ ‖U‖_2,1.

    Args:
      matrix: A (d, d), symmetric.
      right: B (d, c).
      weights: U (d, c) before the update.
      sparsity: λ > 0.

    Raises:
      InputError: the sum is not positive definite in double precision.
    """
    penalized = matrix.copy()
    penalized[np.diag_indices_from(penalized)] += sparsity / (2 * row_norms(weights))
    try:
        return linalg.solve(penalized, right, assume_a="pos")
    except linalg.LinAlgError:
        raise InputError(
            f"--model_settings=sparsity={sparsity}: the penalty vanishes beside features of this "
            "scale; scale the features down or raise it"
        ) from None


def neighbor_graph(
    features: np.ndarray, neighbors: int, weigh: Callable[[np.ndarray], np.ndarray]
) -> sparse.csr_array:
    """Return the symmetric (n, n) graph of nearest neighbors.

    Args:
      features: (n, d).
      neighbors: number of neighbors of each item, at most n − 1.
      weigh: distances (m,) → weights of the edges.
    """
    graph = kneighbors_graph(features, min(neighbors, len(features) - 1), mode="distance")
    graph.data = weigh(graph.data)
    return sparse.csr_array(graph.maximum(graph.T))
