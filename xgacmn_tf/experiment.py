"""One run from settings to results: data → training → evaluation → export → run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from xgacmn_tf import baselines, datasets
from xgacmn_tf.datasets.extraction.extractor_files import keep_extractors, missing_note
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.datasets.report import DataReport, data_report
from xgacmn_tf.devices import Devices, make_devices
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.blockwise import BAR_DELAY
from xgacmn_tf.evaluation.categories import category_table, unseen_categories
from xgacmn_tf.evaluation.fine_labels import fine_targets
from xgacmn_tf.evaluation.first_results import FirstResults, first_results, spread_measures
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.measures import split_identity
from xgacmn_tf.evaluation.representations import Representations, represent
from xgacmn_tf.evaluation.retrieval import (
    chance_levels,
    evaluate_retrieval,
    mean_average_precision,
)
from xgacmn_tf.export.savedmodel import SOURCES, export_encoder
from xgacmn_tf.export.versions import versions as exported_versions
from xgacmn_tf.gallery import from_dataset, searched_split
from xgacmn_tf.io.files import write_json
from xgacmn_tf.model.encoders import CommonSpaceEncoder, search_similarity
from xgacmn_tf.names import MODALITIES, model_name
from xgacmn_tf.report.projector import write_projector
from xgacmn_tf.report.results_page import write_results_page
from xgacmn_tf.report.table import results_table
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.provenance import git_commit, versions
from xgacmn_tf.runs.systems import train_system
from xgacmn_tf.runs.xgacmn import check_evaluations, train_run
from xgacmn_tf.settings.config import XGACMN, Config
from xgacmn_tf.training.callbacks import ReportImbalance, write_hparams


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains, evaluates the test split once, and fills the run folder.

    A folder that already holds this very run is continued; a finished one is only read.

    Args:
      config: the settings.
      say: receives what the user should read, a line or a block at a time.

    Returns:
      What stands in metrics.json; nothing where this is not the chief of several workers.

    Raises:
      InputError: another process writes into the run folder.
      WorkerLostError: another worker has stopped.
    """
    devices = make_devices(config.training.strategy)
    with devices.watched(), contextlib.ExitStack() as stack:
        return _run(config, devices, say, stack)


def _run(
    config: Config,
    devices: Devices,
    say: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> dict[str, Any]:
    started = time.perf_counter()
    dataset = datasets.for_config(config)
    folder = RunFolder.for_config(config)
    if not folder.is_finished():
        check_evaluations(config, dataset, devices)
    if devices.is_chief:
        folder.claim(config, dataset.fingerprint)
        if not folder.is_finished():
            stack.enter_context(folder.locked())
    # The others come here once the chief has made the folder.
    devices.agree("data", dataset.fingerprint, "give all of them the same files")
    devices.agree("settings", config.fingerprint(), "start all of them by the same command")
    finished = bool(devices.from_chief([folder.is_finished()])[0])
    if finished and not devices.is_chief:
        return {}
    if finished:
        metrics = folder.read_metrics()
        try:
            table = results_table(metrics)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{folder.metrics} lacks results ({error!r}); delete it to evaluate the run again"
            ) from error
        say(f"{folder.path} holds this run already, finished. Delete it to train anew.")
        say(table)
        return metrics

    report, heard = data_report(dataset), list[str]()
    if devices.is_chief:
        say(_describe(dataset, folder, devices))
        say(str(report))
        write_json(folder.data_report, report.as_dict())
    facts, history = _train(config, dataset, folder, devices, say, report, heard.append)
    if not devices.is_chief:
        return {}
    encoder = load_encoder(folder.best)
    found = evaluate(encoder, dataset, config, report)
    metrics = found.metrics
    metrics["warnings"] += heard
    metrics |= facts | {"wall_time_s": round(time.perf_counter() - started, 3)}
    similarity = metrics["search_similarity"]
    steps: _Steps = [("extractors", lambda: keep_extractors(dataset, folder.extractors))]
    if config.output.export:
        steps.append(("export", lambda: _export(folder, config, encoder, similarity, dataset)))
    _write(steps + _results(folder, config, found, dataset, history))
    say(results_table(metrics))
    say(f"results page: {folder.results_page}\ncurves: tensorboard --logdir {folder.tensorboard}")
    if config.output.export:
        say(f"to serve: {folder.models / model_name(config.system.model)}")
        split, note = _searched(dataset, config)
        if note is not None:
            say(f"its searches find items of the {split} split only: {note}")
    if note := missing_note(folder.extractors):
        say(note)
    return metrics


def _train(
    config: Config,
    dataset: PairedDataset,
    folder: RunFolder,
    devices: Devices,
    say: Callable[[str], None],
    report: DataReport,
    warn: Callable[[str], None],
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Writes `folder.best`; returns the training's part of metrics.json, and its history.

    Workers beside the chief write nothing and return nothing.
    """
    if config.system.model != XGACMN:
        return train_system(baselines.system(config.system.model), config, dataset, folder), []

    def warned(warning: str) -> None:
        say(f"warning: {warning}")
        warn(warning)

    imbalance = ReportImbalance(warned, report.unusable)
    return train_run(config, dataset, folder, devices, imbalance)


def evaluate_checkpoint(
    config: Config, checkpoint: str | os.PathLike[str], say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Evaluate the test split with a checkpoint, and fill the output folder if one is named."""
    encoder = load_encoder(checkpoint)
    dataset = datasets.for_config(config)
    report = data_report(dataset)
    say(str(report))
    for modality, dim in (("image", dataset.image_dim), ("text", dataset.text_dim)):
        expected = getattr(encoder, f"{modality}_map").input_dim
        if dim != expected:
            raise InputError(
                f"--checkpoint={checkpoint} takes {modality} features of dimension {expected}, "
                f"--dataset={config.data.dataset} has {dim}; name the data set it was trained on"
            )
    found = evaluate(encoder, dataset, config, report)
    if config.output.output_dir:
        folder = RunFolder(config.output.output_dir)
        folder.claim(config, dataset.fingerprint)
        with folder.locked():
            _write(_results(folder, config, found, dataset, history=[]))
    say(results_table(found.metrics))
    return found.metrics


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results on the test split.

    Attributes:
      metrics: the body of metrics.json.
      arrays, per_query: of embeddings.npz and per_query.npz.
      represented: the images and the texts as searches compare them.
      identity: which items count as one another's own pair.
    """

    metrics: dict[str, Any]
    arrays: dict[str, np.ndarray]
    per_query: dict[str, np.ndarray]
    represented: tuple[Representations, Representations]
    identity: Identity


def evaluate(
    encoder: CommonSpaceEncoder, dataset: PairedDataset, config: Config, report: DataReport
) -> Evaluation:
    """Scores the test split at every similarity the encoder defines; `report` is on the data."""
    test = dataset.test
    encodings = {m: encoder.encodings_of(m, getattr(test, m)).numpy() for m in MODALITIES}
    arrays = {m: encodings[m][:, : encoder.code_dim] for m in MODALITIES}
    identity, deduplicated = split_identity(dataset), config.evaluation.deduplicate_gallery
    by_fine_label = fine_targets(test.fine_label, test.label, dataset.label_names)
    results, represented = {}, {}
    first: dict[str, dict[str, FirstResults]] = {}
    for similarity in encoder.similarities():
        represented[similarity] = pair = (
            represent(encoder, encodings["image"], similarity, "image"),
            represent(encoder, encodings["text"], similarity, "text"),
        )
        if similarity == "posterior":
            for side in pair:
                # In blocks they are too large for a file, and can be computed from the codes.
                if side.is_whole:
                    arrays[f"{side.name}_posterior"] = side[:].astype(np.float32)
                arrays[f"calibration_{side.name}"] = np.float64(encoder.calibration[side.name])
        results[similarity] = evaluate_retrieval(
            pair[0],
            pair[1],
            test.label,
            identity=identity,
            deduplicated=deduplicated,
            title=f"evaluation by {similarity}",
        )
        measures = results[similarity].measures
        for measure, (rows, fine) in by_fine_label.items():
            measures[measure] = mean_average_precision(pair[0].take(rows), pair[1].take(rows), fine)
        first[similarity] = first_results(*pair, identity, deduplicated)
        measures |= spread_measures(first[similarity])
    own = (
        None if config.system.model == XGACMN else baselines.system(config.system.model).similarity
    )
    headline = config.headline(own)
    # A checkpoint without its run's settings may lack the similarity that is the default.
    headline = headline if headline in results else next(iter(results))
    searched = search_similarity(encoder, headline)
    for side in represented[searched]:
        if side.is_whole:
            arrays[f"search_{side.name}"] = side[:].astype(np.float32)
    trained = dataset.trained_pairs
    average_precision = {
        similarity: {way: scores["AP"] for way, scores in result.per_query.items()}
        for similarity, result in results.items()
    }
    chance = chance_levels(
        test.label, identity=identity, deduplicated=deduplicated, title="chance levels"
    )
    chance |= {name: chance_levels(fine)["mAP"] for name, (_, fine) in by_fine_label.items()}
    unseen = unseen_categories(
        dataset.label_names, trained, test.label, average_precision, identity, deduplicated
    )
    metrics = {
        "model": config.system.model,
        "dataset": dataset.name,
        "label_names": [*dataset.label_names],
        "date": datetime.date.today().isoformat(),
        "test": {similarity: result.measures for similarity, result in results.items()},
        "chance": chance,
        # Each image and each text is a query; i2t has the images as queries, t2i the texts.
        "queries": {way: len(found["AP"]) for way, found in results[headline].per_query.items()},
        "deduplicated_gallery": deduplicated,
        "headline_similarity": headline,
        "search_similarity": searched,
        "normalizer": {"mAP": "relevant", "mAP@50": "hits", "mAP@50/min": "min"},
        "queries_without_relevant": results[headline].queries_without_relevant,
        "seed": config.seed,
        "splits": {
            "train": len(dataset.train),
            "validation": 0 if dataset.validation is None else len(dataset.validation),
            "test": len(test),
        },
        "groups": {part: len(np.unique(groups)) for part, groups in dataset.groups.items()},
        "data_report": report.as_dict(),
        "warnings": [*report.warnings],
        "categories": category_table(
            dataset.label_names,
            trained,
            test.label,
            first[headline],
            average_precision[headline],
            identity,
            deduplicated,
        ),
        "data_fingerprint": dataset.fingerprint,
        "settings": config.result_settings(),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    if unseen:
        metrics["unseen_categories"] = unseen
    per_query = {
        f"{similarity}_{way}": values
        for similarity, ways in average_precision.items()
        for way, values in ways.items()
    }
    if deduplicated:
        per_query["id_i2t"] = test.id[results[headline].per_query["i2t"]["pair"]]
    arrays |= {"label": test.label, "id": test.id}
    return Evaluation(metrics, arrays, per_query, represented[searched], identity)


# What is written after the evaluation, by name.
_Steps = list[tuple[str, Callable[[], Any]]]


def _write(steps: _Steps) -> None:
    """Writes one after the other, with a progress bar unless that is done in an instant."""
    with tqdm(steps, unit="step", dynamic_ncols=True, delay=BAR_DELAY) as bar:
        for name, step in bar:
            bar.set_description(f"writing: {name}")
            step()


def _results(
    folder: RunFolder,
    config: Config,
    found: Evaluation,
    dataset: PairedDataset,
    history: list[dict[str, float]],
) -> _Steps:
    """The results in the run folder. metrics.json comes last: with it, everything is there."""
    metrics, arrays = found.metrics, found.arrays
    image, text = found.represented

    def page() -> None:
        write_results_page(
            folder.results_page,
            settings=config.flat(),
            metrics=metrics,
            history=history,
            split=dataset.test,
            label_names=dataset.label_names,
            image_representation=image,
            text_representation=text,
            identity=found.identity,
            seed=config.seed,
        )

    def projector() -> None:
        write_projector(
            folder.tensorboard, dataset.test, dataset.label_names, arrays["image"], arrays["text"]
        )
        write_hparams(folder.tensorboard, config.flat(), *_board_measures(metrics))

    return [
        ("per-query scores", lambda: folder.write_per_query(dataset.test.id, found.per_query)),
        ("embeddings", lambda: folder.write_embeddings(arrays)),
        ("results page", page),
        ("projector", projector),
        ("metrics", lambda: write_json(folder.metrics, metrics)),
    ]


# The measures of every similarity that TensorBoard compares runs by.
_COMPARED = ("mAP", "R@10", "median_rank", "fine_mAP", "coverage@10")


def _board_measures(metrics: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """The test measures by TensorBoard's tags: those that runs are compared by, and all others.

    The tags are "test/mAP/i2t" of the headline similarity, and "test/posterior/R@10/avg".
    """
    headline = metrics["test"][metrics["headline_similarity"]]
    compared = {f"test/mAP/{way}": value for way, value in headline["mAP"].items()}
    others: dict[str, float] = {}
    for similarity, measures in metrics["test"].items():
        for measure, values in measures.items():
            for way, value in values.items():
                column = way == "avg" and measure in _COMPARED
                (compared if column else others)[f"test/{similarity}/{measure}/{way}"] = value
    return compared, others


def _export(
    folder: RunFolder,
    config: Config,
    encoder: CommonSpaceEncoder,
    similarity: str,
    dataset: PairedDataset,
) -> None:
    """Writes one version for a server, with the items of the data set to search."""
    # A run killed after its export finds it again, and its encoders were the same.
    if not exported_versions(folder.models / model_name(config.system.model)):
        split, note = _searched(dataset, config)
        export_encoder(
            encoder,
            similarity,
            from_dataset(dataset, split),
            folder,
            folder.models,
            model_name(config.system.model),
            source=SOURCES[split] + (f" ({note})" if note else ""),
            label_names=dataset.label_names,
            split=split,
        )


def _searched(dataset: PairedDataset, config: Config) -> tuple[str, str | None]:
    """The split that is searched by default, and why not all items, see `searched_split`."""
    items = sum(len(part) for _, part in dataset.splits())
    dims = {"image": dataset.image_dim, "text": dataset.text_dim}
    return searched_split(items, dims, config.data.streaming)


def _describe(dataset: PairedDataset, folder: RunFolder, devices: Devices) -> str:
    shared = ""
    if devices.replicas > 1:
        machines = "1 machine" if devices.workers == 1 else f"{devices.workers} machines"
        shared = f"; {devices.replicas} replicas on {machines}"
    held_out = 0 if dataset.validation is None else len(dataset.validation)
    return (
        f"{dataset.name}: {len(dataset.train)} training, {held_out} validation and "
        f"{len(dataset.test)} test pairs, {dataset.num_classes} categories, images "
        f"{dataset.image_dim}-D, texts {dataset.text_dim}-D{shared}\nrun folder: {folder.path}"
    )
