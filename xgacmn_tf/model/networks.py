"""The fully connected networks of §4.1: encoder, decoder, discriminator.

A generator is an encoder and a decoder with the common code between them:
G_I is V → 512 → 100 → 100 → 100 → 512 → T, G_T is T → 512 → 100 → 100 → 100 → 512 → V; the middle
100 is the code. D_I and D_T are V(T) → 2000 → 2, D_C is 100 → 50 → 2. By default,
this package takes 500 in place of 2000.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from xgacmn_tf.model import PACKAGE
from xgacmn_tf.names import FEATURE_DISCRIMINATOR_HIDDEN, FEW_PAIRS

# Dropout of encoders where none is given, and the number of pairs for each feature from which there
# is none. Dropping half of the hidden units costs 0.002 to 0.006 of validation mAP with 2,000 pairs
# of ten topics, 0.05 with 950 pairs of 25 measurements of leaves, and 0.016 to 0.034 with 1,000
# pairs of 76 and 64 measurements of digits. With 90 pairs of 6 measurements of wines it gains 0.03.
DROPOUT, ENOUGH_PAIRS, ENOUGH_OF_FEW_PAIRS = 0.5, 10, 20
# Share of equal class posteriors in the class terms: +0.002 of validation mAP over 14 data sets, up
# to +0.009 (stamps); but −0.008 with 90 pairs of wines.
LABEL_SMOOTHING = 0.1


def has_few_pairs(dim: int, rows: int) -> bool:
    """Return whether `rows` training pairs are few for `dim` features.

    Such features take dropout, and components of a Gaussian kernel in place of z-scores.
    """
    return rows < dim * (ENOUGH_OF_FEW_PAIRS if rows < FEW_PAIRS else ENOUGH_PAIRS)


def default_label_smoothing(rows: int) -> float:
    """Return the label smoothing for a number of training pairs: none for few pairs."""
    return LABEL_SMOOTHING if rows >= FEW_PAIRS else 0.0


def default_dropout(dim: int, rows: int) -> float:
    """Return the share of hidden units to drop, for `dim` mapped features and `rows` pairs."""
    return DROPOUT if has_few_pairs(dim, rows) else 0.0


@keras.saving.register_keras_serializable(PACKAGE)
class SharedDropout(keras.layers.Dropout):
    """Dropout whose mask is that of the whole batch, of which each replica takes its rows.

    Every replica of `tf.distribute` has the same random state. Without this all would drop alike,
    and the numbers would depend on how many there are.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if not training or replicas == 1:
            return super().call(inputs, training=training)
        rows = tf.shape(inputs)[0]
        first = tf.distribute.get_replica_context().replica_id_in_sync_group * rows
        mask = super().call(
            tf.ones((replicas * rows, inputs.shape[1]), inputs.dtype), training=True
        )
        return inputs * mask[first : first + rows]


class DenseStack(keras.layers.Layer):
    """Dense layers one after another; every sublayer has the dtype policy of the whole."""

    def __init__(
        self, units: Sequence[int], activations: Sequence[str], dropout: float, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.config: dict[str, Any]
        # The explicit dtype keeps a mixed-precision model mixed after reloading.
        self.dense = [
            keras.layers.Dense(
                width, activation=activation, dtype=self.dtype_policy, name=f"dense_{i}"
            )
            for i, (width, activation) in enumerate(zip(units, activations, strict=True))
        ]
        self.drop = (
            [
                SharedDropout(dropout, dtype=self.dtype_policy, name=f"dropout_{i}")
                for i in range(len(units) - 1)
            ]
            if dropout
            else []
        )

    def get_config(self) -> dict[str, Any]:
        # The arguments of the subclass.
        return {**super().get_config(), **self.config}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in self.dense:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        for i, layer in enumerate(self.dense):
            x = layer(x)
            if self.drop and i < len(self.drop):
                x = self.drop[i](x, training=training)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.dense[-1].units)


@keras.saving.register_keras_serializable(PACKAGE)
class Encoder(DenseStack):
    """Features (n, d_v or d_t) → common code (n, code_dim): G_Ienc or G_Tenc.

    Args:
      hidden: widths of the hidden layers; the paper takes (512, 100).
      code_dim: width of the common space; the paper takes 100.
      code_activation: "tanh"; Fig. 4's pictures use "linear".
      dropout: share of the hidden units dropped in training. The paper names none.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (512, 100),
        code_dim: int = 100,
        code_activation: str = "tanh",
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        units = (*hidden, code_dim)
        super().__init__(units, ["tanh"] * len(hidden) + [code_activation], dropout, **kwargs)
        self.config = {
            "hidden": tuple(hidden),
            "code_dim": code_dim,
            "code_activation": code_activation,
            "dropout": dropout,
        }


@keras.saving.register_keras_serializable(PACKAGE)
class Decoder(DenseStack):
    """Common code (n, code_dim) → features of the *other* modality: G_Idec or G_Tdec.

    Args:
      hidden: widths of the hidden layers; the paper takes (100, 512).
      feature_dim: dimension of the features to generate.
      output_activation: "tanh" as in the paper, or "linear" for features that leave [−1, 1].
    """

    def __init__(
        self,
        feature_dim: int,
        hidden: Sequence[int] = (100, 512),
        output_activation: str = "tanh",
        **kwargs: Any,
    ):
        units = (*hidden, feature_dim)
        super().__init__(units, ["tanh"] * len(hidden) + [output_activation], 0.0, **kwargs)
        self.config = {
            "feature_dim": feature_dim,
            "hidden": tuple(hidden),
            "output_activation": output_activation,
        }


@keras.saving.register_keras_serializable(PACKAGE)
class Discriminator(DenseStack):
    """Features or codes (n, d) → two logits (n, 2), of "real" (D_I, D_T) or "image" (D_C) first.

    Args:
      hidden: width of the hidden layer; the paper takes 2000 for D_I and D_T, 50 for D_C.
    """

    def __init__(self, hidden: int = FEATURE_DISCRIMINATOR_HIDDEN, **kwargs: Any):
        super().__init__((hidden, 2), ("tanh", "linear"), 0.0, **kwargs)
        self.config = {"hidden": hidden}

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        hidden, verdict = self.dense
        # A product with two columns leaves most of a vector register empty, and one with a
        # transposed view of them too (into which TensorFlow turns `transpose`); two rows fill it.
        rows = tf.stack(tf.unstack(verdict.kernel, axis=1))
        logits = tf.matmul(rows, hidden(x), transpose_b=True)
        return tf.nn.bias_add(tf.transpose(logits), verdict.bias)
