"""Gaussian affinities to fixed centres, as a layer."""

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
    """x (n, d) → exp(−‖x − c_j‖² / 2σ²) for each centre c_j (n, k).

    Args:
      count: k.
      width: σ > 0.
    """

    def __init__(self, count: int, width: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.count, self.width = count, width

    @classmethod
    def of(cls, centres: np.ndarray, width: float) -> GaussianAffinities:
        """The layer with centres (k, d)."""
        layer = cls(len(centres), float(width))
        layer.build((None, centres.shape[1]))
        layer.centres.assign(centres)
        return layer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self.count, input_shape[-1])
        self.centres = self.add_weight(shape=shape, trainable=False, name="centres")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # ‖x‖² − 2 x·c + ‖c‖² needs no (n, k, d) differences; around the centres' mean it loses
        # few digits to cancellation.
        origin = ops.mean(self.centres, axis=0)
        x, centres = x - origin, self.centres - origin
        square = (
            ops.sum(ops.square(x), axis=-1, keepdims=True)
            - 2 * ops.matmul(x, ops.transpose(centres))
            + ops.sum(ops.square(centres), axis=-1)
        )
        return ops.exp(ops.maximum(square, 0.0) / (-2 * self.width**2))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "width": self.width}
