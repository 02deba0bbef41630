"""What a run chooses from its data where a setting is not given.

The rules were validated on the bundled clip art and on both protocols of Wikipedia. Those of the
input maps stand in `input_maps`.
"""

import contextlib
import math
import os

import tensorflow as tf

from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.config import XGACMN, Config
from xgacmn_tf.training.devices import Devices
from xgacmn_tf.training.epoch_choice import default_patience

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
    """Return the maximum number of epochs of a run whose epochs have so many steps."""
    return config.training.epochs or max(LEAST_EPOCHS, math.ceil(STEPS / steps))


def planned_evaluations(config: Config, epochs: int) -> int:
    """Return the number of evaluations; the last of the `epochs` is always evaluated."""
    return math.ceil(epochs / config.training.evaluate_every)


def patience(config: Config, epochs: int) -> int | None:
    """Return the patience in evaluations of a run of at most `epochs`; None never stops early."""
    if config.training.choose_epoch == "last":
        return None
    return config.training.patience or default_patience(planned_evaluations(config, epochs))


def check_evaluations(config: Config, dataset: PairedDataset, devices: Devices) -> None:
    """Check that a run which chooses its epoch has epochs to choose from.

    This is no rule of `Config`, because finished runs of earlier versions have such settings.

    Raises:
      InputError: a single evaluation is planned for several epochs.
    """
    if (
        config.system.model != XGACMN
        or config.training.choose_epoch == "last"
        or dataset.validation is None
    ):
        return
    steps = len(dataset.train) // devices.batch_size(config.training.batch_size, len(dataset.train))
    epochs = most_epochs(config, steps)
    if epochs > 1 and planned_evaluations(config, epochs) < 2:
        raise InputError(
            f"--evaluate_every={config.training.evaluate_every} evaluates {epochs} epochs once, "
            "and choosing the best epoch takes at least two evaluations; use a smaller "
            f"--evaluate_every, or --choose_epoch=last to train exactly {epochs} epochs"
        )
