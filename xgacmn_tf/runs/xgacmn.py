"""Training of X-GACMN in a run folder, from the settings of a run.

Settings become the arguments of the library's functions, and the process is set up: deterministic
operations, threads and the global random seed.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.datasets.checks import has_category
from xgacmn_tf.datasets.paired import PairedDataset, Split, give_back
from xgacmn_tf.devices import Devices
from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.names import XGACMN as XGACMN_NAME
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.data_settings import follow_data
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.items import add_items
from xgacmn_tf.runs.untrained import compiled_model
from xgacmn_tf.runs.warm_start import warm_start
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training import automatic
from xgacmn_tf.training.calibration import calibration_factors
from xgacmn_tf.training.callbacks import (
    ProfileEpoch,
    ReportImbalance,
    ScalarBoard,
    StopOnNonFinite,
)
from xgacmn_tf.training.loop import train
from xgacmn_tf.training.progress import Progress
from xgacmn_tf.training.pseudo_labels import pseudo_labels
from xgacmn_tf.training.validation import Validation

logger = logging.getLogger(__name__)


def build_model(config: Config, dataset: PairedDataset) -> XGACMN:
    """Return the compiled model that a training starts from.

    Its input maps are fitted on the training split, and its networks are untrained. With `--init`
    both are those of another run, except in a training that chooses the epoch on held-out pairs:
    the other run may have been trained on these, and would choose too late.

    Raises:
        InputError: as of `warm_start.warm_start`.
    """
    chooses = config.data.refit and dataset.held_out
    if config.training.init is not None and chooses:
        # A mistake ends here, and not after the first training.
        warm_start(compiled_model(config, dataset.num_classes), config, dataset)
    keras.utils.set_random_seed(config.seed)
    model = compiled_model(config, dataset.num_classes)
    if config.training.init is None or chooses:
        model.adapt(dataset.train)
    else:
        warm_start(model, config, dataset)
    return model


def train_model(
    config: Config,
    dataset: PairedDataset,
    folder: RunFolder,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    refit_epochs: int | None = None,
    devices: Devices | None = None,
    title: str = "epoch",
) -> Progress:
    """Train from where the folder's checkpoint ends, and save `folder.selected`.

    Args:
        config: the settings.
        dataset: its training split is learned from, its validation split chooses the epoch.
        folder: of the run; several workers need one that all of them see.
        callbacks: see `training.loop.train`.
        refit_epochs: exact number of epochs, of a training on all pairs that saves
            `folder.refitted` beside the encoders of the training that selected the number.
        devices: where to train; by default this machine's first device.
        title: of the progress bar.

    Raises:
        DivergenceError: before anything of the epoch is saved.
        InputError: as of `training.loop.train`.
    """
    tf.config.experimental.enable_op_determinism()
    automatic.choose_threads(max(dataset.image_dim, dataset.text_dim))
    training, devices = config.training, devices or Devices()
    is_refit = refit_epochs is not None
    with devices.strategy.scope():
        model = build_model(config, dataset)
    validate = None
    if dataset.validation is not None:
        validate = Validation(model, dataset.validation, config.headline(), devices)
    batches = dataset.train.batches(training.batch_size, config.seed)
    steps = batches.steps(devices)
    chooses = validate is not None and training.choose_epoch != "last"
    epochs = refit_epochs or _max_epochs(config, dataset, steps, chooses)
    patience = None
    if chooses:
        patience = automatic.patience(training.patience, steps, training.evaluate_every)
    return train(
        model,
        batches,
        epochs=epochs,
        resume=folder.refit if is_refit else folder.resume,
        selected=folder.refitted if is_refit else folder.selected,
        validate=validate,
        evaluate_every=training.evaluate_every,
        choose_epoch=training.choose_epoch,
        patience=patience,
        callbacks=callbacks,
        devices=devices,
        title=title,
    )


def check_evaluations(config: Config, dataset: PairedDataset, devices: Devices) -> None:
    """Check that a run which chooses its epoch plans at least two evaluations.

    `Config` does not check this, because finished runs of earlier versions have such settings.

    Raises:
        InputError: a single evaluation is planned for several epochs.
    """
    training = config.training
    if config.system.model != XGACMN_NAME or training.choose_epoch == "last":
        return
    if dataset.validation is None:
        return
    steps = dataset.train.batches(training.batch_size).steps(devices)
    epochs = _max_epochs(config, dataset, steps, chooses=True)
    if 1 < epochs <= training.evaluate_every:
        raise InputError(
            f"--evaluate_every={training.evaluate_every} evaluates {epochs} epochs once, "
            "and choosing the best epoch takes at least two evaluations; use a smaller "
            f"--evaluate_every, or --choose_epoch=last to train exactly {epochs} epochs"
        )


def _max_epochs(config: Config, dataset: PairedDataset, steps: int, chooses: bool) -> int:
    dim = max(dataset.image_dim, dataset.text_dim)
    return automatic.max_epochs(config.training.epochs, steps, len(dataset.train), dim, chooses)


def train_run(
    config: Config,
    dataset: PairedDataset,
    folder: RunFolder,
    devices: Devices,
    unusable: Mapping[str, str],
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Train all parts of a run and write `folder.best`.

    Args:
        config: the settings.
        dataset: the data set that they name.
        folder: the run folder.
        devices: where to train.
        unusable: modality → why its features cannot tell items apart, see `datasets.report`.

    Returns:
        The training's part of metrics.json, and its history. Workers other than the chief write
        nothing and return empty values.
    """
    imbalance = ReportImbalance(unusable)
    callbacks = _callbacks(config, folder, devices, imbalance)
    config, input_maps = follow_data(config, dataset, devices)
    seconds, more = 0.0, dict[str, Any]()
    if config.training.init is None:
        more["input_maps"] = input_maps
    if config.training.pseudo_labels:
        dataset, seconds, more["pseudo_labels"] = _with_pseudo_labels(
            config, dataset, folder, devices
        )
    progress = train_model(config, dataset, folder, callbacks, devices=devices)
    seconds += progress.seconds
    if config.data.refit and dataset.held_out:
        whole = give_back(dataset)
        watchers: list[keras.callbacks.Callback] = [StopOnNonFinite()]
        if devices.is_chief:
            watchers.append(ScalarBoard(folder.tensorboard / "refit"))
            logger.info(
                f"epoch {progress.best_epoch} is the best; training again for as many epochs on "
                f"all {len(whole.train):,} pairs"
            )
        again = train_model(
            config, whole, folder, watchers, progress.best_epoch, devices, "all pairs, epoch"
        )
        seconds += again.seconds
        more["refit"] = {"pairs": len(whole.train), "epochs": again.epoch}
    if not devices.is_chief:
        return {}, []
    chosen = load_encoder(folder.selected)
    encoder = load_encoder(folder.refitted) if "refit" in more else chosen
    if dataset.validation is not None and encoder.class_layer is not None:
        # With encoders that never saw the validation split, also if the final ones did.
        factors = _calibration(chosen, dataset.validation)
        encoder, more["calibration"] = encoder.replaced(calibration=factors), factors
    if config.items.item_embedding:
        board = ScalarBoard(folder.tensorboard / "items")
        board.on_train_begin()
        encoder, more["item_embedding"] = add_items(
            config, dataset, chosen, encoder, board.on_epoch_end
        )
        board.on_train_end()
    with atomic_path(folder.best) as temporary:
        encoder.save(temporary)
    examples = progress.history[-1]["step"] * min(config.training.batch_size, len(dataset.train))
    logs, prefix = progress.history[progress.best_epoch - 1], "validation/"
    facts = {
        "planned_epochs": progress.planned,
        "trained_epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        # Empty where nothing was held out.
        "validation": {k.removeprefix(prefix): v for k, v in logs.items() if k.startswith(prefix)},
        **more,
        "warnings": imbalance.warnings,
        "training_time_s": round(seconds, 3),
        "examples_per_second": round(examples / progress.seconds, 1),
    }
    return facts, progress.history


def _with_pseudo_labels(
    config: Config, dataset: PairedDataset, folder: RunFolder, devices: Devices
) -> tuple[PairedDataset, float, dict[str, Any]]:
    """Train `folder.teacher`, and label the pairs of which it is confident.

    Returns:
        The data set with pseudo-labels, the seconds of training, and what metrics.json has on them.
    """
    train, confidence = dataset.train, config.training.pseudo_label_confidence
    if not isinstance(train, Split) or "has_label" not in train.masks():
        raise InputError(
            "--pseudo_labels is for training pairs without a category, and there are none; leave "
            "it out"
        )
    folder.teacher.selected.parent.mkdir(parents=True, exist_ok=True)
    progress = train_model(
        config, dataset, folder.teacher, [StopOnNonFinite()], devices=devices, title="teacher"
    )
    label = train.label
    if devices.is_chief:
        teacher = load_encoder(folder.teacher.selected)
        if dataset.validation is not None:
            teacher = teacher.replaced(calibration=_calibration(teacher, dataset.validation))
        label = pseudo_labels(teacher, train, confidence)
    agreed = np.reshape(devices.from_chief(label.ravel().tolist()), label.shape)
    labeled = dataclasses.replace(train, label=agreed.astype(label.dtype))
    unlabeled = int((~has_category(train.label)).sum())
    facts = {
        "unlabeled": unlabeled,
        "labeled": unlabeled - int((~has_category(labeled.label)).sum()),
        "epochs": progress.best_epoch,
    }
    return dataclasses.replace(dataset, train=labeled), progress.seconds, facts


def _calibration(encoder: CommonSpaceEncoder, held_out: Split) -> dict[str, float]:
    return calibration_factors(encoder, held_out.image, held_out.text, held_out.label)


def _callbacks(
    config: Config, folder: RunFolder, devices: Devices, imbalance: ReportImbalance
) -> list[keras.callbacks.Callback]:
    callbacks: list[keras.callbacks.Callback] = [StopOnNonFinite()]
    if not devices.is_chief:
        return callbacks
    board = ScalarBoard(folder.tensorboard, config.training.histograms)
    callbacks += [imbalance, board]
    if config.training.profile:
        callbacks.append(ProfileEpoch(folder.tensorboard, epoch=2))
    return callbacks
