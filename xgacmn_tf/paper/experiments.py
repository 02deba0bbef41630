"""The cells of a comparison: every system on every data set with every seed, each a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from absl import flags
from tqdm import tqdm

from xgacmn_tf.baselines import system
from xgacmn_tf.baselines.input_maps import MAP_FLAGS, MapSettings
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import SYSTEMS
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.command_line import config_from_flags, define_flags
from xgacmn_tf.settings.config import XGACMN, Config

Task = TypeVar("Task")
Result = TypeVar("Result")

ALL_MODELS = (XGACMN, *SYSTEMS)
# What compared systems hold out for epochs or calibration, where there is no validation split.
_SHARE = Config.validation_fraction


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run: `label` is the data set as it was named, `config` says the rest."""

    label: str
    config: Config

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.config.output_dir or "")


def choose_models(names: Sequence[str]) -> tuple[str, ...]:
    """The systems of `--models`, "all" standing for all of them."""
    if list(names) == ["all"]:
        return ALL_MODELS
    unknown = [name for name in names if name not in ALL_MODELS]
    if unknown or not names:
        raise InputError(
            f"--models={','.join(names)}: expected all, or some of {', '.join(ALL_MODELS)}"
        )
    return tuple(dict.fromkeys(names))


def cells(
    models: Sequence[str],
    specifications: Sequence[str],
    seeds: int,
    data_dir: str | None,
    output_dir: Path,
) -> list[Experiment]:
    """All runs, data set by data set, seed by seed.

    Args:
      models: names of systems.
      specifications: data sets as `--dataset` takes them, or flag files that name one. A flag
        file's other settings are X-GACMN's; the compared systems take only those that all share,
        and the input maps where they have settings of that name.
      seeds: each cell is run with the seeds 0, 1, …, seeds − 1.
      data_dir: for data sets that need files.
      output_dir: holds the run folders.
    """
    found = []
    for specification in specifications:
        base = _settings(specification)
        label = Path(specification).stem
        for seed in range(seeds):
            for model in models:
                found.append(
                    Experiment(label, _cell(base, model, seed, data_dir, output_dir / "runs" / label))
                )
    return found


def run(todo: Sequence[Experiment], jobs: int) -> dict[Experiment, str]:
    """Runs what is not finished, `jobs` at a time; returns the cells that failed, with the reason.

    A cell that cannot be run (features without a common dimension, say) does not stop the others.
    """
    open_cells = [cell for cell in todo if not cell.folder.is_finished()]
    failed: dict[Experiment, str] = {}
    with tqdm(total=len(todo), initial=len(todo) - len(open_cells), unit="run") as bar:
        for cell, error in in_workers(_run_cell, open_cells, jobs):
            bar.set_postfix_str(f"{cell.label} {cell.config.model} seed {cell.config.seed}")
            bar.update()
            if error:
                failed[cell] = error
    return failed


def in_workers(
    function: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result]]:
    """Each task and what `function` makes of it in another process, as they end.

    Args:
      function: a module's own, which a new interpreter can import.
      tasks: its arguments; what stands first is begun first.
      jobs: processes, which share the cores.
    """
    # A new interpreter for each worker: TensorFlow does not survive a fork.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with (
        _environment(TQDM_DISABLE="1", TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS=str(threads)),
        ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool,
    ):
        running: dict[Future[Any], Task] = {pool.submit(function, task): task for task in tasks}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Sets variables that workers read when they start: one bar for all cells, among others."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One process runs many cells, and TensorFlow warns that each traces functions of its own.
    tf.get_logger().setLevel("ERROR")


def _run_cell(cell: Experiment) -> str:
    """Runs one cell in a worker; returns why it failed, or nothing."""
    from xgacmn_tf import experiment
    from xgacmn_tf.errors import DivergenceError

    try:
        experiment.run(cell.config, lambda text: None)
    except (InputError, DivergenceError) as error:
        return str(error)
    return ""


def _settings(specification: str) -> Config:
    """The settings that a data set's name or a flag file stands for."""
    if not specification.endswith(".flags"):
        return Config(dataset=specification)
    values = flags.FlagValues()
    define_flags(values)
    try:
        values(["", *flag_files.expand([f"--flagfile={specification}"])])
    except flags.Error as error:
        raise InputError(f"{specification}: {error}") from error
    return config_from_flags(values)


def _cell(base: Config, model: str, seed: int, data_dir: str | None, folder: Path) -> Config:
    settings: dict[str, Any] = {
        "model": model,
        "seed": seed,
        "output_dir": str(folder / model / f"seed_{seed}"),
        "export": False,
    }
    if data_dir is not None:
        settings["data_dir"] = data_dir
    if model != XGACMN:
        own = {f.name: f.default for f in dataclasses.fields(Config) if f.metadata["own"]}
        settings |= own | {"similarity": "auto", "validation_fraction": _SHARE}
        settings["model_settings"] = _map_settings(base, model)
    return dataclasses.replace(base, **settings)


def _map_settings(base: Config, model: str) -> tuple[str, ...]:
    """The input maps that a flag file gives X-GACMN, as settings of a system that shares them."""
    changed = [name for name in MAP_FLAGS if getattr(base, name) != getattr(Config, name)]
    if not changed or not issubclass(system(model).settings, MapSettings):
        return ()
    return tuple(f"{name}={getattr(base, name)}" for name in changed)
