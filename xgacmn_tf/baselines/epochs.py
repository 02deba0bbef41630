"""Training loop of the compared systems that are trained by gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.baselines import TrainingData
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.training.epoch_choice import best_evaluation, default_patience, is_exhausted

# (image (b, d_v), text (b, d_t), targets (b, c), completed share of the training) → loss.
Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
# The same arguments → None.
Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], None]


def gradient_step(
    loss: Loss, layers: Sequence[keras.layers.Layer], optimizer: keras.optimizers.Optimizer
) -> Step:
    """Return a step that trains layers by the gradient of a loss.

    Args:
      loss: the loss of a batch.
      layers: hold the weights to train; a layer that several of them share is trained once.
      optimizer: updates them.
    """
    variables = list({id(v): v for layer in layers for v in layer.trainable_variables}.values())
    optimizer.build(variables)

    def step(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, share: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = loss(image, text, targets, share)
        optimizer.apply(tape.gradient(value, variables), variables)

    return step


def train_epochs(
    step: Step,
    data: TrainingData,
    encoder: CommonSpaceEncoder,
    epochs: int,
    batch_size: int,
    similarity: str = "cosine",
    after_epoch: Callable[[], None] | None = None,
) -> None:
    """Call `step` for every batch of every epoch and restore the weights of the best epoch.

    An epoch is one compiled call. The order of its batches depends only on the seed and the number
    of the epoch; pairs that do not fill a batch are left out of the epoch.

    Args:
      step: one update, such as a `gradient_step`, which is traced once.
      data: the training pairs, and the validation pairs that choose the epoch and stop the
        training by their mAP, averaged over both directions (`training.epoch_choice`). Without
        them, the weights of the last epoch remain.
      encoder: holds the weights.
      epochs: number of epochs, unless `data.planned_epochs` states it; at least 1.
      batch_size: at least 1; larger than the training split means one batch.
      similarity: the similarity that ranks validation pairs.
      after_epoch: updates the weights that have no gradient, before the epoch is evaluated.
    """
    image, text, targets = (tf.constant(x) for x in (data.image, data.text, data.targets))
    size = min(batch_size, len(data.image))
    steps = len(data.image) // size

    # Steps have no Python control flow to convert, and converting takes longer than tracing.
    plain = tf.autograph.experimental.do_not_convert(step)

    @tf.function
    def epoch_of(batches: tf.Tensor, share: tf.Tensor) -> None:
        for number in tf.range(steps):
            rows = batches[number]
            plain(tf.gather(image, rows), tf.gather(text, rows), tf.gather(targets, rows), share)

    planned = epochs if data.planned_epochs is None else next(data.planned_epochs)
    patience = default_patience(planned)
    scores: list[float] = []
    best_weights, best_epoch = None, 0
    for epoch in data.progress(range(planned)):
        order = np.random.default_rng((data.seed, epoch)).permutation(len(data.image))
        batches = order[: steps * size].reshape(steps, size).astype(np.int32)
        epoch_of(tf.constant(batches), tf.constant(epoch / epochs, tf.float32))
        if after_epoch is not None:
            after_epoch()
        if data.validation is not None:
            *features, labels = data.validation
            v, t = encoder.represent_pairs(features[0], features[1], similarity)
            scores.append(mean_average_precision(v, t, labels)["avg"])
            if best_evaluation(scores) == len(scores) - 1:
                best_weights, best_epoch = encoder.get_weights(), epoch + 1
            if is_exhausted(scores, patience):
                break
    if best_weights is not None:
        encoder.set_weights(best_weights)
        data.best_epochs.append(best_epoch)


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of (b, c) rows; the labels of an item share its weight."""
    shares = targets / tf.reduce_sum(targets, axis=1, keepdims=True)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(shares, logits))


def row_lengths(x: tf.Tensor) -> tf.Tensor:
    """Return the Euclidean norms over the last axis, with a finite gradient at zero."""
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1) + 1e-12)
