"""Training of X-GACMN in a run folder, from the settings of a run.

Settings become the arguments of the library's functions, and the process is set up: deterministic
operations, threads and the global random seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from xgacmn_tf.datasets.paired import PairedDataset, give_back
from xgacmn_tf.devices import Devices
from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.model.angular_softmax import MarginAnnealing
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.optimizers import FusedAdam
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.names import XGACMN as XGACMN_NAME
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training import automatic, items
from xgacmn_tf.training.calibration import calibration_factors
from xgacmn_tf.training.callbacks import (
    ProfileEpoch,
    ReportImbalance,
    ScalarBoard,
    StopOnNonFinite,
)
from xgacmn_tf.training.loop import train
from xgacmn_tf.training.match_thresholds import choose_match_thresholds
from xgacmn_tf.training.progress import Progress
from xgacmn_tf.training.validation import Validation

# Settings that are arguments of `XGACMN` under the same names.
_MODEL_ARGUMENTS = (
    *("image_map", "text_map", "chi2_gamma", "chi2_components"),
    *("encoder_hidden", "code_dim", "code_activation", "image_dropout", "text_dropout"),
    *("margin", "lambda_1", "lambda_2", "lambda_3", "distillation"),
)


def build_model(config: Config, dataset: PairedDataset) -> XGACMN:
    """Return an untrained, compiled model, whose input maps are fitted on the training split."""
    keras.utils.set_random_seed(config.seed)
    settings, training = config.model, config.training
    model = XGACMN(
        num_classes=dataset.num_classes,
        **{name: getattr(settings, name) for name in _MODEL_ARGUMENTS},
        class_layer=None if settings.classifier == "none" else settings.classifier,
        output_activation=settings.generated_activation,
        feature_discriminator_hidden=(
            settings.feature_discriminator_hidden if settings.discriminate_features else None
        ),
        common_discriminator_hidden=(
            settings.common_discriminator_hidden if settings.discriminate_codes else None
        ),
        generator_steps=training.generator_steps,
        annealing=MarginAnnealing(**settings.annealing),
        average_decay=training.average_decay,
        # bfloat16 has float32's range, so no loss needs scaling.
        dtype="float32" if training.precision == "float32" else f"mixed_{training.precision}",
    )
    model.adapt(dataset.train)
    model.compile(
        d_optimizer=FusedAdam(training.discriminator_learning_rate),
        g_optimizer=FusedAdam(training.generator_learning_rate),
        jit_compile=training.jit_compile,
        steps_per_execution=training.steps_per_call,
    )
    return model


def train_model(
    config: Config,
    dataset: PairedDataset,
    folder: RunFolder,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    refit_epochs: int | None = None,
    devices: Devices | None = None,
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
    epochs = refit_epochs or automatic.max_epochs(training.epochs, steps)
    patience = None
    if training.choose_epoch != "last":
        patience = automatic.patience(training.patience, epochs, training.evaluate_every)
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
        title="all pairs, epoch" if is_refit else "epoch",
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
    epochs = automatic.max_epochs(training.epochs, steps)
    if epochs > 1 and automatic.planned_evaluations(epochs, training.evaluate_every) < 2:
        raise InputError(
            f"--evaluate_every={training.evaluate_every} evaluates {epochs} epochs once, "
            "and choosing the best epoch takes at least two evaluations; use a smaller "
            f"--evaluate_every, or --choose_epoch=last to train exactly {epochs} epochs"
        )


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
    progress = train_model(config, dataset, folder, callbacks, devices=devices)
    seconds, more = progress.seconds, dict[str, Any]()
    if config.data.refit and dataset.held_out:
        whole = give_back(dataset)
        watchers: list[keras.callbacks.Callback] = [StopOnNonFinite()]
        if devices.is_chief:
            watchers.append(ScalarBoard(folder.tensorboard / "refit"))
        again = train_model(config, whole, folder, watchers, progress.best_epoch, devices)
        seconds += again.seconds
        more["refit"] = {"pairs": len(whole.train), "epochs": again.epoch}
    if not devices.is_chief:
        return {}, []
    chosen = load_encoder(folder.selected)
    encoder = load_encoder(folder.refitted) if "refit" in more else chosen
    if dataset.validation is not None and encoder.class_layer is not None:
        # With encoders that never saw the validation split, also if the final ones did.
        held = dataset.validation
        factors = calibration_factors(chosen, held.image, held.text, held.label)
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


def train_items(
    config: Config,
    dataset: PairedDataset,
    encoder: CommonSpaceEncoder,
    epochs: int | None = None,
    log: items.Log = lambda epoch, terms: None,
) -> items.TrainedItems:
    """Train item towers on a data set with the settings of a run, see `items.train_items`."""
    keras.utils.set_random_seed(config.seed)
    names = ("hidden", "dim", "dropout", "temperature", "learning_rate", "members", "batch_size")
    return items.train_items(
        dataset,
        encoder,
        **{name: getattr(config.items, f"item_{name}") for name in names},
        average_decay=config.training.average_decay,
        seed=config.seed,
        epochs=epochs,
        max_epochs=config.items.item_epochs,
        limit=config.training.epochs,
        log=log,
    )


def add_items(
    config: Config,
    dataset: PairedDataset,
    chosen: CommonSpaceEncoder,
    encoder: CommonSpaceEncoder,
    log: items.Log = lambda epoch, terms: None,
) -> tuple[CommonSpaceEncoder, dict[str, Any]]:
    """Return an encoder with item embeddings, and what metrics.json has on their training.

    Args:
        config: the settings.
        dataset: as X-GACMN was trained on it.
        chosen: the encoders that never saw the validation split.
        encoder: the run's encoders, calibrated, which may have been trained on all pairs.
        log: see `items.train_items`.
    """
    trained = train_items(config, dataset, chosen, log=log)
    validated = chosen.replaced(
        calibration=encoder.calibration,
        image_items=trained.towers["image"],
        text_items=trained.towers["text"],
    )
    weight = config.items.item_weight
    if weight is None and dataset.validation is not None:
        weight = items.choose_weight(validated, dataset, config.seed)
    weight = items.DEFAULT_WEIGHT if weight is None else weight
    facts: dict[str, Any] = {
        "epochs": trained.epochs,
        "weight": weight,
        "validation_R@10": trained.recall,
    }
    thresholds: dict[str, dict[str, float]] = {}
    if dataset.validation is not None and weight > 0:
        facts["match"] = matches = choose_match_thresholds(
            validated.replaced(item_weight=weight), dataset, config.seed
        )
        thresholds = {
            split: {modality: result["threshold"] for modality, result in ways.items()}
            for split, ways in matches.items()
        }
    if config.data.refit and dataset.held_out:
        trained = train_items(config, give_back(dataset), encoder, trained.epochs)
    encoder = encoder.replaced(
        image_items=trained.towers["image"],
        text_items=trained.towers["text"],
        item_weight=weight,
        match_thresholds=thresholds,
    )
    return encoder, facts
