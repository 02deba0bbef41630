"""Training of a compared system in a run folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from xgacmn_tf.baselines import System, TrainingData, parse_settings
from xgacmn_tf.datasets.paired import PairedDataset, Split, give_back
from xgacmn_tf.errors import DivergenceError, InputError
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.calibration import calibration_factors


def train_system(
    system: System, config: Config, dataset: PairedDataset, folder: RunFolder
) -> dict[str, Any]:
    """Fit a system and write `folder.best`.

    The validation split chooses its epochs and calibrates its class posteriors, if it has any. If
    that split was drawn from the training split, the system is then fitted again to both, as
    X-GACMN is.

    Returns:
      The training's part of metrics.json.

    Raises:
      InputError: the system cannot take these data or settings.
      DivergenceError: its codes are not finite.
    """
    settings = parse_settings(config.system.model, config.system.model_settings)
    started = time.perf_counter()
    given = len(dataset.train)
    # The published methods learn from complete, labeled pairs.
    dataset = dataclasses.replace(dataset, train=dataset.train.complete())
    data = training_data(system, config, dataset)
    encoder = fit_system(system, data, settings)
    facts: dict[str, Any] = {"best_epochs": data.best_epochs} if data.best_epochs else {}
    if data.validation is not None and encoder.class_layer is not None:
        facts["calibration"] = calibration_factors(encoder, *data.validation)
    if config.data.refit and dataset.held_out:
        whole = training_data(system, config, give_back(dataset))
        whole = dataclasses.replace(whole, planned_epochs=iter(data.best_epochs))
        encoder = fit_system(system, whole, settings)
        facts["refit"] = {"pairs": len(whole.image)}
    if "calibration" in facts:
        encoder = encoder.replaced(calibration=facts["calibration"])
    if len(dataset.train) < given:
        facts["warnings"] = [
            f"{system.title} learns from pairs with an image, a text and a category alone: "
            f"{len(dataset.train):,} of {given:,} training pairs"
        ]
    facts["training_time_s"] = round(time.perf_counter() - started, 3)
    with atomic_path(folder.best) as temporary:
        encoder.save(temporary)
    return facts


def fit_system(system: System, data: TrainingData, settings: Any) -> CommonSpaceEncoder:
    """Return a fitted system that depends on its data, settings and seed alone."""
    keras.utils.set_random_seed(data.seed)
    tf.config.experimental.enable_op_determinism()
    encoder = system.fit(data, settings)
    if not isinstance(encoder, CommonSpaceEncoder):
        raise InputError(
            f"{system.title}: fit returned a {type(encoder).__name__}; expected a "
            "CommonSpaceEncoder"
        )
    if system.similarity not in encoder.similarities():
        raise InputError(
            f"{system.title}: its similarity is {system.similarity}, and its encoder defines "
            f"{', '.join(encoder.similarities())}"
        )
    codes = encoder.codes(data.image[:1000], data.text[:1000])
    if not all(np.isfinite(code).all() for code in codes):
        raise DivergenceError(
            f"{system.title} gives codes that are not finite; nothing was saved. Check the "
            "features' scale, or change --model_settings"
        )
    return encoder


def training_data(system: System, config: Config, dataset: PairedDataset) -> TrainingData:
    """Return the part of a data set that the system may use."""

    def arrays(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return split.image, split.text, split.targets(dataset.num_classes)

    def progress(steps: Sequence[Any]) -> Any:
        return tqdm(steps, desc=system.title, unit="epoch", dynamic_ncols=True)

    test = (dataset.test.image, dataset.test.text)
    return TrainingData(
        *arrays(dataset.train),
        validation=None if dataset.validation is None else arrays(dataset.validation),
        unlabelled=test if system.transductive else None,
        seed=config.seed,
        progress=progress,
        group=dataset.groups["train"],
    )
