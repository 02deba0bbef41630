"""One run from settings to results: data → training → evaluation → run folder."""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scipy
import sklearn
import tensorflow as tf

import xgacmn_tf
from xgacmn_tf import datasets
from xgacmn_tf.callbacks import (
    HistogramBoard,
    ProfileEpoch,
    ScalarBoard,
    StopOnNonFinite,
    write_hparams,
)
from xgacmn_tf.config import Config
from xgacmn_tf.datasets.paired import PairedDataset, hold_out
from xgacmn_tf.encoders import CommonSpaceEncoder, load_encoder
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation import chance_levels, evaluate_retrieval
from xgacmn_tf.features.keeping import keep_extractors
from xgacmn_tf.files import write_json
from xgacmn_tf.projector import write_projector
from xgacmn_tf.report.results_page import write_results_page
from xgacmn_tf.report.table import results_table
from xgacmn_tf.run_folder import RunFolder
from xgacmn_tf.training import Progress, train


def load_data(config: Config) -> PairedDataset:
    """The run's data set, with a validation part held out where it brings none of its own."""
    dataset = datasets.load(
        config.dataset,
        data_dir=config.data_dir,
        protocol=config.protocol,
        seed=config.seed,
        image_features=config.image_features,
        text_features=config.text_features,
        cache_dir=config.cache_dir,
        image_weights=config.image_weights,
        text_weights=config.text_weights,
        on_bad_image=config.on_bad_image,
    )
    if dataset.validation is None and config.validation_fraction > 0:
        dataset = hold_out(dataset, config.validation_fraction, config.seed)
    return dataset


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains, evaluates the test split once, and fills the run folder.

    A folder that already holds this very run is continued; a finished one is only read.

    Args:
      config: the settings.
      say: receives what the user should read, a line or a block at a time.

    Returns:
      What stands in metrics.json.
    """
    started = time.perf_counter()
    dataset = load_data(config)
    folder = RunFolder.for_config(config)
    folder.claim(config, dataset.fingerprint)
    if folder.is_finished():
        metrics = folder.read_metrics()
        say(f"{folder.path} holds this run already, finished. Delete it to train anew.")
        say(results_table(metrics))
        return metrics

    say(_describe(dataset, folder))
    progress = train(config, dataset, folder, _callbacks(config, folder))
    encoder = load_encoder(folder.best)
    metrics, arrays = evaluate(encoder, dataset, config)
    metrics |= {
        "best_epoch": progress.best_epoch,
        "validation": _validation_at(progress),
        "training_time_s": round(progress.seconds, 3),
        "examples_per_second": round(_examples(progress, config, dataset) / progress.seconds, 1),
        "wall_time_s": round(time.perf_counter() - started, 3),
    }
    _write(folder, config, encoder, metrics, arrays, dataset, progress.history)
    say(results_table(metrics))
    say(f"results page: {folder.results_page}\ncurves: tensorboard --logdir {folder.tensorboard}")
    return metrics


def evaluate_checkpoint(
    config: Config, checkpoint: str | os.PathLike, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Evaluates the test split with a checkpoint; fills `config.output_dir` where one is named."""
    encoder = load_encoder(checkpoint)
    dataset = load_data(config)
    for modality, dim in (("image", dataset.image_dim), ("text", dataset.text_dim)):
        expected = getattr(encoder, f"{modality}_map").input_dim
        if dim != expected:
            raise InputError(
                f"--checkpoint={checkpoint} takes {modality} features of dimension {expected}, "
                f"--dataset={config.dataset} has {dim}; name the data set it was trained on"
            )
    metrics, arrays = evaluate(encoder, dataset, config)
    if config.output_dir:
        folder = RunFolder(config.output_dir)
        folder.claim(config, dataset.fingerprint)
        _write(folder, config, encoder, metrics, arrays, dataset, history=[])
    say(results_table(metrics))
    return metrics


def evaluate(
    encoder: CommonSpaceEncoder, dataset: PairedDataset, config: Config
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Scores the test split at every similarity the encoder defines.

    Returns:
      The body of metrics.json, and the arrays of embeddings.npz.
    """
    test = dataset.test
    image, text = encoder.codes(test.image, test.text)
    represented = {
        similarity: (encoder.represent(image, similarity), encoder.represent(text, similarity))
        for similarity in encoder.similarities()
    }
    arrays = {"image": image.numpy(), "text": text.numpy()}
    if "posterior" in represented:
        posteriors = (x.numpy() for x in represented["posterior"])
        arrays["image_posterior"], arrays["text_posterior"] = posteriors
    targets = test.targets(dataset.num_classes)
    results = {
        similarity: evaluate_retrieval(*pair, targets) for similarity, pair in represented.items()
    }
    # A checkpoint without its run's settings may lack the similarity that is the default.
    headline = config.similarity if config.similarity in results else next(iter(results))
    metrics = {
        "dataset": dataset.name,
        "date": datetime.date.today().isoformat(),
        "test": {similarity: result.measures for similarity, result in results.items()},
        "chance": chance_levels(targets),
        "headline_similarity": headline,
        "normalizer": {"mAP": "relevant", "mAP@50": "hits", "mAP@50/min": "min"},
        "queries_without_relevant": results[headline].queries_without_relevant,
        "seed": config.seed,
        "splits": {
            "train": len(dataset.train),
            "validation": 0 if dataset.validation is None else len(dataset.validation),
            "test": len(test),
        },
        "data_fingerprint": dataset.fingerprint,
        "versions": _versions(),
    }
    return metrics, arrays | {"label": test.label, "id": test.id}


def _write(
    folder: RunFolder,
    config: Config,
    encoder: CommonSpaceEncoder,
    metrics: dict[str, Any],
    arrays: dict[str, np.ndarray],
    dataset: PairedDataset,
    history: list[dict[str, float]],
) -> None:
    """Fills the run folder. metrics.json comes last: where it stands, everything else does."""
    folder.write_embeddings(arrays)
    keep_extractors(dataset, folder.extractors)
    headline = metrics["headline_similarity"]
    write_results_page(
        folder.results_page,
        settings=config.as_dict(),
        metrics=metrics,
        history=history,
        split=dataset.test,
        label_names=dataset.label_names,
        image_representation=encoder.represent(arrays["image"], headline).numpy(),
        text_representation=encoder.represent(arrays["text"], headline).numpy(),
        seed=config.seed,
    )
    write_projector(
        folder.tensorboard, dataset.test, dataset.label_names, arrays["image"], arrays["text"]
    )
    write_hparams(
        folder.tensorboard,
        config.as_dict(),
        {f"test/mAP/{way}": value for way, value in metrics["test"][headline]["mAP"].items()},
    )
    write_json(folder.metrics, metrics)


def _callbacks(config: Config, folder: RunFolder) -> list[keras.callbacks.Callback]:
    callbacks = [StopOnNonFinite(), ScalarBoard(folder.tensorboard)]
    if config.histograms:
        callbacks.append(HistogramBoard(folder.tensorboard))
    if config.profile:
        callbacks.append(ProfileEpoch(folder.tensorboard, epoch=2))
    return callbacks


def _validation_at(progress: Progress) -> dict[str, float]:
    """Validation mAP at the epoch that was kept; empty where nothing was held out."""
    logs = progress.history[progress.best_epoch - 1]
    prefix = "validation/"
    return {name.removeprefix(prefix): v for name, v in logs.items() if name.startswith(prefix)}


def _examples(progress: Progress, config: Config, dataset: PairedDataset) -> float:
    return progress.history[-1]["step"] * min(config.batch_size, len(dataset.train))


def _describe(dataset: PairedDataset, folder: RunFolder) -> str:
    held_out = 0 if dataset.validation is None else len(dataset.validation)
    return (
        f"{dataset.name}: {len(dataset.train)} training, {held_out} validation and "
        f"{len(dataset.test)} test pairs, {dataset.num_classes} categories, images "
        f"{dataset.image_dim}-D, texts {dataset.text_dim}-D\nrun folder: {folder.path}"
    )


def _versions() -> dict[str, str]:
    packages = (xgacmn_tf, tf, keras, np, scipy, sklearn)
    versions = {package.__name__: package.__version__ for package in packages}
    return {"python": platform.python_version(), **versions}
