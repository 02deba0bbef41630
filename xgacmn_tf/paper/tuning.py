"""Settings of compared systems, chosen on validation pairs before any run.

Each system declares the values to try in `System.grid`. Every point of the grid is fitted on the
training split without the validation pairs: those of the data set, or a stratified part of the
training split. The point with the highest mAP on them, averaged over both directions at the
system's own similarity, becomes the runs' `model_settings`. Seeds that see the same data share one
choice, made with the first of them. If the seed draws the split, each seed has its own choice,
because the validation pairs of one seed may be test pairs of another.

The choices of a system and all scores are in `choice.json` beside its runs. The file is replaced
atomically after each choice, and the same command resumes from it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xgacmn_tf import baselines
from xgacmn_tf.baselines import System
from xgacmn_tf.datasets.paired import PairedDataset, hold_out
from xgacmn_tf.errors import DivergenceError, InputError
from xgacmn_tf.io.files import read_json, write_json
from xgacmn_tf.names import XGACMN
from xgacmn_tf.paper.experiments import Experiment, in_workers
from xgacmn_tf.settings.config import Config

FILE = "choice.json"
# Tuned runs have a folder of their own, so that they are never mistaken for untuned ones.
FOLDER = "tuned"


def tune(
    experiments: Sequence[Experiment], jobs: int
) -> tuple[list[Experiment], dict[Experiment, str]]:
    """Choose the settings of all compared systems that have a grid.

    X-GACMN, whose settings are in its flag files, and systems without a grid remain as they are.

    Args:
      experiments: from `experiments.plan`.
      jobs: number of systems that are tuned at a time.

    Returns:
      The experiments to run, in the same order; and experiment → error of those that could not be
      tuned.
    """
    groups: dict[tuple[str, str], list[Experiment]] = {}
    for experiment in experiments:
        if experiment.model != XGACMN and baselines.system(experiment.model).grid:
            groups.setdefault((experiment.label, experiment.model), []).append(experiment)
    tasks = {tuple(map(in_tuned_folder, group)): group for group in groups.values()}
    tuned: dict[Experiment, Experiment] = {}
    failed: dict[Experiment, str] = {}
    with tqdm(total=len(groups), unit="choice") as bar:
        for task, result in in_workers(choose_settings, list(tasks), jobs):
            bar.set_postfix_str(f"{task[0].label} {task[0].model}")
            bar.update()
            if isinstance(result, str):
                failed |= dict.fromkeys(tasks[task], result)
                continue
            for untuned, run, settings in zip(tasks[task], task, result, strict=True):
                all_settings = (*run.config.system.model_settings, *settings)
                config = run.config.replace(model_settings=all_settings)
                tuned[untuned] = dataclasses.replace(run, config=config)
    return [tuned.get(e, e) for e in experiments if e not in failed], failed


def in_tuned_folder(experiment: Experiment) -> Experiment:
    """Return the experiment with its run in the folder of tuned ones."""
    path = experiment.folder.path
    output_dir = str(path.parent / FOLDER / path.name)
    config = experiment.config.replace(output_dir=output_dir)
    return dataclasses.replace(experiment, config=config)


def choose_settings(experiments: Sequence[Experiment]) -> list[tuple[str, ...]] | str:
    """Return the `model_settings` of one system on one data set for each seed, or an error."""
    path = experiments[0].folder.path.parent / FILE
    system = baselines.system(experiments[0].model)
    try:
        choices = read_choices(path, system)
        return [_settings(e.config, system, choices, path) for e in experiments]
    except InputError as error:
        return str(error)


def _settings(
    config: Config, system: System, choices: list[dict[str, Any]], path: Path
) -> tuple[str, ...]:
    """Return a seed's settings from the choices; make and save the choice if it is missing."""
    for choice in choices:
        if config.seed in choice["seeds"]:
            return tuple(choice["settings"])

    from xgacmn_tf import datasets

    dataset = datasets.for_config(config.replace(validation_fraction=0.0))
    for choice in choices:
        if choice["data_fingerprint"] == dataset.fingerprint:
            choice["seeds"].append(config.seed)
            break
    else:
        points = score_points(config, system, dataset, grid_points(system))
        choice = {
            "seeds": [config.seed],
            "data_fingerprint": dataset.fingerprint,
            "settings": list(best_point(points)),
            "points": points,
        }
        choices.append(choice)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "model": config.system.model,
        "measure": "full-gallery mAP on the validation pairs",
        "similarity": config.headline(system.similarity),
        "grid": json_grid(system),
        "choices": choices,
    }
    write_json(path, record)
    return tuple(choice["settings"])


def grid_points(system: System) -> list[tuple[str, ...]]:
    """Return all combinations of a system's values as `--model_settings`, the defaults first."""
    defaults = system.settings()
    values = []
    for name, candidates in system.grid.items():
        default = getattr(defaults, name)
        others = [value for value in candidates if value != default]
        values.append([f"{name}={value}" for value in (default, *others)])
    return list(itertools.product(*values))


def best_point(points: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the first settings with the highest score.

    If no point could be fitted these are the defaults, with which the run reports the error.
    """
    scored = [point for point in points if "mAP" in point] or [points[0]]
    return tuple(max(scored, key=lambda p: p.get("mAP", {}).get("avg", 0.0))["settings"])


def score_points(
    config: Config,
    system: System,
    dataset: PairedDataset,
    points: Sequence[tuple[str, ...]],
) -> list[dict[str, Any]]:
    """Score a system on validation pairs with several settings.

    Args:
      config: names the system and the share of pairs that are held out; its seed draws them if the
        data set has none, and seeds the training.
      system: the same system.
      dataset: the data set; its test split is not read.
      points: settings as `--model_settings` takes them.

    Returns:
      {"settings", "mAP": {"i2t", "t2i", "avg"}} of each point, or {"settings", "error"}.
    """
    from xgacmn_tf.evaluation.retrieval import mean_average_precision
    from xgacmn_tf.runs.systems import fit_system, training_data

    dataset = hold_out(dataset, config.data.validation_fraction, config.seed)
    data = training_data(system, config, dataset)
    assert data.validation is not None
    image, text, targets = data.validation
    if system.transductive:
        # The runs read the features of the test pairs, so tuning reads those of validation pairs.
        data = dataclasses.replace(data, unlabelled=(image, text))
    similarity = config.headline(system.similarity)
    records = []
    for settings in points:
        record: dict[str, Any] = {"settings": list(settings)}
        try:
            both = (*config.system.model_settings, *settings)
            encoder = fit_system(system, data, baselines.parse_settings(config.system.model, both))
            v, t = encoder.represent_pairs(image, text, similarity)
            record["mAP"] = mean_average_precision(v, t, targets)
        except (InputError, DivergenceError) as error:
            record["error"] = str(error)
        records.append(record)
    return records


def read_choices(path: Path, system: System) -> list[dict[str, Any]]:
    """Return the saved choices of a system, if there are any.

    Raises:
      InputError: the file is damaged, or its choices were made among other values.
    """
    if not path.exists():
        return []
    try:
        record = read_json(path)
        grid, choices = record["grid"], list(record["choices"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read as choices of settings ({error}); delete it and the runs "
            "beside it"
        ) from error
    if grid != json_grid(system):
        raise InputError(
            f"{path} holds choices among other values than this version tries; delete it and the "
            "runs beside it, or name a new --output_dir"
        )
    return choices


def json_grid(system: System) -> dict[str, list[Any]]:
    """Return a system's grid as JSON represents it."""
    return json.loads(json.dumps({name: list(values) for name, values in system.grid.items()}))
