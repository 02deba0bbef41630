"""The epochs of the compared systems that are trained step by step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from xgacmn_tf.baselines import TrainingData
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.training.epoch_choice import best_evaluation, default_patience, is_exhausted

# (image (b, d_v), text (b, d_t), targets (b, c), share of the training done) → nothing.
Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], None]


def train_epochs(
    data: TrainingData,
    encoder: CommonSpaceEncoder,
    step: Step,
    epochs: int,
    batch_size: int,
    similarity: str,
    after_epoch: Callable[[], None] | None = None,
) -> None:
    """Call `step` for every batch of every epoch and keep the weights of the best epoch.

    An epoch is one compiled call. Batches are a shuffle that depends on the seed and the epoch
    alone; what does not fill a last batch waits for another epoch.

    Args:
      data: the training pairs, and the validation pairs that choose the epoch and the end of the
        training, by the rule of `epoch_choice` on the mAP, mean of both directions. Without any the
        last epoch is kept, which is the last of `planned_epochs` where these stand.
      encoder: holds the weights that are kept.
      step: one update; it is traced once.
      epochs, batch_size: at least 1. A batch is at most the training split.
      similarity: what validation ranks by.
      after_epoch: updates parts of the encoder that no gradient does, before it is evaluated.
    """
    image, text, targets = (tf.constant(x) for x in (data.image, data.text, data.targets))
    size = min(batch_size, len(data.image))
    steps = len(data.image) // size

    # Layers have no Python control flow to convert, which takes longer than tracing itself.
    plain = tf.autograph.experimental.do_not_convert(step)

    @tf.function
    def epoch_of(batches: tf.Tensor, share: tf.Tensor) -> None:
        for number in tf.range(steps):
            rows = batches[number]
            plain(tf.gather(image, rows), tf.gather(text, rows), tf.gather(targets, rows), share)

    planned = epochs if data.planned_epochs is None else next(data.planned_epochs)
    patience = default_patience(planned)
    scores: list[float] = []
    kept, best_epoch = None, 0
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
                kept, best_epoch = encoder.get_weights(), epoch + 1
            if is_exhausted(scores, patience):
                break
    if kept is not None:
        encoder.set_weights(kept)
        data.best_epochs.append(best_epoch)
