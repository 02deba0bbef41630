"""Defaults that depend on the data: learning rate, number of epochs, patience and threads.

The rules of the input maps are in `model.map_choice`, that of dropout in `model.networks`, that of
the validation split in `datasets.loading`.
"""

import contextlib
import math
import os

import tensorflow as tf

from xgacmn_tf.model.networks import has_few_pairs
from xgacmn_tf.model.xgacmn import GENERATOR_LEARNING_RATE
from xgacmn_tf.names import FEW_PAIRS
from xgacmn_tf.training.epoch_choice import MIN_PATIENCE

# Steps where there are too few pairs for a validation split, and for training without dropout: with
# 20 to 200 pairs and components of a Gaussian kernel, validation mAP is level from 200 steps on or
# falls slowly. Only with 32 classes does it grow until step 700.
STEPS_OF_FEW_PAIRS = 300
# Steps otherwise: the best epoch, which a validation split chooses, comes before.
STEPS, MIN_EPOCHS = 1_000, 24
# The same at the learning rate of many features.
STEPS_AT_HIGH_RATE, EPOCHS_AT_HIGH_RATE = 500, 12
# Steps without a better evaluation after which a training ends.
PATIENCE_STEPS = 400
# Adam's learning rate with enough pairs for a validation split, for few features and for many. At
# 3e-4 measurements still improve after 2,000 steps. Network features of emoji, clip art and stamps
# reach the same validation mAP in 500 steps at 6e-4 as in 1,000 at 3e-4; at 1e-3 they do not.
RATE_OF_FEW_FEATURES, RATE_OF_MANY_FEATURES = 1e-3, 6e-4
# Up to here a matrix product costs less than sharing it among cores: 4.8 rather than 7 ms a step on
# two cores at 128 and 10 dimensions. The last bits of the results may follow the number of threads,
# so it is a function of the data alone.
SMALL_DIMENSIONS = 256


def choose_threads(dim: int) -> None:
    """Give each product of a small network one thread; independent ones still run side by side.

    This changes the whole process, so commands call it, and only before TensorFlow has run
    anything.

    Args:
        dim: the larger number of features of both modalities.
    """
    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    if dim <= SMALL_DIMENSIONS and not chosen and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        # Too late where TensorFlow has run something in this process already.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)


def generator_learning_rate(given: float | None, pairs: int, dim: int) -> float:
    """Return Adam's learning rate for generators and class layer.

    Args:
        given: the rate, if it is given.
        pairs: number of training pairs.
        dim: the larger number of features of both modalities.
    """
    if given:
        return given
    if pairs < FEW_PAIRS:
        return GENERATOR_LEARNING_RATE
    return RATE_OF_FEW_FEATURES if dim <= SMALL_DIMENSIONS else RATE_OF_MANY_FEATURES


def max_epochs(
    epochs: int | None, steps: int, pairs: int, dim: int, rate: float, chooses: bool
) -> int:
    """Return the maximum number of epochs.

    Args:
        epochs: the number, if it is given.
        steps: number of steps of an epoch.
        pairs: number of training pairs.
        dim: the larger number of features of both modalities.
        rate: the generators' learning rate.
        chooses: whether a validation split chooses the epoch.
    """
    if epochs:
        return epochs
    total, least = STEPS, MIN_EPOCHS
    if not chooses and pairs < FEW_PAIRS and has_few_pairs(dim, pairs):
        total = STEPS_OF_FEW_PAIRS
    elif dim > SMALL_DIMENSIONS and rate >= RATE_OF_MANY_FEATURES:
        total, least = STEPS_AT_HIGH_RATE, EPOCHS_AT_HIGH_RATE
    return max(least, math.ceil(total / steps))


def planned_evaluations(epochs: int, every: int) -> int:
    """Return the number of evaluations if every `every`-th epoch and the last are evaluated."""
    return math.ceil(epochs / every)


def patience(given: int | None, steps: int, every: int) -> int:
    """Return the patience in evaluations, which come after every `every` epochs of `steps`."""
    return given or max(MIN_PATIENCE, math.ceil(PATIENCE_STEPS / (steps * every)))
