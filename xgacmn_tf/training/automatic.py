"""What a run chooses from its data where a setting is not given.

The rules were validated on the bundled clip art and on both protocols of Wikipedia. Those of the
input maps stand in `input_maps`.
"""

import contextlib
import math
import os

import tensorflow as tf

from xgacmn_tf.config import Config
from xgacmn_tf.datasets.paired import PairedDataset

# Where --epochs is not given: with 1,000 steps of Adam at 3e-4 openclipart and both protocols of
# Wikipedia are past their best validation epoch, which is then kept.
STEPS = 1_000
LEAST_EPOCHS = 24
# Where --image_dropout or --text_dropout is not given.
DROPOUT = 0.5
# With ten topics, dropping half of the hidden units costs .002 to .006 of validation mAP.
FEW_DIMENSIONS = 64
# Up to here a matrix product costs less than sharing it among cores: 4.8 rather than 7 ms a step on
# two cores at 128 and 10 dimensions. The results are the same bit by bit.
SMALL_DIMENSIONS = 256


def dropout(given: float | None, dim: int) -> float:
    """The share of hidden units that an encoder of `dim` features drops."""
    if given is not None:
        return given
    return DROPOUT if dim > FEW_DIMENSIONS else 0.0


def choose_threads(dataset: PairedDataset) -> None:
    """One thread for each product of a small network; independent ones still run side by side."""
    small = max(dataset.image_dim, dataset.text_dim) <= SMALL_DIMENSIONS
    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    if small and not chosen and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        # Too late where TensorFlow has run something in this process already.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)


def most_epochs(config: Config, steps: int) -> int:
    """How many epochs of so many steps a run has at most."""
    return config.epochs or max(LEAST_EPOCHS, math.ceil(STEPS / steps))


def patience(config: Config, epochs: int) -> int:
    """After how many epochs without a better one a run of at most `epochs` stops."""
    return config.patience or max(10, epochs // 4)
