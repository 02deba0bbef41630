"""Input maps to principal components: of kernels, and whitened ones of the z-scored features.

They leave the feature space, so a generator's targets are z-scored features.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from scipy import linalg
from sklearn.metrics.pairwise import chi2_kernel, rbf_kernel

from xgacmn_tf.model import PACKAGE
from xgacmn_tf.model.map_base import InputMap, Standardize, evenly_spaced

TINY = np.finfo(np.float64).tiny
# From this share on, all eigenvectors by divide and conquer take less time than some of them: for
# 1,000 of 2,510, half to two thirds.
SUBSET = 0.3


class ComponentMap(InputMap):
    """Base of maps to components, whose targets are z-scored features.

    Args:
      input_dim: d, number of features.
      rows: number of training rows that the components are computed from, at most.
      components: number of components to keep, at most rows − 1, but at least 1.
    """

    leaves_feature_space = True

    def __init__(self, input_dim: int, rows: int, components: int, **kwargs: Any):
        super().__init__(input_dim, **kwargs)
        self.rows, self.components = rows, max(min(components, rows - 1), 1)
        self.standardize = Standardize(input_dim, name="target")

    @property
    def output_dim(self) -> int:
        return self.components

    @property
    def target_dim(self) -> int:
        return self.input_dim

    def target(self, features: tf.Tensor) -> tf.Tensor:
        return self.standardize(features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rows": self.rows, "components": self.components}


class KernelPCA(ComponentMap):
    """Base of principal components of a kernel between features and training rows.

    The centered training kernel's leading eigenvectors a_j with eigenvalues μ_j give component j
    as (k(x, ·) − mean) a_j / √μ_j. One global scale brings the mean square to 1; the components
    keep their different variances.

    Args:
      input_dim: d, number of features.
      rows: n, number of training rows that the kernel compares with, the landmarks.
      components: number of components to keep, at most n − 1, but at least 1.
      gamma: γ > 0, factor of the distance in the kernel, in units of 1 / distance.

    Attributes:
      min_share: components are 0 whose eigenvalue is a smaller share of the kernel's trace.
    """

    min_share = 0.0

    def __init__(self, input_dim: int, rows: int, components: int, gamma: float, **kwargs: Any):
        super().__init__(input_dim, rows, components, **kwargs)
        self.gamma = gamma
        self.landmarks = self._fitted_weight("landmarks", rows, input_dim)
        self.kernel_mean = self._fitted_weight("kernel_mean", rows)
        self.projection = self._fitted_weight("projection", rows, self.components)

    def kernel(self, features: tf.Tensor) -> tf.Tensor:
        """Return the kernel (m, n) of features (m, d) float32 and the landmarks."""
        raise NotImplementedError

    def landmark_kernel(self, landmarks: np.ndarray) -> np.ndarray:
        """Return the kernel (n, n) float64 of the landmarks (n, d) float32."""
        raise NotImplementedError

    def fit(self, features: np.ndarray) -> None:
        self.standardize.fit(features)
        landmarks = evenly_spaced(features, self.rows)
        kernel = self.landmark_kernel(landmarks)
        mean = kernel.mean(axis=0)
        centered = kernel - mean[:, None] - mean[None, :] + mean.mean()
        values, vectors = leading_eigenvectors(centered, self.components)
        values[values < self.min_share * np.trace(kernel)] = 0.0
        vectors[:, values == 0] = 0.0
        # On the training rows component j has mean square μ_j / n.
        kept = max(int(np.count_nonzero(values)), 1)
        scale = np.sqrt(self.rows * kept / max(values.sum(), 1e-12))
        self.landmarks.assign(landmarks)
        self.kernel_mean.assign(mean)
        self.projection.assign(vectors / np.sqrt(np.maximum(values, TINY)) * scale)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        kernel = self.kernel(ops.cast(features, "float32"))
        return ops.matmul(kernel - self.kernel_mean, self.projection)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable(PACKAGE)
class ChiSquareKernelPCA(KernelPCA):
    """Principal components of the exponential χ² kernel of histograms against training rows.

    k(x, z) = exp(−γ Σ_i (x_i − z_i)² / (x_i + z_i)); `KernelPCA` documents the arguments, and
    `fit_map` derives γ from the mean distance.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> histograms = np.random.default_rng(0).dirichlet(np.ones(5), 20)
    >>> layer = input_maps.ChiSquareKernelPCA(5, rows=20, components=3, gamma=2.0)
    >>> layer.adapt(histograms)
    >>> layer(histograms).shape.as_list()
    [20, 3]
    """

    def landmark_kernel(self, landmarks: np.ndarray) -> np.ndarray:
        return chi2_kernel(landmarks.astype(np.float64), gamma=self.gamma)

    def kernel(self, features: tf.Tensor) -> tf.Tensor:
        def one_row(x: tf.Tensor) -> tf.Tensor:
            total = x + self.landmarks
            distance = ops.sum(
                ops.square(x - self.landmarks) / ops.where(total > 0, total, 1.0), axis=-1
            )
            return ops.exp(-self.gamma * distance)

        # Row by row: a block of rows would need rows · n · d numbers at once.
        return tf.map_fn(one_row, features)


@keras.saving.register_keras_serializable(PACKAGE)
class GaussianKernelPCA(KernelPCA):
    """Principal components of the Gaussian kernel of z-scored features against training rows.

    k(x, z) = exp(−γ ‖x − z‖²); `KernelPCA` documents the arguments, and `fit_map` derives γ from
    the median distance.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> features = np.random.default_rng(0).normal(size=(20, 5))
    >>> layer = input_maps.GaussianKernelPCA(5, rows=20, components=3, gamma=0.1)
    >>> layer.adapt(features)
    >>> layer(features).shape.as_list()
    [20, 3]
    """

    # Single precision's distances have errors that dividing by √μ_j would amplify.
    min_share = 1e-5

    def landmark_kernel(self, landmarks: np.ndarray) -> np.ndarray:
        return rbf_kernel(np.asarray(self.standardize(landmarks), np.float64), gamma=self.gamma)

    def kernel(self, features: tf.Tensor) -> tf.Tensor:
        x, z = self.standardize(features), self.standardize(self.landmarks)
        lengths = ops.sum(ops.square(x), axis=1, keepdims=True) + ops.sum(ops.square(z), axis=1)
        # Rounding can bring the distance of equal rows below 0.
        distance = ops.maximum(lengths - 2 * ops.matmul(x, ops.transpose(z)), 0.0)
        return ops.exp(-self.gamma * distance)


@keras.saving.register_keras_serializable(PACKAGE)
class Whiten(ComponentMap):
    """Principal components of z-scored features, divided by √(λ_j + α).

    λ_j are the eigenvalues of the correlation matrix. α, the shrinkage times the mean λ_j of the
    components, keeps directions of hardly any variance from being scaled up to 1.

    Args:
      input_dim: d, number of features.
      rows: number of training rows that the eigenvectors are computed from if it is less than d;
        otherwise all training rows take part.
      components: number of components to keep, at most min(d, rows − 1), but at least 1.
      shrinkage: α in units of the mean λ_j; 0 whitens fully.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> features = np.random.default_rng(0).normal(size=(20, 2)) @ [[1.0, 1.0], [0.0, 0.1]]
    >>> layer = input_maps.Whiten(2, rows=20, components=2, shrinkage=0.0)
    >>> layer.adapt(features)
    >>> layer(features).numpy().std(axis=0).astype(float).round(2).tolist()
    [1.0, 1.0]
    """

    def __init__(
        self, input_dim: int, rows: int, components: int, shrinkage: float = 0.1, **kwargs: Any
    ):
        super().__init__(input_dim, rows, min(components, input_dim), **kwargs)
        self.shrinkage = shrinkage
        self.projection = self._fitted_weight("projection", input_dim, self.components)

    def fit(self, features: np.ndarray) -> None:
        self.standardize.fit(features)
        # The products of the rows have the same eigenvalues as those of the columns.
        wide = self.input_dim > self.rows
        x = self.standardize(evenly_spaced(features, self.rows) if wide else features).numpy()
        if wide:
            # Dividing by √λ_j below would amplify single precision's rounding.
            x = x.astype(np.float64)
        products = (x @ x.T if wide else x.T @ x).astype(np.float64) / len(x)
        values, vectors = leading_eigenvectors(products, self.components)
        if wide:
            vectors = x.T @ vectors / np.sqrt(np.maximum(len(x) * values, TINY))
        alpha = self.shrinkage * values.mean()
        self.projection.assign(vectors / np.sqrt(np.maximum(values + alpha, TINY)))

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return ops.matmul(self.standardize(ops.cast(features, "float32")), self.projection)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shrinkage": self.shrinkage}


def leading_eigenvectors(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues of a symmetric matrix, and their eigenvectors.

    Args:
      matrix: (n, n) float64, positive semidefinite up to rounding.
      count: number of eigenvalues, at most n.

    Returns:
      Eigenvalues (count,), descending, and eigenvectors (n, count). Both are 0 where an eigenvalue
      is 0 up to rounding, as in duplicate rows: those components carry nothing.
    """
    rows = len(matrix)
    if count < SUBSET * rows:
        values, vectors = linalg.eigh(matrix, subset_by_index=[rows - count, rows - 1])
    else:
        values, vectors = linalg.eigh(matrix, driver="evd")
    values, vectors = values[: -count - 1 : -1], vectors[:, : -count - 1 : -1]
    useful = values > 1e-10 * max(values[0], 1e-10)
    # An eigenvector's sign is arbitrary: fixing it makes the same data give the same weights.
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), range(count)])
    return np.where(useful, values, 0.0), np.where(useful, vectors * signs, 0.0)
