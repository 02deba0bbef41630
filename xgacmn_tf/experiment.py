"""The steps of a run in their order: data, training, evaluation, results, export."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import Any

from xgacmn_tf import baselines, datasets
from xgacmn_tf.datasets.catalog import BUNDLED
from xgacmn_tf.datasets.extraction.extractor_files import (
    extractor_names,
    keep_extractors,
    missing_note,
)
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.datasets.report import data_report
from xgacmn_tf.devices import Devices, make_devices
from xgacmn_tf.errors import InputError
from xgacmn_tf.export.savedmodel import export_trained
from xgacmn_tf.io.files import write_json
from xgacmn_tf.names import XGACMN, model_name
from xgacmn_tf.report.first_search import first_search
from xgacmn_tf.report.model_card import write_model_card
from xgacmn_tf.report.results_page import write_results_page
from xgacmn_tf.report.table import results_table
from xgacmn_tf.report.tensorboard import write_test_results
from xgacmn_tf.runs.checkpoint import check_dims, load_encoder
from xgacmn_tf.runs.evaluation import Evaluation, evaluate_run
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.systems import train_system
from xgacmn_tf.runs.test_pairs import TestPairs
from xgacmn_tf.runs.xgacmn import check_evaluations, train_run
from xgacmn_tf.settings.config import Config

logger = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Train a model, evaluate it once on the test split, and fill the run folder.

    An interrupted run is resumed; the results of a finished one are only read. Progress and results
    are logged.

    Args:
      config: the settings.

    Returns:
      The content of metrics.json; empty for a worker that is not the chief.

    Raises:
      InputError: the settings, the data or the run folder cannot be used.
      WorkerLostError: another worker has stopped.
    """
    devices = make_devices(config.training.strategy)
    with devices.watched(), contextlib.ExitStack() as stack:
        started = time.perf_counter()
        folder = RunFolder.for_config(config)
        if devices.is_chief:
            folder.check_free(config)
        dataset = datasets.for_config(config)
        if not folder.is_finished():
            check_evaluations(config, dataset, devices)
        if devices.is_chief:
            folder.claim(config, dataset.fingerprint)
            if not folder.is_finished():
                stack.enter_context(folder.locked())
        # The other workers pass this point once the chief has created the folder.
        devices.agree("data", dataset.fingerprint, "give all of them the same files")
        devices.agree("settings", config.fingerprint(), "start all of them by the same command")
        if devices.from_chief([folder.is_finished()])[0]:
            return _finished(folder, dataset, config) if devices.is_chief else {}
        return _run(config, dataset, folder, devices, started)


def _finished(folder: RunFolder, dataset: PairedDataset, config: Config) -> dict[str, Any]:
    """Log and return the results of a finished run."""
    metrics = folder.read_metrics()
    try:
        table = results_table(metrics)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder.metrics} lacks results ({error!r}); delete it to evaluate the run again"
        ) from error
    logger.info("%s holds this run already, finished. Delete it to train again.", folder.path)
    logger.info("%s", table)
    _log_next_steps(folder, dataset, config)
    return metrics


def _log_next_steps(
    folder: RunFolder, dataset: PairedDataset, config: Config, note: str | None = None
) -> None:
    """Log what was written and, last, one command that searches by a sentence and by an image.

    Args:
      folder: of the finished run.
      dataset: its data set.
      config: its settings.
      note: what the export could not do.
    """
    model = folder.models / model_name(config.system.model)
    search = first_search(folder.path, dataset) if folder.extractors.is_dir() else None
    lines = [
        f"results page: {folder.results_page}",
        f"curves: tensorboard --logdir {folder.tensorboard}",
        f"to serve: {model}" if model.is_dir() else None,
        note,
        missing_note(folder.extractors),
        f"to search: {search}" if search else None,
    ]
    logger.info("%s", "\n".join(filter(None, lines)))


def _run(
    config: Config, dataset: PairedDataset, folder: RunFolder, devices: Devices, started: float
) -> dict[str, Any]:
    report = data_report(dataset)
    if devices.is_chief:
        # Users cannot change the bundled data, so notes on them are left out.
        bundled = config.data.dataset in BUNDLED
        held_out = 0 if dataset.validation is None else len(dataset.validation)
        logger.info(
            f"{dataset.name}: {len(dataset.train)} training, {held_out} validation and "
            f"{len(dataset.test)} test pairs, {dataset.num_classes} categories, images "
            f"{dataset.image_dim}-D, texts {dataset.text_dim}-D{devices.description}\n"
            f"run folder: {folder.path}\n{report.text(with_notes=not bundled)}"
        )
        write_json(folder.data_report, report.as_dict())
    if config.system.model == XGACMN:
        facts, history = train_run(config, dataset, folder, devices, report.unusable)
    else:
        system = baselines.system(config.system.model)
        facts, history = train_system(system, config, dataset, folder), []
    if not devices.is_chief:
        return {}
    encoder = load_encoder(folder.best)
    evaluation = evaluate_run(encoder, dataset, config, report)
    metrics = evaluation.metrics
    metrics["warnings"] += facts.pop("warnings", [])
    metrics |= facts | {"wall_time_s": round(time.perf_counter() - started, 3)}
    # The scores are shown before the export and the pages, which take ten seconds.
    logger.info("%s", results_table(metrics))
    keep_extractors(dataset, folder.extractors)
    note = None
    if config.output.export:
        note = export_trained(encoder, metrics["search_similarity"], dataset, config, folder)
    _write_results(folder, config, evaluation, dataset, history)
    _log_next_steps(folder, dataset, config, note)
    return metrics


def evaluate_checkpoint(config: Config, checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """Evaluate a checkpoint on the test split, and fill the output folder if one is named.

    Args:
      config: the settings, which name the data set.
      checkpoint: the `best.keras` of a run.

    Returns:
      The content of metrics.json.

    Raises:
      InputError: the checkpoint cannot be read, or takes features of other dimensions.
    """
    encoder = load_encoder(checkpoint)
    dataset = datasets.for_config(config)
    report = data_report(dataset)
    logger.info("%s", report)
    check_dims(encoder, dataset, f"--checkpoint={checkpoint}")
    evaluation = evaluate_run(encoder, dataset, config, report)
    if config.output.output_dir:
        folder = RunFolder(config.output.output_dir)
        folder.claim(config, dataset.fingerprint)
        with folder.locked():
            _write_results(folder, config, evaluation, dataset, history=[])
    logger.info("%s", results_table(evaluation.metrics))
    return evaluation.metrics


def _write_results(
    folder: RunFolder,
    config: Config,
    evaluation: Evaluation,
    dataset: PairedDataset,
    history: list[dict[str, float]],
) -> None:
    folder.write_per_query(dataset.test.id, evaluation.per_query)
    folder.write_embeddings(evaluation.arrays)
    folder.write_pairs(TestPairs.of(dataset, evaluation.identity).arrays())
    image, text = evaluation.represented
    examples = write_results_page(
        folder.results_page,
        settings=config.flat(),
        metrics=evaluation.metrics,
        history=history,
        split=dataset.test,
        label_names=dataset.label_names,
        image_representation=image,
        text_representation=text,
        identity=evaluation.identity,
        seed=config.seed,
    )
    card = write_model_card(
        folder.model_card, evaluation.metrics, config.arguments(), extractor_names(dataset)
    )
    write_test_results(
        folder.tensorboard,
        dataset.test,
        dataset.label_names,
        evaluation.arrays,
        config,
        evaluation.metrics,
        examples,
        card,
    )
    # metrics.json comes last: its presence means that the run is complete.
    write_json(folder.metrics, evaluation.metrics)
