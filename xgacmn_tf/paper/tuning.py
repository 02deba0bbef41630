"""Which settings a compared system takes: chosen on validation pairs, before any run.

Each system declares the values to try, `System.grid`. Every point of the grid is fitted on what is
left of the training split when the validation pairs are set aside: those that the data set brings,
or a stratified part of the training split. The point with the highest mAP on these, mean of both
directions at the system's own similarity, becomes the runs' `model_settings`. Seeds that see the
same data share one choice, made with the first of them. Where the seed draws the split each has one
of its own, for what one seed validates on another may test on.

A system's choices stand with all scores in `choice.json` beside its runs, which is rewritten, whole
or not at all, after each choice; the same command goes on from there.
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
from xgacmn_tf.paper.experiments import Experiment, in_workers
from xgacmn_tf.datasets.paired import PairedDataset, hold_out
from xgacmn_tf.errors import DivergenceError, InputError
from xgacmn_tf.io.files import read_json, write_json
from xgacmn_tf.settings.config import XGACMN, Config

FILE = "choice.json"
# Tuned runs of a system stand in a folder of their own, so that they never pass for untuned ones.
FOLDER = "tuned"


def tuned(cells: Sequence[Experiment], jobs: int) -> tuple[list[Experiment], dict[Experiment, str]]:
    """The cells with settings chosen on validation pairs, and those that could not be tuned.

    X-GACMN, whose settings stand in its flag files, and systems without a grid stay as they are.

    Args:
      cells: from `experiments.cells`.
      jobs: systems tuned at a time.

    Returns:
      The cells to run, in the same order; and cell → reason of those whose data cannot be read.
    """
    groups: dict[tuple[str, str], list[Experiment]] = {}
    for cell in cells:
        if cell.config.model != XGACMN and baselines.system(cell.config.model).grid:
            groups.setdefault((cell.label, cell.config.model), []).append(_moved(cell))
    tasks = [tuple(group) for group in groups.values()]
    found: dict[tuple[str, str, int], Experiment] = {}
    failed: dict[Experiment, str] = {}
    with tqdm(total=len(tasks), unit="choice") as bar:
        for group, result in in_workers(choose, tasks, jobs):
            bar.set_postfix_str(f"{group[0].label} {group[0].config.model}")
            bar.update()
            if isinstance(result, str):
                failed |= dict.fromkeys(group, result)
                continue
            for cell, settings in zip(group, result, strict=True):
                given = cell.config.model_settings
                config = dataclasses.replace(cell.config, model_settings=(*given, *settings))
                found[_key(cell)] = dataclasses.replace(cell, config=config)
    untuned = {_key(cell) for cell in failed}
    return [found.get(_key(c), c) for c in cells if _key(c) not in untuned], failed


def choose(cells: Sequence[Experiment]) -> list[tuple[str, ...]] | str:
    """The `model_settings` of each cell, or why there are none.

    Args:
      cells: one system on one data set, a cell for each seed.
    """
    path = cells[0].folder.path.parent / FILE
    system = baselines.system(cells[0].config.model)
    try:
        choices = _read(path, system)
        return [_settings(cell.config, system, choices, path) for cell in cells]
    except InputError as error:
        return str(error)


def _settings(
    config: Config, system: System, choices: list[dict[str, Any]], path: Path
) -> tuple[str, ...]:
    """A cell's settings from the choices; one that is missing is made and kept first."""
    for choice in choices:
        if config.seed in choice["seeds"]:
            return tuple(choice["settings"])

    from xgacmn_tf import datasets

    dataset = datasets.for_config(dataclasses.replace(config, validation_fraction=0.0))
    for choice in choices:
        if choice["data_fingerprint"] == dataset.fingerprint:
            choice["seeds"].append(config.seed)
            break
    else:
        points = scores(config, system, dataset, grid_points(system))
        choice = {
            "seeds": [config.seed],
            "data_fingerprint": dataset.fingerprint,
            "settings": list(best(points)),
            "points": points,
        }
        choices.append(choice)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "model": config.model,
        "measure": "full-gallery mAP on the validation pairs",
        "similarity": config.headline(system.similarity),
        "grid": _plain(system.grid),
        "choices": choices,
    }
    write_json(path, record)
    return tuple(choice["settings"])


def grid_points(system: System) -> list[tuple[str, ...]]:
    """Every combination of the system's values, as `--model_settings`, the defaults first."""
    defaults = system.settings()
    values = []
    for name, tried in system.experiments.items():
        default = getattr(defaults, name)
        rest = [value for value in tried if value != default]
        values.append([f"{name}={value}" for value in (default, *rest)])
    return list(itertools.product(*values))


def best(points: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The settings with the highest score, the first of equals.

    Where no point could be fitted the defaults, with which the run says why.
    """
    scored = [point for point in points if "mAP" in point] or [points[0]]
    return tuple(max(scored, key=lambda p: p.get("mAP", {}).get("avg", 0.0))["settings"])


def scores(
    config: Config,
    system: System,
    dataset: PairedDataset,
    points: Sequence[tuple[str, ...]],
) -> list[dict[str, Any]]:
    """The scores of a system on validation pairs with each of several settings.

    Args:
      config: names the system and the share of the pairs that are held out; its seed draws them
        where the data set does not bring them, and all that is random in the training.
      system: the same.
      dataset: the data set; its test split is not read.
      points: settings, as `--model_settings` has them.

    Returns:
      {"settings", "mAP": {"i2t", "t2i", "avg"}} of each point, or {"settings", "error"}.
    """
    from xgacmn_tf.evaluation.retrieval import mean_average_precision
    from xgacmn_tf.runs.systems import fit_system, training_data

    dataset = hold_out(dataset, config.validation_fraction, config.seed)
    data = training_data(system, config, dataset)
    assert data.validation is not None
    image, text, targets = data.validation
    if system.transductive:
        # What the runs may read of the test pairs, the choice reads of the validation pairs.
        data = dataclasses.replace(data, unlabelled=(image, text))
    similarity = config.headline(system.similarity)
    found = []
    for settings in points:
        point: dict[str, Any] = {"settings": list(settings)}
        try:
            both = (*config.model_settings, *settings)
            encoder = fit_system(system, data, baselines.parse_settings(config.model, both))
            v, t = encoder.represent_pairs(image, text, similarity)
            point["mAP"] = mean_average_precision(v, t, targets)
        except (InputError, DivergenceError) as error:
            point["error"] = str(error)
        found.append(point)
    return found


def _read(path: Path, system: System) -> list[dict[str, Any]]:
    """The choices made so far."""
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
    if grid != _plain(system.grid):
        raise InputError(
            f"{path} holds choices among other values than this version tries; delete it and the "
            "runs beside it, or name a new --output_dir"
        )
    return choices


def _moved(cell: Experiment) -> Experiment:
    """The cell with its run in the folder of tuned ones."""
    path = cell.folder.path
    config = dataclasses.replace(cell.config, output_dir=str(path.parent / FOLDER / path.name))
    return dataclasses.replace(cell, config=config)


def _key(cell: Experiment) -> tuple[str, str, int]:
    return cell.label, cell.config.model, cell.config.seed


def _plain(grid: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """As JSON gives it back."""
    return json.loads(json.dumps({name: list(values) for name, values in experiments.items()}))
