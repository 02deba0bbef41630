"""Base class of input maps, and the z-score that other maps build on."""

from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

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

    def _fitted_weight(self, name: str, *shape: int, initializer: str = "zeros") -> keras.Variable:
        return self.add_weight(shape=shape, initializer=initializer, trainable=False, name=name)

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
        self.mean = self._fitted_weight("mean", input_dim)
        self.scale = self._fitted_weight("scale", input_dim, initializer="ones")

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


def evenly_spaced(features: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced rows, of all categories if rows are sorted by them."""
    if len(features) <= most:
        return features
    return features[np.linspace(0, len(features) - 1, most).round().astype(int)]
