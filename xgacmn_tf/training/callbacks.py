"""Keras callbacks: TensorBoard logging, warnings, and stopping on non-finite losses.

The logs of an epoch hold the losses of Eq. 1–5, 10 and 11 by term, accuracies, angles, learning
rates and validation mAP. After a resume, `training.loop` replays the earlier epochs by
`on_epoch_end` alone, so that a callback tells them from epochs that run by `on_epoch_begin`. Keras
counts epochs from 0; messages and TensorBoard count from 1.
"""

import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from xgacmn_tf.errors import DivergenceError

logger = logging.getLogger(__name__)

# TensorBoard sorts groups of tags by name; their numbers give the order in which they are read.
_GROUPS = ("validation", "test", "G", "D", "angle", "item", "learning_rate", "margin_weight")


def board_tag(name: str) -> str:
    """Return the TensorBoard tag of a logged name: "1 validation/mAP/avg" of "validation/mAP/avg".

    Args:
      name: a logged name; "/" ends its group.
    """
    group = name.partition("/")[0]
    number = 1 + (_GROUPS.index(group) if group in _GROUPS else len(_GROUPS))
    return f"{number} {name}"


def logged_name(tag: str) -> str:
    """Return the logged name of a TensorBoard tag; tags of earlier versions have no number."""
    return re.sub(r"^\d+ ", "", tag)


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises a `DivergenceError` at the first epoch that logs a NaN or an infinity.

    `EpochRunner` raises it for the terms of a step; validation scores are left to this.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        bad = {name: value for name, value in (logs or {}).items() if not math.isfinite(value)}
        if bad:
            raise DivergenceError.of(f"epoch {epoch + 1}", bad)


class ReportImbalance(keras.callbacks.Callback):
    """Logs a warning, once each, if a discriminator dominates or codes collapse.

    Neither ends the training: scores may still rise, because the class terms do most of the work.

    Args:
      unusable: modality → why its features cannot tell items apart, see `datasets.report`.

    Attributes:
      warnings: the warnings that have been logged.
    """

    # A discriminator dominates if its error is below this for so many epochs in a row.
    ERRORS, EPOCHS = 0.01, 5
    # Codes have collapsed if the spread of their directions is below this, see
    # `validation.Validation`.
    SPREAD = 0.01

    def __init__(self, unusable: Mapping[str, str] | None = None):
        super().__init__()
        self.unusable = unusable or {}
        self.warnings: list[str] = []
        self._epochs_won: dict[str, int] = {}
        self._reported: set[str] = set()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            if name.startswith("D/") and name.endswith("_accuracy"):
                won = value > 1 - self.ERRORS
                self._epochs_won[name] = self._epochs_won.get(name, 0) + 1 if won else 0
                if self._epochs_won[name] == self.EPOCHS:
                    self._report(
                        name,
                        f"epoch {epoch + 1}: a discriminator has won ({name} over "
                        f"{1 - self.ERRORS:g} for {self.EPOCHS} epochs), so the generators learn "
                        "little from it; try a lower --discriminator_learning_rate or a higher "
                        "--generator_steps",
                    )
            if name.startswith("validation/spread/") and value < self.SPREAD:
                modality = name.rpartition("/")[2]
                cause = "try a lower --lambda_1 or --generator_learning_rate"
                if modality in self.unusable:
                    cause = f"the cause is the input: {self.unusable[modality]}"
                self._report(
                    name,
                    f"epoch {epoch + 1}: all {modality} codes point the same way ({name} is "
                    f"{value:.2g}), so that {modality}s cannot be told apart; {cause}",
                )

    def _report(self, name: str, warning: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            self.warnings.append(warning)
            logger.warning("warning: %s", warning)


class ScalarBoard(keras.callbacks.Callback):
    """Writes every logged number as a TensorBoard scalar, tagged by `board_tag`, at step = epoch.

    Since a resumed run replays its epochs, it starts a new event file and deletes earlier ones, so
    that each epoch has one point even if the interrupted run had advanced beyond its checkpoint.
    Event files of other writers are not touched.

    Args:
      log_dir: the run's TensorBoard folder.
      histograms: whether to write histograms of the trainable weights after each epoch that is
        trained; the weights of a replayed epoch are lost.
    """

    SUFFIX = ".scalars.v2"

    def __init__(self, log_dir: str | os.PathLike[str], histograms: bool = False):
        super().__init__()
        self.log_dir, self.histograms = Path(log_dir), histograms
        self._writer: Any = None
        self._trained: int | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        for old in self.log_dir.glob(f"events.out.tfevents.*{self.SUFFIX}"):
            old.unlink()
        self._writer = tf.summary.create_file_writer(str(self.log_dir), filename_suffix=self.SUFFIX)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._trained = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        with self._writer.as_default(step=epoch + 1):
            for name, value in (logs or {}).items():
                # The epoch is the axis; its own curve would be a diagonal.
                if name != "epoch":
                    tf.summary.scalar(board_tag(name), value)
            if self.histograms and epoch == self._trained:
                for weight in self.model.trainable_weights:
                    tf.summary.histogram(f"weights/{weight.path}", weight.value)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._writer.close()


class ProfileEpoch(keras.callbacks.Callback):
    """Profiles one epoch with TensorFlow's profiler, if that epoch runs.

    TensorBoard shows the trace where its profile plugin (`xprof`) is installed.

    Args:
      log_dir: the run's TensorBoard folder; the trace goes to `plugins/profile` inside.
      epoch: its number, from 1; not the first, which would show little but compiling.
    """

    def __init__(self, log_dir: str | os.PathLike[str], epoch: int):
        super().__init__()
        self.log_dir, self.epoch = str(log_dir), epoch
        self._profiling = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch + 1 == self.epoch:
            tf.profiler.experimental.start(self.log_dir)
            self._profiling = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._profiling:
            self._profiling = False
            tf.profiler.experimental.stop()
