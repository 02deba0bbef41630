"""Restricted Boltzmann machine of M-DBN, Bimodal-AE, Corr-AE and CMDN, and its training.

Energy of visible units v (d,) and binary hidden units h (e,), weights W (d, e), biases b, c:
  binary v in [0, 1]:  −vᵀW h − bᵀv − cᵀh
  Gaussian v:          ½ ‖v − b‖² − vᵀW h − cᵀh
  replicated softmax:  −vᵀW h − bᵀv − L cᵀh, v the counts of L words
(Hinton, "A practical guide to training restricted Boltzmann machines", 2010; Salakhutdinov and
Hinton, "Replicated softmax", NIPS 2009). Trained by one step of contrastive divergence (CD-1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from xgacmn_tf.errors import DivergenceError
from xgacmn_tf.model import PACKAGE

VISIBLE = ("binary", "gaussian", "softmax")
# Steps per compiled call, after which the progress bar is updated.
STEPS_AT_ONCE = 50
# Decay of the running mean of the hidden units.
ACTIVITY_DECAY = 0.9


@keras.saving.register_keras_serializable(PACKAGE)
class RBM(keras.layers.Layer):
    """Visible units (n, d) → probabilities of the hidden units (n, e).

    Args:
      units: e.
      visible: type of the visible units, one of `VISIBLE`.
    """

    def __init__(self, units: int, visible: str = "binary", **kwargs: Any):
        super().__init__(**kwargs)
        if visible not in VISIBLE:
            raise ValueError(f"visible={visible!r}: expected one of {', '.join(VISIBLE)}")
        self.units, self.visible = units, visible

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        d = input_shape[-1]
        small = keras.initializers.RandomNormal(stddev=0.01)
        self.kernel = self.add_weight(shape=(d, self.units), initializer=small, name="kernel")
        self.visible_bias = self.add_weight(shape=(d,), initializer="zeros", name="visible_bias")
        self.hidden_bias = self.add_weight(
            shape=(self.units,), initializer="zeros", name="hidden_bias"
        )

    def call(self, visible: tf.Tensor) -> tf.Tensor:
        return ops.sigmoid(self.hidden_input(visible))

    def hidden_input(self, visible: tf.Tensor) -> tf.Tensor:
        """Return the log-odds of the hidden units (n, e) of visible units (n, d)."""
        return ops.matmul(visible, self.kernel) + self.length(visible) * self.hidden_bias

    def length(self, visible: tf.Tensor) -> tf.Tensor:
        """Return the (n, 1) numbers of words L; 1 for units that are not counts."""
        if self.visible == "softmax":
            return ops.sum(visible, axis=-1, keepdims=True)
        return ops.ones_like(visible[:, :1])

    def reconstruction(self, hidden: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Return the means of visible units (n, d) of hidden units (n, e) and lengths (n, 1)."""
        x = ops.matmul(hidden, ops.transpose(self.kernel)) + self.visible_bias
        if self.visible == "gaussian":
            return x
        return ops.sigmoid(x) if self.visible == "binary" else length * ops.softmax(x, axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "visible": self.visible}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Training schedule of an RBM.

    Attributes:
      learning_rate: ε; at step t it is ε / (1 + t / (steps / 2)).
      steps: number of updates; the momentum rises from 0.5 to 0.9 over the first half.
      batch_size: items in a batch.
      weight_decay: weight of ½ ‖W‖².
      sparsity_target: mean activity of the hidden units that their biases are adapted to.
      sparsity_cost: weight of this adaptation.
    """

    learning_rate: float
    steps: int = 500
    batch_size: int = 100
    weight_decay: float = 1e-3
    sparsity_target: float = 0.1
    sparsity_cost: float = 0.01


def train_rbm(
    rbm: RBM,
    features: np.ndarray,
    schedule: Schedule,
    seed: int,
    progress: Callable[[Sequence[Any]], Any],
) -> None:
    """Train an RBM on rows (n, d) by CD-1, after building it if necessary.

    Hidden units are sampled; the reconstruction is the mean of the visible units.

    Raises:
      DivergenceError: the weights are not finite.
    """
    if not rbm.built:
        rbm.build((None, features.shape[1]))
    rbm.visible_bias.assign(start_bias(rbm.visible, features))
    size = min(schedule.batch_size, len(features))
    batches = tf.constant(_batches(len(features), schedule.steps, size, seed))
    update = _compiled_steps(rbm, tf.constant(features, tf.float32), schedule, seed)
    for first in progress(range(0, schedule.steps, STEPS_AT_ONCE)):
        update(batches[first : first + STEPS_AT_ONCE], tf.constant(first))
    if not all(np.isfinite(weights).all() for weights in rbm.get_weights()):
        raise DivergenceError(
            f"the weights of an RBM of {features.shape[1]} {rbm.visible} visible units are not "
            f"finite at a learning rate of {schedule.learning_rate:.4g}; lower it with "
            "--model_settings=image_rates=…, text_rates=… or joint_rate=…"
        )


def start_bias(visible: str, features: np.ndarray) -> np.ndarray:
    """Return (d,) visible biases of unconnected units with the means of the training rows."""
    mean = features.mean(axis=0, dtype=np.float64)
    if visible == "gaussian":
        return mean
    if visible == "softmax":
        return np.log((mean + 1e-3) / (mean + 1e-3).sum())
    mean = np.clip(mean, 0.01, 0.99)
    return np.log(mean / (1 - mean))


def _batches(rows: int, steps: int, size: int, seed: int) -> np.ndarray:
    """Return (steps, size) row numbers of successive shuffles."""
    generator = np.random.default_rng(seed)
    shuffles = [generator.permutation(rows) for _ in range(-(-steps * size // rows))]
    return np.concatenate(shuffles)[: steps * size].reshape(steps, size).astype(np.int32)


def _compiled_steps(
    rbm: RBM, features: tf.Tensor, schedule: Schedule, seed: int
) -> Callable[[tf.Tensor, tf.Tensor], None]:
    """Return a compiled function of batches (k, b) and the first step's number: k updates."""
    variables = [rbm.kernel, rbm.visible_bias, rbm.hidden_bias]
    velocities = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    activity = tf.Variable(tf.fill([rbm.units], schedule.sparsity_target))
    half = schedule.steps / 2
    # It has no control flow to convert, and converting takes longer than tracing.
    gradients_of = tf.autograph.experimental.do_not_convert(cd1_gradients)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.int32)]
    )
    def update(batches: tf.Tensor, first: tf.Tensor) -> None:
        for number in tf.range(tf.shape(batches)[0]):
            step = first + number
            share = tf.cast(step, tf.float32) / half
            visible = tf.gather(features, batches[number])
            gradients = gradients_of(rbm, visible, activity, schedule, (seed, step))
            rate = schedule.learning_rate / (1 + share)
            momentum = 0.5 + 0.4 * tf.minimum(share, 1.0)
            for variable, velocity, gradient in zip(variables, velocities, gradients, strict=True):
                velocity.assign(momentum * velocity + rate * gradient)
                variable.assign_add(velocity)

    return update


def cd1_gradients(
    rbm: RBM,
    visible: tf.Tensor,
    activity: tf.Variable,
    schedule: Schedule,
    seed: tuple[int, tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the CD-1 directions of ascent of W (d, e), b (d,) and c (e,).

    Args:
      rbm: the RBM.
      visible: (b, d) rows.
      activity: (e,) running mean of the hidden units, which is updated.
      schedule: the weights of decay and sparsity.
      seed: two integers that seed the sampling of hidden units.
    """
    rows = tf.cast(tf.shape(visible)[0], tf.float32)
    length = rbm.length(visible)
    hidden = rbm(visible)
    drawn = tf.random.stateless_uniform(tf.shape(hidden), seed)
    again = rbm.reconstruction(tf.cast(drawn < hidden, tf.float32), length)
    hidden_again = rbm(again)
    activity.assign(
        ACTIVITY_DECAY * activity + (1 - ACTIVITY_DECAY) * tf.reduce_mean(hidden, axis=0)
    )
    correlation = tf.matmul(visible, hidden, transpose_a=True)
    correlation_again = tf.matmul(again, hidden_again, transpose_a=True)
    sparser = schedule.sparsity_cost * (schedule.sparsity_target - activity)
    return (
        (correlation - correlation_again) / rows - schedule.weight_decay * rbm.kernel,
        tf.reduce_mean(visible - again, axis=0),
        tf.reduce_mean(length * (hidden - hidden_again), axis=0) + sparser,
    )
