"""Experiments: one system on one data set with one seed, each in a run folder of its own."""

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

from xgacmn_tf import baselines
from xgacmn_tf.baselines.settings import MAP_FLAGS, MapSettings
from xgacmn_tf.errors import DivergenceError, InputError
from xgacmn_tf.names import OWN_METHOD, SYSTEMS, XGACMN, model_name
from xgacmn_tf.nearest import did_you_mean
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.command_line import config_from_flags, define_flags
from xgacmn_tf.settings.config import Config, of_xgacmn_alone
from xgacmn_tf.settings.fields import leaves
from xgacmn_tf.settings.sections import DataSettings
from xgacmn_tf.settings.xgacmn_sections import XGACMNSettings

Task = TypeVar("Task")
Result = TypeVar("Result")

ALL_MODELS = (XGACMN, *SYSTEMS)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run of a comparison.

    Attributes:
      label: name of the data set or flag file; tables and folders are named after it.
      config: the settings, with the run folder.
    """

    label: str
    config: Config

    @property
    def model(self) -> str:
        """The system, as --model names it."""
        return self.config.system.model

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.config.output.output_dir or "")


def title(model: str) -> str:
    """The name of a system in tables and legends."""
    return "X-GACMN" if model == XGACMN else baselines.system(model).title


def choose_models(names: Sequence[str]) -> tuple[str, ...]:
    """Return the systems that `--models` names; "all" stands for those of this package.

    "all" leaves raw features out, which need images and texts in one space.

    Files of the user's own systems are executed, so that mistakes end a command before any run.

    Raises:
      InputError: a name is unknown, there is none, or a file has no such system.
    """
    every = [model for model in ALL_MODELS if model != "raw"]
    expanded = [model for name in names for model in (every if name == "all" else (name,))]
    unknown = [name for name in expanded if name not in ALL_MODELS and not OWN_METHOD.match(name)]
    if unknown or not expanded:
        near = did_you_mean(unknown[0], ALL_MODELS) if unknown else ""
        raise InputError(
            f"--models={','.join(names)}: expected all, or some of {', '.join(ALL_MODELS)} and "
            f"path/to/file.py:NAME of your own methods{near}"
        )
    for name in filter(OWN_METHOD.match, expanded):
        baselines.system(name)
    return tuple(dict.fromkeys(expanded))


def plan(
    models: Sequence[str],
    specifications: Sequence[str],
    seeds: int,
    data_dir: str | None,
    output_dir: Path,
) -> list[Experiment]:
    """Return all experiments, by data set, then seed, then system.

    Args:
      models: names of systems.
      specifications: data sets as `--dataset` takes them, or flag files that name one. The other
        settings of a flag file apply to X-GACMN; the compared systems take only those that are
        not X-GACMN's own, and the input maps if they have settings of that name.
      seeds: number of seeds 0, 1, ….
      data_dir: folder of the data sets' files.
      output_dir: folder above the run folders.
    """
    experiments = []
    for specification in specifications:
        base, label = settings_of(specification, data_dir), Path(specification).stem
        for seed in range(seeds):
            for model in models:
                folder = output_dir / "runs" / label / model_name(model) / f"seed_{seed}"
                config = _config(base, model, seed=seed, output_dir=str(folder), export=False)
                experiments.append(Experiment(label, config))
    return experiments


def settings_of(specification: str, data_dir: str | None) -> Config:
    """Return the settings of a data set's name, a flag file or the name of one of the package.

    Raises:
      InputError: the flag file is missing or invalid.
    """
    if specification.endswith(flag_files.SUFFIX) or specification in flag_files.names():
        values = flags.FlagValues()
        define_flags(values)
        try:
            values(["", *flag_files.expand([f"--flagfile={specification}"])])
        except flags.Error as error:
            raise InputError(f"{specification}: {error}") from error
        config = config_from_flags(values)
    else:
        config = Config.of(dataset=specification)
    return config if data_dir is None else config.replace(data_dir=data_dir)


def _config(base: Config, model: str, **settings: Any) -> Config:
    """The settings of one experiment; a compared system has the defaults of X-GACMN's own."""
    if model != XGACMN:
        own = {leaf.name: leaf.default for leaf in leaves(Config) if of_xgacmn_alone(leaf)}
        settings |= own | {
            "similarity": "auto",
            "validation_fraction": DataSettings.validation_fraction,
            "model_settings": _map_settings(base, model),
        }
    return base.replace(model=model, **settings)


def _map_settings(base: Config, model: str) -> tuple[str, ...]:
    """The input maps that a flag file sets for X-GACMN, as settings of a system that has them."""
    changed = [n for n in MAP_FLAGS if getattr(base.model, n) != getattr(XGACMNSettings, n)]
    if not changed or not issubclass(baselines.system(model).settings, MapSettings):
        return ()
    return tuple(f"{name}={getattr(base.model, name)}" for name in changed)


def run(experiments: Sequence[Experiment], jobs: int) -> dict[Experiment, str]:
    """Run the unfinished experiments; one that fails does not stop the others.

    Args:
      experiments: which.
      jobs: number of workers.

    Returns:
      Failed experiment → error.
    """
    open_ones = [experiment for experiment in experiments if not experiment.folder.is_finished()]
    failed: dict[Experiment, str] = {}
    done = len(experiments) - len(open_ones)
    with tqdm(total=len(experiments), initial=done, unit="run") as bar:
        for experiment, error in in_workers(_run, open_ones, jobs):
            seed = experiment.config.seed
            bar.set_postfix_str(f"{experiment.label} {experiment.model} seed {seed}")
            bar.update()
            if error:
                failed[experiment] = error
    return failed


def _run(experiment: Experiment) -> str:
    """Run one experiment in a worker; return its error, or an empty string."""
    from xgacmn_tf.experiment import run

    try:
        run(experiment.config)
    except (InputError, DivergenceError) as error:
        return str(error)
    except Exception as error:
        if not OWN_METHOD.match(experiment.model):
            raise
        return f"{type(error).__name__}: {error}"
    return ""


def in_workers(
    function: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result]]:
    """Call a function for each task in worker processes.

    Args:
      function: a module-level function, which a new interpreter can import.
      tasks: its arguments, started in this order.
      jobs: number of workers, which share the cores.

    Yields:
      Each task and its result, in the order in which they finish.
    """
    # TensorFlow does not survive a fork, so each worker is a new interpreter.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with (
        _environment(TQDM_DISABLE="1", OMP_NUM_THREADS=str(threads)),
        ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool,
    ):
        try:
            running: dict[Future[Any], Task] = {pool.submit(function, task): task for task in tasks}
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # A signal that ends this process alone does not reach the workers.
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables that workers read when they start."""
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
    # One process runs many experiments, and TensorFlow warns that each traces its own functions.
    tf.get_logger().setLevel("ERROR")
