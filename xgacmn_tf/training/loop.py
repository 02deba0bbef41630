"""Training with selection of the best epoch and resuming, by Keras's `fit`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from tqdm import tqdm

from xgacmn_tf.devices import Devices
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.model.epochs import BatchSource
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.training.progress import Checkpoints, Progress


def train(
    model: XGACMN,
    batches: BatchSource,
    *,
    epochs: int,
    resume: Path,
    selected: Path,
    validate: Callable[[], dict[str, float]] | None = None,
    evaluate_every: int = 1,
    choose_epoch: str = "best",
    patience: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    devices: Devices | None = None,
    title: str = "epoch",
) -> Progress:
    """Train from the checkpoint in `resume`, if there is one, and save the best epoch's encoders.

    The best epoch is that of `epoch_choice`, by the validation mAP; with `choose_epoch="last"` or
    without validation it is the last one. A resumed training ends with the same numbers. Callbacks
    receive Keras's events; the epochs before a resume are replayed to them by `on_epoch_end` after
    `on_train_begin`, so that curves and counts of epochs are complete.

    Args:
        model: compiled, and created under the devices' strategy.
        batches: of the training split.
        epochs: maximum number of epochs.
        resume: folder of the checkpoint.
        selected: path of the averaged encoders of the best epoch, a `.keras` file.
        validate: returns `validation.Validation`'s numbers by name.
        evaluate_every: number of epochs from one validation to the next; the last is validated.
        choose_epoch: "best" or "last".
        patience: number of evaluations without a better one after which training ends; None: never.
        callbacks: Keras callbacks, which may reject an epoch before anything of it is saved.
        devices: where the model trains; by default this machine's first device.
        title: of the progress bar.

    Raises:
        DivergenceError: a term is not finite.
        InputError: the batch cannot be shared among the devices, the checkpoint is damaged, or
            workers see different folders.
    """
    devices = devices or Devices()
    progress = Progress()
    with devices.strategy.scope():
        checkpoints = Checkpoints(model, progress, resume, writes=devices.is_chief)
        devices.agree(
            "checkpoints",
            f"{checkpoints.newest:x}",
            f"{resume} must be on storage that all workers share",
        )
        checkpoints.restore()
    progress.planned = epochs
    steps = batches.steps(devices)
    first = _EpochLogs(progress, steps, epochs, validate, evaluate_every)
    over = progress.is_over(epochs, patience)
    with tqdm(
        total=epochs * steps,
        initial=progress.epoch * steps,
        unit="step",
        dynamic_ncols=True,
        # disable=False would override the environment variable TQDM_DISABLE.
        **({} if devices.is_chief else {"disable": True}),
    ) as bar:

        def finish_epoch() -> None:
            # Another callback may have ended the training.
            is_last = progress.epoch == epochs or model.stop_training
            if progress.note_best(choose_epoch, is_last) and devices.is_chief:
                with atomic_path(selected) as temporary:
                    model.averaged.save(temporary)
            model.stop_training = model.stop_training or progress.is_over(epochs, patience)
            checkpoints.save(is_last=model.stop_training)

        last = _ProgressRecorder(progress, finish_epoch, callbacks, bar, f"{title} {{}}/{epochs}")
        model.fit(
            batches,
            initial_epoch=progress.epoch,
            epochs=progress.epoch if over else epochs,
            callbacks=[first, *callbacks, last],
            verbose=0,
        )
    return progress


class _EpochLogs(keras.callbacks.Callback):
    """Completes the logs of an epoch by number, learning rates and validation; measures time."""

    def __init__(
        self,
        progress: Progress,
        steps: int,
        epochs: int,
        validate: Callable[[], dict[str, float]] | None,
        evaluate_every: int,
    ):
        super().__init__()
        self.progress, self.steps, self.epochs = progress, steps, epochs
        self.validate, self.evaluate_every = validate, evaluate_every

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        self.progress.seconds += time.perf_counter() - self._started
        number, terms = epoch + 1, {name: logs[name] for name in self.model.term_names()}
        # All callbacks receive this same dict.
        logs.clear()
        logs |= {"epoch": float(number), "step": float(number * self.steps), **terms}
        logs["learning_rate/G"] = float(self.model.g_optimizer.learning_rate.value.numpy())
        logs["learning_rate/D"] = float(self.model.d_optimizer.learning_rate.value.numpy())
        is_due = number % self.evaluate_every == 0 or number == self.epochs
        if self.validate is not None and is_due:
            logs |= {f"validation/{name}": value for name, value in self.validate().items()}


class _ProgressRecorder(keras.callbacks.Callback):
    """Records epochs after all other callbacks have seen them, and ends the training."""

    def __init__(
        self,
        progress: Progress,
        finish_epoch: Callable[[], None],
        watchers: Sequence[keras.callbacks.Callback],
        bar: Any,
        title: str,
    ):
        super().__init__()
        self.progress, self.finish_epoch, self.watchers = progress, finish_epoch, watchers
        self.bar, self.title = bar, title

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        for epoch, record in enumerate(self.progress.history):
            for watcher in self.watchers:
                watcher.on_epoch_end(epoch, dict(record))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.bar.set_description(self.title.format(epoch + 1))
        self._done = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        done = min(batch + 1, self.params["steps"])
        self.bar.update(done - self._done)
        self._done = done

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.progress.history.append(dict(logs or {}))
        self.finish_epoch()
        self.bar.set_postfix_str(_summary(self.progress))


def _summary(progress: Progress) -> str:
    """Return the newest losses and the newest validation mAP, for the progress bar."""
    logs = progress.history[-1]
    parts = [f"{name} {logs[name]:.3g}" for name in ("D/loss", "G/loss") if name in logs]
    if progress.scores:
        parts.append(f"validation mAP {progress.scores[-1]:.3f}")
    if progress.best_score >= 0:
        parts.append(f"best {progress.best_score:.3f}")
    return ", ".join(parts)
