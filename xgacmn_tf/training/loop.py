"""The epochs of a training: the best one is kept, and an interrupted one goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence

import keras
import tensorflow as tf
from tqdm import tqdm

from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.automatic import choose_threads, most_epochs, patience
from xgacmn_tf.training.build import build_model
from xgacmn_tf.training.devices import Devices
from xgacmn_tf.training.epoch import EpochRunner
from xgacmn_tf.training.progress import Checkpoints, Progress
from xgacmn_tf.training.validation import Validation


def train(
    config: Config,
    dataset: PairedDataset,
    folder: RunFolder,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    refit_epochs: int | None = None,
    devices: Devices | None = None,
) -> Progress:
    """Trains from where the folder's checkpoint left off, and leaves `folder.selected`.

    The best epoch is that of `epoch_choice`, by the validation mAP (headline similarity, mean of
    both directions); with `--choose_epoch=last` or without a validation split it is the last one.
    Keras callbacks get `on_train_begin`, `on_epoch_end` for every epoch (those of before a resume
    are replayed, so that curves are whole) and `on_train_end`.

    Args:
      config: the settings.
      dataset: its training split is learned from, its validation split chooses the epoch.
      folder: of the run; several workers need one that all of them see.
      callbacks: watch the epochs, and may refuse one.
      refit_epochs: train for so many epochs instead of `--epochs`, and leave the encoders as
        `folder.refitted`, beside those of the training that found the number.
      devices: where to train; by default this machine's first device.

    Raises:
      errors.DivergenceError: from `StopOnNonFinite`, before anything of that epoch is saved.
      InputError: the batch cannot be shared among the devices, or workers see different folders.
    """
    tf.config.experimental.enable_op_determinism()
    choose_threads(dataset)
    devices = devices or Devices()
    resume, kept = folder.resume, folder.selected
    if refit_epochs is not None:
        resume, kept = folder.refit, folder.refitted
    progress = Progress()
    with devices.strategy.scope():
        model = build_model(config, dataset)
        runner = EpochRunner(model, dataset.train, dataset.num_classes, config, devices)
        checkpoints = Checkpoints(model, progress, resume, writes=devices.is_chief)
        devices.agree(
            "checkpoints",
            f"{checkpoints.newest:x}",
            f"--output_dir={folder.path} must be on storage that all workers share",
        )
        checkpoints.restore()
    validate = None
    if dataset.validation is not None:
        validate = Validation(model, dataset.validation, config.headline(), devices)
    epochs = refit_epochs or most_epochs(config, runner.steps)
    progress.planned = epochs
    waiting = patience(config, epochs)

    watchers = keras.callbacks.CallbackList(list(callbacks), model=model)
    watchers.on_train_begin()
    for record in progress.history:
        watchers.on_epoch_end(int(record["epoch"]), record)
    title = "epoch" if refit_epochs is None else "all pairs, epoch"
    with tqdm(
        total=epochs * runner.steps,
        initial=progress.epoch * runner.steps,
        unit="step",
        dynamic_ncols=True,
        **({} if devices.is_chief else {"disable": True}),
    ) as bar:
        while not progress.is_over(epochs, waiting):
            epoch = progress.epoch + 1
            bar.set_description(f"{title} {epoch}/{epochs}")
            watchers.on_epoch_begin(epoch)
            started = time.perf_counter()
            terms = runner.run(epoch, bar.update)
            seconds = time.perf_counter() - started
            logs = {
                "epoch": float(epoch),
                "step": float(epoch * runner.steps),
                **terms,
                "learning_rate/G": float(model.g_optimizer.learning_rate.value.numpy()),
                "learning_rate/D": float(model.d_optimizer.learning_rate.value.numpy()),
            }
            if validate is not None and (
                epoch % config.training.evaluate_every == 0 or epoch == epochs
            ):
                logs |= validate()
            # Before anything of this epoch is kept, so that a callback can refuse it.
            watchers.on_epoch_end(epoch, logs)
            progress.history.append(logs)
            progress.seconds += seconds
            is_best = progress.note_best(config.training.choose_epoch, is_last=epoch == epochs)
            if is_best and devices.is_chief:
                with atomic_path(kept) as temporary:
                    model.averaged.save(temporary)
            bar.set_postfix_str(_summary(progress))
            checkpoints.save(is_last=progress.is_over(epochs, waiting))
    watchers.on_train_end()
    return progress


def _summary(progress: Progress) -> str:
    """The newest losses by name and the newest validation mAP, for the progress bar."""
    logs = progress.history[-1]
    parts = [
        f"{label} {logs[key]:.3g}"
        for label, key in (
            ("D", "D/loss"),
            ("G", "G/loss"),
            ("pair", "G/pair"),
            ("image class", "G/image_classification"),
            ("text class", "G/text_classification"),
        )
        if key in logs
    ]
    scored = [record for record in progress.history if "validation/mAP/avg" in record]
    if scored:
        i2t, t2i = (scored[-1][f"validation/mAP/{way}"] for way in ("i2t", "t2i"))
        best = f", best {progress.best_score:.3f}" if progress.best_epoch else ""
        parts.append(f"val mAP {i2t:.3f}/{t2i:.3f}{best}")
    return ", ".join(parts)
