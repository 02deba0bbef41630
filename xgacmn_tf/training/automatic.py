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
STEPS = 1_000
MIN_EPOCHS = 24
# Steps without a better evaluation after which a training ends.
PATIENCE_STEPS = 400
# Adam's learning rate where there are few features and enough pairs for a validation split. At the
# usual one, which suits the emoji and clip art, measurements still improve after 2,000 steps.
RATE_OF_FEW_FEATURES = 1e-3
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
    few_features = dim <= SMALL_DIMENSIONS and pairs >= FEW_PAIRS
    return given or (RATE_OF_FEW_FEATURES if few_features else GENERATOR_LEARNING_RATE)


def max_epochs(epochs: int | None, steps: int, pairs: int, dim: int, chooses: bool) -> int:
    """Return the maximum number of epochs.

    Args:
        epochs: the number, if it is given.
        steps: number of steps of an epoch.
        pairs: number of training pairs.
        dim: the larger number of features of both modalities.
        chooses: whether a validation split chooses the epoch.
    """
    if epochs:
        return epochs
    few = not chooses and pairs < FEW_PAIRS and has_few_pairs(dim, pairs)
    total = STEPS_OF_FEW_PAIRS if few else STEPS
    return max(MIN_EPOCHS, math.ceil(total / steps))


def patience(given: int | None, steps: int, every: int) -> int:
    """Return the patience in evaluations, which come after every `every` epochs of `steps`."""
    return given or max(MIN_PATIENCE, math.ceil(PATIENCE_STEPS / (steps * every)))
