"""Fixtures shared by several test files, and the setup of pytest-xdist's workers."""

import os

# The workers share the cores, so each operation has one thread, and so it is in the processes that
# they start. TensorFlow and the BLAS libraries read these variables when they are imported. With
# one thread for all operations together, about one long training in ten waited for itself.
os.environ |= {
    "TF_NUM_INTRAOP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
} | os.environ

import contextlib
import gc
import io
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import flags

from tests.log_lines import logged_lines
from tests.raw_pairs import raw_pairs  # noqa: F401
from xgacmn_tf.commands import train
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.command_line import config_from_flags, define_flags
from xgacmn_tf.settings.config import Config

REPOSITORY = Path(__file__).resolve().parent.parent

# The number of damaged or hostile inputs by their kind.
TRIED: Counter[str] = Counter()


@pytest.fixture(scope="session")
def tried() -> Counter[str]:
    """Counts hostile inputs by kind, for a line at the end of the tests."""
    return TRIED


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tried"] = dict(TRIED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Adds the counts of a worker to those of the process that prints them."""
    # A worker that crashed has no output.
    TRIED.update(getattr(node, "workeroutput", {}).get("tried", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(TRIED.items()))
        terminalreporter.write_line(f"hostile inputs tried: {TRIED.total():,} ({kinds})")


def pytest_collection_finish() -> None:
    # Modules live until the end; the collector need not visit their objects again and again.
    gc.freeze()


Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def call() -> Call:
    """Calls a command's `main(argv)` in this process, with the result that a process would have."""

    def call(main: Callable[[list[str]], None], *arguments: object) -> Any:
        command, status = ["command", *map(str, arguments)], 0
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                main(command)
            except SystemExit as end:
                status = int(end.code or 0)
        return subprocess.CompletedProcess(command, status, output.getvalue(), errors.getvalue())

    return call


@pytest.fixture(scope="session")
def call_main(call) -> Call:
    """Calls `xgacmn_tf.main` in this process, as `call` does."""

    return lambda *arguments: call(train.main, *arguments)


@pytest.fixture(scope="session")
def without_workers() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Makes a context in which commands train in this process rather than in workers."""

    def in_this_process(function: Any, tasks: Any, jobs: int) -> Iterator[Any]:
        for task in tasks:
            yield task, function(task)

    @contextlib.contextmanager
    def without_workers() -> Iterator[None]:
        from xgacmn_tf.paper import experiments, tuning

        with pytest.MonkeyPatch.context() as patch:
            for module in (tuning, experiments):
                patch.setattr(module, "in_workers", in_this_process)
            yield

    return without_workers


@pytest.fixture(scope="session")
def wikipedia_dir() -> Path:
    """The folder of the Wikipedia data set's files, or a skip that says how to name one."""
    data = os.environ.get("XGACMN_DATA")
    folder = Path(data) if data else REPOSITORY.parent / "shared" / "data"
    folder = folder / "wikipedia"
    if not folder.is_dir():
        pytest.skip(f"no Wikipedia data at {folder}; XGACMN_DATA names the folder above wikipedia/")
    return folder


@pytest.fixture(scope="session")
def small_networks() -> dict[str, Any]:
    """Settings of `Config` that make networks of a few units, for whole runs in a second."""
    return {
        "encoder_hidden": (16, 8),
        "code_dim": 6,
        "feature_discriminator_hidden": 12,
        "common_discriminator_hidden": 5,
        "item_hidden": (12,),
        "item_dim": 4,
        "item_members": 2,
    }


@pytest.fixture
def parse():
    """Makes the `Config` of a command line."""

    def parse(*arguments: str) -> Config:
        # absl wants one registry for a program; a fresh one keeps tests apart.
        values = flags.FlagValues()
        define_flags(values)
        values(["main", *flag_files.expand(arguments)])
        return config_from_flags(values)

    return parse


@pytest.fixture
def make_split():
    """Makes a small valid split; keywords replace its arrays."""

    def make(prefix: str = "train", rows: int = 6, classes: int = 3, **arrays) -> Split:
        generator = np.random.default_rng(len(prefix))
        fields = {
            "image": generator.normal(size=(rows, 4)),
            "text": generator.normal(size=(rows, 2)),
            "label": np.arange(rows) % classes,
            "id": np.array([f"{prefix}-{row}" for row in range(rows)]),
        }
        return Split(**{**fields, **arrays})

    return make


@pytest.fixture(scope="session")
def feature_file(tmp_path_factory) -> Path:
    """Features of one's own: 90 + 30 made-up pairs of 3 categories that can be learned."""
    generator = np.random.default_rng(0)
    centres = {"image": generator.normal(size=(3, 8)), "text": generator.normal(size=(3, 5))}
    arrays = {"label_names": np.array(["cat", "dog", "bird"])}
    for split, rows in (("train", 90), ("test", 30)):
        arrays[f"label_{split}"] = np.arange(rows) % 3
        for modality, centre in centres.items():
            noise = generator.normal(size=(rows, centre.shape[1]))
            arrays[f"{modality}_{split}"] = centre[arrays[f"label_{split}"]] + noise
    path = tmp_path_factory.mktemp("features") / "pairs.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def finished_run(feature_file, small_networks, tmp_path_factory) -> tuple[Path, Config, str]:
    """The folder, the settings and the log of a run on `feature_file`, to be read only."""
    from xgacmn_tf import experiment

    folder = tmp_path_factory.mktemp("runs") / "run"
    config = Config.of(
        dataset=str(feature_file), output_dir=str(folder), epochs=2, batch_size=16,
        histograms=True, validation_fraction=0.2, image_map="zscore", **small_networks,
    )  # fmt: skip
    with logged_lines() as lines:
        experiment.run(config)
    return folder, config, "\n".join(lines)


@pytest.fixture(scope="session")
def histogram_file(feature_file) -> Path:
    """The same pairs with features that no map refuses: non-negative, rows adding up to 1."""
    with np.load(feature_file) as arrays:
        arrays = dict(arrays)
    for name, values in arrays.items():
        if name.startswith(("image", "text")):
            weights = np.exp(values)
            arrays[name] = weights / weights.sum(axis=1, keepdims=True)
    path = feature_file.with_name("histograms.npz")
    np.savez(path, **arrays)
    return path
