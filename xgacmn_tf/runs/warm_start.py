"""Warm start: the weights of a finished run of X-GACMN as the start of another training."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from xgacmn_tf.datasets.extraction.extractor_files import saved_extractors
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import MANIFEST
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.names import XGACMN as XGACMN_NAME
from xgacmn_tf.runs.checkpoint import check_dims, learned_note
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.runs.untrained import compiled_model
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.progress import Checkpoints, Progress

# Settings that the shapes and activations of the networks follow.
_SHAPES = (
    *("encoder_hidden", "code_dim", "code_activation", "generated_activation", "classifier"),
    *("discriminate_features", "feature_discriminator_hidden"),
    *("discriminate_codes", "common_discriminator_hidden"),
)


def warm_start(model: XGACMN, config: Config, dataset: PairedDataset) -> None:
    """Build the networks of a model with the input maps and weights of the run `--init`.

    Encoders and class weights are those of the run's results, decoders and discriminators those of
    its last epoch. Class weights are matched by the names of categories; new categories start
    untrained, and those that are gone are dropped.

    Args:
        model: compiled, without networks.
        config: the settings of the new run.
        dataset: its data set.

    Raises:
        InputError: there is no finished run of X-GACMN, its checkpoint is missing, or it has other
            features or networks.
    """
    previous = TrainedRun(str(config.training.init))
    _check(previous, config, dataset)
    encoder, names = previous.encoder, previous.label_names or ()
    model.build_on(encoder.image_map, encoder.text_map, rows=len(dataset.train))
    source = _last_epoch(previous)
    layers = [
        (encoder.image_encoder, model.encoder.image_encoder),
        (encoder.text_encoder, model.encoder.text_encoder),
        (source.image_decoder, model.image_decoder),
        (source.text_decoder, model.text_decoder),
        (source.image_discriminator, model.image_discriminator),
        (source.text_discriminator, model.text_discriminator),
        (source.common_discriminator, model.common_discriminator),
    ]
    for trained, layer in layers:
        if layer is not None:
            layer.set_weights(trained.get_weights())
    if model.encoder.class_layer is not None:
        _copy_classes(encoder.class_layer, names, model.encoder.class_layer, dataset.label_names)
    model.reset_average()


def _last_epoch(previous: TrainedRun) -> XGACMN:
    """Return the model of a run after its last epoch, from its checkpoint."""
    folder, encoder = previous.folder, previous.encoder
    model = compiled_model(folder.recorded_config(), len(previous.label_names or ()))
    # Its dropout, which follows the number of rows, is not used.
    model.build_on(encoder.image_map, encoder.text_map, rows=1)
    path = folder.refit if "refit" in folder.read_metrics() else folder.resume
    checkpoints = Checkpoints(model, Progress(), path, writes=False)
    if not checkpoints.newest:
        raise InputError(
            f"--init={folder.path} has no checkpoint in {path}, which holds decoders and "
            "discriminators; train that run again, or leave --init out"
        )
    checkpoints.restore()
    return model


def _copy_classes(
    source: keras.layers.Layer,
    source_names: Sequence[str],
    target: keras.layers.Layer,
    target_names: Sequence[str],
) -> None:
    """Copy the weights of the categories that both class layers have, by name."""
    row = {name: number for number, name in enumerate(source_names)}
    shared_rows = [(number, row[name]) for number, name in enumerate(target_names) if name in row]
    now, before = np.array(shared_rows, int).reshape(-1, 2).T
    weights = target.get_weights()
    # The last axis of each weight is that of the classes.
    for values, trained in zip(weights, source.get_weights(), strict=True):
        values[..., now] = trained[..., before]
    target.set_weights(weights)


def _check(previous: TrainedRun, config: Config, dataset: PairedDataset) -> None:
    """Reject a run whose weights do not fit a new one."""
    path, recorded = previous.folder.path, previous.folder.recorded_config()
    if recorded.system.model != XGACMN_NAME:
        raise InputError(
            f"--init={path} is a run of --model={recorded.system.model}; expected one of X-GACMN"
        )
    if previous.encoder.class_layer is not None and previous.label_names is None:
        raise InputError(
            f"--init={path} does not record the names of its categories, as early versions did "
            "not; train that run again, or leave --init out"
        )
    check_dims(previous.encoder, dataset, f"--init={path}")
    saved = saved_extractors(dataset)
    for modality in MODALITIES if saved else ():
        trained = previous.folder.extractors / modality / MANIFEST
        assert saved is not None
        if trained.is_file() and trained.read_bytes() != (saved / modality / MANIFEST).read_bytes():
            note = learned_note(dataset, modality, "--init")
            raise InputError(
                f"--init={path} was trained on {modality} features of another extractor "
                f"({trained}); {note or 'extract the features with that one, or leave --init out'}"
            )
    for name in _SHAPES:
        before, now = getattr(recorded.model, name), getattr(config.model, name)
        if before != now:
            raise InputError(
                f"--init={path} was trained with {name} {before!r}, and this command has {now!r}; "
                f"give --{name} as there, or leave --init out"
            )
