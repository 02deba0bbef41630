"""Input maps: preprocessing layers from raw features to the inputs of the encoders.

They are fitted on the training rows alone. The paper names no input normalization. Each map is a
Keras layer whose fitted numbers are weights, so a saved encoder takes raw features and contains its
own preprocessing. `target` returns the features that the *other* modality's generator must produce
and the feature discriminator receives: the mapped features themselves, or z-scored ones if the map
leaves the feature space.
"""

from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from scipy import linalg
from sklearn.metrics.pairwise import chi2_kernel

from xgacmn_tf.model import PACKAGE

# Columns that are standardized at once.
COLUMNS_AT_ONCE = 256


class InputMap(keras.layers.Layer):
    """Features (n, input_dim) → encoder input (n, output_dim)."""

    # Whether `target` differs from the map itself.
    leaves_feature_space = False

    def __init__(self, input_dim: int, **kwargs: Any):
        # Raw features keep their precision whatever the networks compute in.
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.autocast = False
        self.input_dim = input_dim

    def adapt(self, data: Any) -> None:
        """Fit the map to training features, as Keras's preprocessing layers do.

        Args:
            data: (n, input_dim) finite features, n at least 1.

        Raises:
            ValueError: the features have another shape.
        """
        features = np.asarray(data, np.float32)
        if features.ndim != 2 or features.shape[1] != self.input_dim or not len(features):
            raise ValueError(
                f"{type(self).__name__}.adapt received shape {features.shape}; expected "
                f"(n, {self.input_dim}) with at least one row"
            )
        self.fit(features)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Do nothing: the constructor creates all weights."""

    @property
    def output_dim(self) -> int:
        return self.input_dim

    @property
    def target_dim(self) -> int:
        return self.output_dim

    def fit(self, features: np.ndarray) -> None:
        """Set the weights, if there are any, from training features (n, input_dim), float32."""

    def target(self, features: tf.Tensor) -> tf.Tensor:
        """Return the targets (n, target_dim) of a generator for features (n, input_dim)."""
        return self(features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "input_dim": self.input_dim}


@keras.saving.register_keras_serializable(PACKAGE)
class Standardize(InputMap):
    """Z-score (x − mean) / standard deviation of each feature; `power` 0.5 takes √x first.

    A feature that is constant in training is only centered: dividing by (nearly) zero would let
    the first differing test value dominate all other features.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> layer = input_maps.Standardize(2)
    >>> layer.adapt(np.array([[0.0, 1.0], [2.0, 1.0]]))
    >>> layer(np.array([[4.0, 1.0]])).numpy().tolist()
    [[3.0, 0.0]]
    """

    def __init__(self, input_dim: int, power: float = 1.0, **kwargs: Any):
        super().__init__(input_dim, **kwargs)
        self.power = power
        self.mean = self.add_weight(
            shape=(input_dim,), initializer="zeros", trainable=False, name="mean"
        )
        self.scale = self.add_weight(
            shape=(input_dim,), initializer="ones", trainable=False, name="scale"
        )

    def fit(self, features: np.ndarray) -> None:
        mean, deviation = np.empty(self.input_dim), np.empty(self.input_dim)
        # Some columns at a time, since a deviation in double precision takes a copy of all it sees.
        for first in range(0, self.input_dim, COLUMNS_AT_ONCE):
            columns = slice(first, first + COLUMNS_AT_ONCE)
            x = self._powered(features[:, columns], np)
            mean[columns], deviation[columns] = (
                f(x, axis=0, dtype=np.float64) for f in (np.mean, np.std)
            )
        # Constant up to float32's rounding of the values at hand, whatever their scale.
        constant = deviation <= np.maximum(1e-6 * np.abs(mean), np.finfo(np.float32).tiny)
        self.mean.assign(mean.astype(np.float32))
        self.scale.assign(np.where(constant, 1.0, deviation).astype(np.float32))

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return (self._powered(features, ops) - self.mean) / self.scale

    def _powered(self, x: Any, np_or_ops: ModuleType) -> Any:
        # Only histograms are rooted; `fit_map` rejects values below 0 other than rounding.
        return x if self.power == 1.0 else np_or_ops.maximum(x, 0.0) ** self.power

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(PACKAGE)
class TfIdf(InputMap):
    """Word counts → (1 + log count) · idf, rows of length √input_dim; an empty row stays zero.

    idf_w = log((1 + n) / (1 + n_w)) + 1 with n_w the number of training rows that have word w.
    The length √input_dim gives an entry a mean square of 1, which Glorot's initializer expects.
    A count is 0 or at least 1, and `map_choice.fit_map` rejects training rows with other values.
    In other splits 1 + log count is cut off at 0, so that a smaller count never weighs more.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> layer = input_maps.TfIdf(4)
    >>> layer.adapt(np.array([[1, 0, 0, 2], [1, 1, 0, 0]]))
    >>> layer(np.array([[1.0, 0.0, 0.0, 0.0]])).numpy().tolist()
    [[2.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, input_dim: int, **kwargs: Any):
        super().__init__(input_dim, **kwargs)
        self.idf = self.add_weight(
            shape=(input_dim,), initializer="ones", trainable=False, name="idf"
        )

    def fit(self, features: np.ndarray) -> None:
        rows_with_word = np.count_nonzero(features, axis=0)
        self.idf.assign(np.log((1 + len(features)) / (1 + rows_with_word)) + 1)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        weights = ops.maximum(1.0 + ops.log(ops.maximum(features, 1e-6)), 0.0)
        return _at_length(weights * self.idf, self.input_dim**0.5)


def _at_length(rows: tf.Tensor, length: float) -> tf.Tensor:
    """Return rows (n, d) scaled to a length; a row of zeros stays zero."""
    now = ops.sqrt(ops.sum(ops.square(rows), axis=-1, keepdims=True))
    return rows * (length / ops.maximum(now, 1e-6))


@keras.saving.register_keras_serializable(PACKAGE)
class UnitLength(InputMap):
    """Rows scaled to length √input_dim, as in `TfIdf`; a row of zeros stays zero.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> input_maps.UnitLength(4)(np.array([[0.0, 3.0, 0.0, 0.0]])).numpy().tolist()
    [[0.0, 2.0, 0.0, 0.0]]
    """

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return _at_length(ops.cast(features, "float32"), self.input_dim**0.5)


@keras.saving.register_keras_serializable(PACKAGE)
class ChiSquareKernelPCA(InputMap):
    """Principal components of the exponential χ² kernel of histograms against training rows.

    k(x, z) = exp(−γ Σ_i (x_i − z_i)² / (x_i + z_i)); the centred training kernel's leading
    eigenvectors a_j with eigenvalues μ_j give component j as (k(x, ·) − mean) a_j / √μ_j. One
    global scale brings the mean square to 1; the components keep their different variances.

    Args:
      input_dim: d, length of the histograms.
      rows: n, number of training rows that the kernel compares with, the landmarks.
      components: number of components to keep, at most n − 1.
      gamma: γ > 0, in units of 1 / χ² distance; `fit_map` derives it from the mean distance.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> histograms = np.random.default_rng(0).dirichlet(np.ones(5), 20)
    >>> layer = input_maps.ChiSquareKernelPCA(5, rows=20, components=3, gamma=2.0)
    >>> layer.adapt(histograms)
    >>> layer(histograms).shape.as_list()
    [20, 3]
    """

    leaves_feature_space = True

    def __init__(self, input_dim: int, rows: int, components: int, gamma: float, **kwargs: Any):
        super().__init__(input_dim, **kwargs)
        self.rows, self.components, self.gamma = rows, min(components, rows - 1), gamma

        def weight(name: str, *shape: int) -> keras.Variable:
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.landmarks = weight("landmarks", rows, input_dim)
        self.kernel_mean = weight("kernel_mean", rows)
        self.projection = weight("projection", rows, self.components)
        self.standardize = Standardize(input_dim, name="target")

    @property
    def output_dim(self) -> int:
        return self.components

    @property
    def target_dim(self) -> int:
        return self.input_dim

    def fit(self, features: np.ndarray) -> None:
        self.standardize.fit(features)
        features = evenly_spaced(features, self.rows)
        kernel = chi2_kernel(features.astype(np.float64), gamma=self.gamma)
        mean = kernel.mean(axis=0)
        centred = kernel - mean[:, None] - mean[None, :] + mean.mean()
        rows = len(features)
        values, vectors = linalg.eigh(centred, subset_by_index=[rows - self.components, rows - 1])
        values, vectors = values[::-1], vectors[:, ::-1]
        # Duplicate rows have eigenvalues of zero, up to rounding: those components carry nothing.
        useful = values > 1e-10 * max(values[0], 1e-10)
        projection = np.where(useful, vectors / np.sqrt(np.where(useful, values, 1.0)), 0.0)
        # An eigenvector's sign is arbitrary: fixing it makes the same data give the same weights.
        projection *= np.sign(projection[np.abs(projection).argmax(axis=0), range(len(values))])
        # On the training rows component j has mean square μ_j / n.
        scale = np.sqrt(rows * self.components / max(values[useful].sum(), 1e-12))
        self.landmarks.assign(features)
        self.kernel_mean.assign(mean)
        self.projection.assign(projection * scale)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        def one_row(x: tf.Tensor) -> tf.Tensor:
            total = x + self.landmarks
            distance = ops.sum(
                ops.square(x - self.landmarks) / ops.where(total > 0, total, 1.0), axis=-1
            )
            return ops.exp(-self.gamma * distance)

        # Row by row: a block of rows would need rows · n · d numbers at once.
        kernel = tf.map_fn(one_row, tf.cast(features, tf.float32))
        return ops.matmul(kernel - self.kernel_mean, self.projection)

    def target(self, features: tf.Tensor) -> tf.Tensor:
        return self.standardize(features)

    def get_config(self) -> dict[str, Any]:
        sizes = {"rows": self.rows, "components": self.components, "gamma": self.gamma}
        return {**super().get_config(), **sizes}


@keras.saving.register_keras_serializable(PACKAGE)
class Identity(InputMap):
    """Features as they are, in single precision.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> input_maps.Identity(2)(np.array([[1.0, 2.0]])).numpy().tolist()
    [[1.0, 2.0]]
    """

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return ops.cast(features, "float32")


def evenly_spaced(features: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced rows, of all categories if rows are sorted by them."""
    if len(features) <= most:
        return features
    return features[np.linspace(0, len(features) - 1, most).round().astype(int)]
