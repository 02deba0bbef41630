"""Layer of Gaussian affinities to fixed centers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from xgacmn_tf.model import PACKAGE

if TYPE_CHECKING:
    import tensorflow as tf


@keras.saving.register_keras_serializable(PACKAGE)
class GaussianAffinities(keras.layers.Layer):
    """x (n, d) → exp(−‖x − c_j‖² / 2σ²) for each center c_j (n, k).

    Args:
      count: k.
      width: σ > 0.
    """

    def __init__(self, count: int, width: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.count, self.width = count, width

    @classmethod
    def of(cls, centers: np.ndarray, width: float) -> GaussianAffinities:
        """Return the layer with centers (k, d)."""
        layer = cls(len(centers), float(width))
        layer.build((None, centers.shape[1]))
        layer.centers.assign(centers)
        return layer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self.count, input_shape[-1])
        self.centers = self.add_weight(shape=shape, trainable=False, name="centres")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # ‖x‖² − 2 x·c + ‖c‖² avoids (n, k, d) differences. Subtracting the centers' mean limits the
        # loss of digits by cancellation.
        origin = ops.mean(self.centers, axis=0)
        x, centers = x - origin, self.centers - origin
        square = (
            ops.sum(ops.square(x), axis=-1, keepdims=True)
            - 2 * ops.matmul(x, ops.transpose(centers))
            + ops.sum(ops.square(centers), axis=-1)
        )
        return ops.exp(ops.maximum(square, 0.0) / (-2 * self.width**2))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "width": self.width}
