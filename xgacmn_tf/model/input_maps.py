"""Input maps: preprocessing layers from raw features to the inputs of the encoders.

They are fitted on the training rows alone. The paper names no input normalization. Each map is a
Keras layer whose fitted numbers are weights, so a saved encoder takes raw features and contains its
own preprocessing. `target` returns the features that the *other* modality's generator must produce
and the feature discriminator receives: the mapped features themselves, or z-scored ones if the map
leaves the feature space.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from scipy.special import ndtri
from scipy.stats import rankdata

from xgacmn_tf.model import PACKAGE
from xgacmn_tf.model.component_maps import ChiSquareKernelPCA, GaussianKernelPCA, Whiten
from xgacmn_tf.model.map_base import InputMap, Standardize

__all__ = [
    "ChiSquareKernelPCA",
    "GaussianKernelPCA",
    "Identity",
    "InputMap",
    "QuantileNormalize",
    "Standardize",
    "TfIdf",
    "UnitLength",
    "Whiten",
]

# Bound of `QuantileNormalize`'s values: 1 of 741 normal values lies below −3.
MAX_SCORE = 3.0


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
        self.idf = self._fitted_weight("idf", input_dim, initializer="ones")

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
class QuantileNormalize(InputMap):
    """Each feature's quantile among the training values → the same quantile of N(0, 1).

    A value among sorted training values of ranks 0 … q − 1 takes Φ⁻¹(rank / (q − 1)), clipped to
    ±3. Equal training values share their mean rank, so a constant feature becomes 0. Between
    training values the map is linear, and beyond them it is constant.

    Args:
      input_dim: d, number of features.
      quantiles: q, number of training quantiles that each feature keeps, at least 2. If it is the
        number of training rows, they are the training values themselves.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf import input_maps
    >>> layer = input_maps.QuantileNormalize(1, quantiles=5)
    >>> layer.adapt(np.array([[1.0], [2.0], [4.0], [80.0], [1000.0]]))
    >>> layer(np.array([[0.0], [2.0], [3.0], [80.0]])).numpy().astype(float).round(3).tolist()
    [[-3.0], [-0.674], [-0.337], [0.674]]
    """

    def __init__(self, input_dim: int, quantiles: int, **kwargs: Any):
        super().__init__(input_dim, **kwargs)
        self.quantiles = quantiles
        self.values = self._fitted_weight("values", input_dim, quantiles)
        self.scores = self._fitted_weight("scores", input_dim, quantiles)

    def fit(self, features: np.ndarray) -> None:
        levels = np.linspace(0, 1, self.quantiles)
        # One column at a time, since `np.quantile` sorts a copy.
        values = np.stack([np.quantile(column, levels) for column in features.T])
        values = np.maximum.accumulate(values.astype(np.float32), axis=1)
        ranks = rankdata(values, axis=1) - 1
        scores = np.clip(ndtri(ranks / (self.quantiles - 1)), -MAX_SCORE, MAX_SCORE)
        # Constant up to float32's rounding: its noise must not be spread to ±3.
        constant = np.ptp(values, axis=1) <= 1e-6 * np.abs(values).max(axis=1)
        self.values.assign(values)
        self.scores.assign(np.where(constant[:, None], 0.0, scores))

    def call(self, features: tf.Tensor) -> tf.Tensor:
        x = ops.cast(features, "float32")
        values, scores = ops.reshape(self.values, (-1,)), ops.reshape(self.scores, (-1,))
        first = ops.arange(self.input_dim) * self.quantiles
        last = self.quantiles - 2
        # Binary search for the last value that is not above x; ONNX has no tf.searchsorted.
        lower = ops.zeros_like(x, "int32")
        for bit in reversed(range(last.bit_length())):
            ahead = ops.minimum(lower + 2**bit, last)
            lower = ops.where(tf.gather(values, first + ahead) <= x, ahead, lower)
        at = first + lower
        left, right = tf.gather(values, at), tf.gather(values, at + 1)
        # A gap that is not a normal number is rounded to 0.
        gap = right - left
        share = (x - left) / ops.where(gap > np.finfo(np.float32).tiny, gap, 1.0)
        share = ops.where(x >= right, 1.0, share)
        low, high = tf.gather(scores, at), tf.gather(scores, at + 1)
        return low + ops.clip(share, 0.0, 1.0) * (high - low)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "quantiles": self.quantiles}


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
