"""Layers of M-DBN, Bimodal-AE and CMDN around RBMs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import keras
from keras import ops

from xgacmn_tf.baselines.rbm import RBM
from xgacmn_tf.model import PACKAGE
from xgacmn_tf.model.input_maps import InputMap
from xgacmn_tf.model.layers import Composite

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@keras.saving.register_keras_serializable(PACKAGE)
class Counts(InputMap):
    """Word counts, or topic proportions times `scale` rounded: (n, d) → whole numbers (n, d)."""

    def __init__(self, input_dim: int, scale: float = 1.0, **kwargs: Any):
        super().__init__(input_dim, **kwargs)
        self.scale = scale

    def fit(self, features: np.ndarray) -> None:
        """Do nothing; there is nothing to fit."""

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return ops.round(ops.maximum(ops.cast(features, "float32"), 0.0) * self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(PACKAGE)
class Beside(keras.layers.Layer):
    """x (n, d) beside zeros: [x, 0] or [0, x].

    Args:
      zeros: number of zeros.
      first: whether x precedes the zeros.
    """

    def __init__(self, zeros: int, first: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.zeros, self.first = zeros, first

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Do nothing; there are no weights."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        pad = (0, self.zeros) if self.first else (self.zeros, 0)
        return ops.pad(x, ((0, 0), pad))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], input_shape[-1] + self.zeros)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "zeros": self.zeros, "first": self.first}


@keras.saving.register_keras_serializable(PACKAGE)
class MeanField(keras.layers.Layer):
    """Mean-field inference of the other modality in a binary RBM over [image, text].

    The own side is clamped, and the other starts from its biases. Each round computes
    hidden ← σ(…own, other…) and other ← σ(…hidden…).

    Args:
      joint: the RBM, built.
      image_dim: number of its visible units that belong to the image.
      own: the clamped side, "image" or "text".
      rounds: at least 1.
      output: "units", [own, other] at unit length each, in the order image, text; or "hidden",
        the joint RBM's hidden probabilities at the end.
    """

    def __init__(
        self,
        joint: RBM,
        image_dim: int,
        own: str,
        rounds: int = 10,
        output: str = "units",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.joint, self.image_dim, self.own = joint, image_dim, own
        self.rounds, self.output_kind = rounds, output

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Do nothing; the RBM is built already, or stores its shape."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        image = slice(None, self.image_dim), slice(self.image_dim, None)
        own, missing = image if self.own == "image" else image[::-1]
        kernel, bias = self.joint.kernel, self.joint.visible_bias
        clamped = ops.matmul(x, kernel[own]) + self.joint.hidden_bias
        back = ops.transpose(kernel[missing])
        other = ops.sigmoid(bias[missing]) * ops.ones_like(x[:, :1])
        for _ in range(self.rounds):
            hidden = ops.sigmoid(clamped + ops.matmul(other, kernel[missing]))
            other = ops.sigmoid(ops.matmul(hidden, back) + bias[missing])
        if self.output_kind == "hidden":
            return hidden
        sides = [ops.normalize(x, axis=-1), ops.normalize(other, axis=-1)]
        return ops.concatenate(sides if self.own == "image" else sides[::-1], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        hidden = self.output_kind == "hidden"
        return (*input_shape[:-1], self.joint.kernel.shape[1 if hidden else 0])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "joint": keras.saving.serialize_keras_object(self.joint),
            "image_dim": self.image_dim,
            "own": self.own,
            "rounds": self.rounds,
            "output": self.output_kind,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        config["joint"] = keras.saving.deserialize_keras_object(config["joint"], custom_objects)
        return cls(**config)


@keras.saving.register_keras_serializable(PACKAGE)
class Parallel(Composite):
    """Layers on the same input, whose outputs are concatenated: (n, d) → (n, Σ e)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return ops.concatenate([layer(x) for layer in self.layers], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        widths = [layer.compute_output_shape(input_shape)[-1] for layer in self.layers]
        return (*input_shape[:-1], sum(widths))
