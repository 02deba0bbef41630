"""Defaults that depend on the data: number of epochs, patience and threads.

They were validated on the bundled clip art and on both protocols of Wikipedia. The rules of the
input maps are in `input_maps`, that of dropout in `networks`.
"""

import contextlib
import math
import os

import tensorflow as tf

from xgacmn_tf.training.epoch_choice import default_patience

# With 1,000 steps of Adam at 3e-4 openclipart and both protocols of Wikipedia are past their best
# validation epoch, which is then selected.
STEPS = 1_000
MIN_EPOCHS = 24
# Up to here a matrix product costs less than sharing it among cores: 4.8 rather than 7 ms a step on
# two cores at 128 and 10 dimensions. The results are the same bit by bit.
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


def max_epochs(epochs: int | None, steps: int) -> int:
    """Return the maximum number of epochs of `steps` steps each: `epochs`, if that is given."""
    return epochs or max(MIN_EPOCHS, math.ceil(STEPS / steps))


def planned_evaluations(epochs: int, every: int) -> int:
    """Return the number of evaluations if every `every`-th epoch and the last are evaluated."""
    return math.ceil(epochs / every)


def patience(given: int | None, epochs: int, every: int) -> int:
    """Return the patience in evaluations of a training of at most `epochs`."""
    return given or default_patience(planned_evaluations(epochs, every))
