"""Layers of the encoders of compared systems.

All hold plain arrays, are registered, and are rebuilt from a saved model without executing
anything in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
from keras import ops

from xgacmn_tf.model import PACKAGE

if TYPE_CHECKING:
    import tensorflow as tf


@keras.saving.register_keras_serializable(PACKAGE)
class Affine(keras.layers.Layer):
    """Affine map x W + b from (n, d) to (n, e).

    Args:
      output_dim: e.
    """

    def __init__(self, output_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.output_dim = output_dim

    @classmethod
    def of(cls, weights: np.ndarray, bias: np.ndarray | None = None) -> Affine:
        """Return a layer with W (d, e) and b (e,), zero if it is None."""
        layer = cls(weights.shape[1])
        layer.build((None, weights.shape[0]))
        layer.kernel.assign(weights)
        layer.bias.assign(np.zeros(weights.shape[1]) if bias is None else bias)
        return layer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1], self.output_dim)
        self.kernel = self.add_weight(shape=shape, name="kernel")
        self.bias = self.add_weight(shape=(self.output_dim,), initializer="zeros", name="bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return ops.matmul(x, self.kernel) + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_dim": self.output_dim}


class Composite(keras.layers.Layer):
    """A layer that consists of other layers, which are saved with it."""

    def __init__(self, layers: Iterable[keras.layers.Layer], **kwargs: Any):
        super().__init__(**kwargs)
        self.layers = list(layers)

    def get_config(self) -> dict[str, Any]:
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "layers": layers}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        layers = config.pop("layers")
        return cls(
            [keras.saving.deserialize_keras_object(x, custom_objects) for x in layers], **config
        )


@keras.saving.register_keras_serializable(PACKAGE)
class Chain(Composite):
    """Layers that are applied one after another."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        del training  # Keras passes it to the inner layers.
        for layer in self.layers:
            x = layer(x)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape


@keras.saving.register_keras_serializable(PACKAGE)
class Posteriors(keras.layers.Layer):
    """The class layer of codes that are class posteriors already."""

    def posterior(self, codes: tf.Tensor, factor: float = 1.0) -> tf.Tensor:
        """Return p^factor of posteriors p (n, c), each row normalized to the sum 1."""
        if factor == 1.0:
            return codes
        # Divided by the largest, no row underflows. Sums of 0 are rows without any posterior.
        largest = ops.max(codes, axis=-1, keepdims=True)
        powers = ops.power(ops.divide_no_nan(codes, largest), factor)
        return ops.divide_no_nan(powers, ops.sum(powers, axis=-1, keepdims=True))


@keras.saving.register_keras_serializable(PACKAGE)
class LinearClasses(Affine):
    """Codes (n, d) → class logits (n, c): a class layer with softmax posteriors."""

    def posterior(self, codes: tf.Tensor, factor: float = 1.0) -> tf.Tensor:
        """Return the softmax of `factor` times the logits, (n, c)."""
        return ops.softmax(factor * self(codes), axis=-1)
