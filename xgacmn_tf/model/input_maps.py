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
from sklearn.metrics.pairwise import additive_chi2_kernel, chi2_kernel

from xgacmn_tf.errors import InputError
from xgacmn_tf.model import PACKAGE
from xgacmn_tf.names import CHI2_COMPONENTS, CHI2_GAMMA, MAP_NAMES

# Training rows that the χ² kernel compares with. The kernel between them is formed once, in memory,
# and every item that is encoded is compared with each: 4,000 rows are 128 MB of float64.
MAX_LANDMARKS = 4_000
# Components that the χ² map keeps for each dimension of its histograms, at most: for ten topics 500
# lost .002 to .006 of validation mAP against 100.
COMPONENTS_A_DIMENSION = 10
# Rows that the mean χ² distance is taken over, evenly spaced.
ROWS_FOR_DISTANCE = 500
# Columns that are standardized at once.
COLUMNS_AT_ONCE = 256
# From this share of zeros on, non-negative features are taken for weighted words. Units of a
# rectified network are zero less often.
SPARSE = 0.9
# By how much the sums of histograms may differ, as a share: rounding, not other lengths.
SUM_TOLERANCE = 1e-3


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
        # Roots are of histograms alone; `fit_map` rejects values below 0 other than rounding.
        return x if self.power == 1.0 else np_or_ops.maximum(x, 0.0) ** self.power

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(PACKAGE)
class TfIdf(InputMap):
    """Word counts → (1 + log count) · idf, rows of length √input_dim; an empty row stays zero.

    idf_w = log((1 + n) / (1 + n_w)) + 1 with n_w the number of training rows that have word w.
    The length √input_dim gives an entry a mean square of 1, which Glorot's initializer expects.
    A count is at least 1 where it is not 0, and `fit_map` rejects training rows with smaller ones.
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
        features = _evenly_spaced(features, self.rows)
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


def _evenly_spaced(features: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced rows, of all categories if rows are sorted by them."""
    if len(features) <= most:
        return features
    return features[np.linspace(0, len(features) - 1, most).round().astype(int)]


def mean_chi2_distance(features: np.ndarray) -> float:
    """Return the mean χ² distance over pairs of rows; 1 if all are equal."""
    rows = _evenly_spaced(features, ROWS_FOR_DISTANCE).astype(np.float64)
    distances = -additive_chi2_kernel(rows)
    pairs = len(rows) * (len(rows) - 1)
    return float(distances.sum() / pairs) if pairs and distances.any() else 1.0


def choose_map(features: np.ndarray) -> str:
    """Return the name of the map that "auto" stands for.

    Word counts, which are non-negative whole numbers and at least half zeros, take tf-idf.
    Histograms, whose rows are non-negative and have one sum, take the χ² kernel. Other non-negative
    features that are nearly all zeros are weighted words, and take unit length: a z-score
    would inflate the rare ones. Everything else takes the z-score.
    """
    if (features < 0).any():
        return "zscore"
    zeros = 1 - np.count_nonzero(features) / features.size
    if zeros >= 0.5 and (features == np.floor(features)).all():
        return "tfidf"
    sums = features.sum(axis=1, dtype=np.float64)
    sums = sums[sums > 0]
    if len(sums) and np.ptp(sums) <= SUM_TOLERANCE * sums.max():
        return "chi2"
    return "unit" if zeros >= SPARSE else "zscore"


def fit_maps(settings: Any, image: np.ndarray, text: np.ndarray) -> tuple[InputMap, InputMap]:
    """Return the image map and the text map, fitted on training features.

    X-GACMN and the compared systems that share its input maps all use this function.

    Args:
      settings: an object with the attributes image_map, text_map, chi2_gamma and chi2_components.
      image: (n, d_v) float32.
      text: (n, d_t) float32.

    Raises:
      InputError: as `fit_map` does.
    """
    chi2 = {"gamma": settings.chi2_gamma, "components": settings.chi2_components}
    return (
        fit_map(settings.image_map, image, "image", **chi2),
        fit_map(settings.text_map, text, "text", **chi2),
    )


def fit_map(
    name: str,
    features: np.ndarray,
    modality: str,
    *,
    gamma: float = CHI2_GAMMA,
    components: int = CHI2_COMPONENTS,
) -> InputMap:
    """Return the map called `name`, fitted on training features.

    Args:
      name: one of `MAP_NAMES`; "auto" stands for the result of `choose_map`.
      features: (n, d) float32.
      modality: "image" or "text", for errors.
      gamma: of the χ² kernel, times the `mean_chi2_distance`.
      components: that the χ² map keeps, at most; `COMPONENTS_A_DIMENSION` is another limit.

    Raises:
      InputError: negative features under a map for histograms or counts, or counts between 0 and 1
        under tf-idf.
    """
    rows, input_dim = features.shape
    if name == "auto":
        name = choose_map(features)
    if name in ("hellinger", "chi2", "tfidf") and features.min() < 0:
        raise InputError(
            f"--{modality}_map={name} is for histograms and counts, but the training {modality} "
            f"features go down to {features.min():.4g}; use --{modality}_map=zscore"
        )
    if name == "tfidf" and ((features > 0) & (features < 1)).any():
        smallest = features[features > 0].min()
        raise InputError(
            f"--{modality}_map=tfidf expects word counts, but the training {modality} features "
            f"hold weights between 0 and 1, the smallest {smallest:.4g}; "
            f"use --{modality}_map=unit, zscore or hellinger"
        )
    layer: InputMap
    match name:
        case "zscore":
            layer = Standardize(input_dim)
        case "hellinger":
            layer = Standardize(input_dim, power=0.5)
        case "chi2":
            components = min(components, COMPONENTS_A_DIMENSION * input_dim)
            gamma /= mean_chi2_distance(features)
            layer = ChiSquareKernelPCA(input_dim, min(rows, MAX_LANDMARKS), components, gamma)
        case "tfidf":
            layer = TfIdf(input_dim)
        case "unit":
            layer = UnitLength(input_dim)
        case "none":
            layer = Identity(input_dim)
        case _:
            raise InputError(f"--{modality}_map={name}: expected one of {', '.join(MAP_NAMES)}")
    layer.fit(features)
    return layer
