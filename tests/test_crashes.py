"""A run that is killed, stopped or out of space loses nothing, and ends with the same numbers."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.run_metrics import metrics_without_times
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config

KILLS = 60
SMALL = (
    "--encoder_hidden=16,8", "--code_dim=6", "--feature_discriminator_hidden=12",
    "--common_discriminator_hidden=5", "--batch_size=16", "--validation_fraction=0.2",
)  # fmt: skip


def curves(folder):
    """Every scalar of a run by tag, as (step, value)."""
    found = {}
    for part in ("tensorboard", "tensorboard/refit"):
        events = EventAccumulator(str(folder / part), size_guidance={"tensors": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            if not tag.startswith("_hparams_"):
                found[part, tag] = [
                    (event.step, tf.make_ndarray(event.tensor_proto).item())
                    for event in events.Tensors(tag)
                    if event.tensor_proto.dtype == tf.float32.as_datatype_enum
                ]
    return found


def assert_same_to_the_bit(folder, whole):
    assert metrics_without_times(folder) == metrics_without_times(whole)
    for name in ("embeddings.npz", "per_query.npz"):
        with np.load(folder / name) as one, np.load(whole / name) as two:
            assert one.files == two.files
            for key in one.files:
                np.testing.assert_array_equal(one[key], two[key])
    for name in ("best", "selected", "refitted"):
        path = Path("checkpoints") / f"{name}.keras"
        one, two = (load_encoder(run / path).get_weights() for run in (folder, whole))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
    assert curves(folder) == curves(whole)
    served = [tf.saved_model.load(str(run / "models" / "xgacmn" / "1")) for run in (folder, whole)]
    features = tf.constant(np.random.default_rng(0).normal(size=(5, 8)), tf.float32)
    one, two = (model.signatures["encode_image"](image_features=features) for model in served)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    # What a server takes for versions.
    assert [path.name for path in (folder / "models" / "xgacmn").glob("[0-9]*")] == ["1"]
    assert not list(folder.rglob(".*.partial*"))


@pytest.mark.slow
def test_killed_again_and_again_ends_with_the_same_numbers(feature_file, tmp_path):
    script = Path(__file__).with_name("crashes.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, feature_file, str(KILLS)],
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert sum(found["kills"].values()) == KILLS
    assert min(found["kills"].values()) >= 5, found
    for run in range(found["runs"]):
        assert_same_to_the_bit(tmp_path / f"killed_{run}", tmp_path / "whole")


def test_a_run_that_goes_on_sweeps_what_killed_ones_left(tmp_path):
    folder, config, host = RunFolder(tmp_path), Config(), socket.gethostname()
    folder.claim(config, "data")
    gone = subprocess.Popen(["true"])
    gone.wait()
    version = folder.models / "xgacmn" / f".1.{host}-{gone.pid}.partial"
    (version / "variables").mkdir(parents=True)
    left = [folder.best.with_name(f".best.{host}-{gone.pid}.partial.keras"), version]
    others = [tmp_path / f".metrics.{name}.partial.json" for name in ("elsewhere-7", "7")]
    kept = [tmp_path / f".metrics.{host}-{os.getpid()}.partial.json", *others, folder.config]
    for path in (left[0], *kept[:-1]):
        path.touch()
    folder.claim(config, "data")
    assert [path.exists() for path in left] == [False, False]
    assert all(path.exists() for path in kept), "their writers may live, here or elsewhere"
    for path in others:
        os.utime(path, (0, 0))
    folder.claim(config, "data")
    assert [path.exists() for path in kept] == [True, False, False, True]


def command(feature_file, folder, *more):
    return [
        sys.executable, "-m", "xgacmn_tf.main", f"--dataset={feature_file}",
        f"--output_dir={folder}", *SMALL, *more,
    ]  # fmt: skip


def after(statement, arguments):
    """Return a command that executes a statement and then becomes another Python command.

    `preexec_fn` runs between fork and exec, where a child of a process with threads can hang.
    """
    program = (
        f"import os, resource, signal, sys; {statement}; os.execv(sys.executable, sys.argv[1:])"
    )
    return [sys.executable, "-c", program, *arguments]


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [
        (signal.SIGTERM, 143, "terminated"),
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.slow),
    ],
)
def test_asked_to_end_it_says_how_to_go_on(feature_file, tmp_path, number, status, word):
    folder = tmp_path / "run"
    long = command(feature_file, folder, "--epochs=100000", "--patience=100000")
    # Progress bars would fill a pipe that nobody reads, and the run would wait for its reader.
    with (tmp_path / "errors").open("wb") as errors:
        # A shell that runs these tests in the background has its children ignore Ctrl-C.
        process = subprocess.Popen(
            after(f"signal.signal({int(number)}, signal.SIG_DFL)", long),
            stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (folder / "checkpoints/resume/checkpoint").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(timeout=60) == status
    finally:
        process.kill()
        process.wait()
    last = (tmp_path / "errors").read_text().splitlines()[-1]
    assert last == f"error: {word}; repeat the command to resume from the last checkpoint"
    assert tf.train.latest_checkpoint(str(folder / "checkpoints" / "resume"))


@pytest.mark.slow
def test_full_disk_is_one_error_and_the_run_goes_on_later(feature_file, call_main, tmp_path):
    """A limit on the size of files stands for the disk: writing more fails in the same places."""
    folder = tmp_path / "run"
    short = command(feature_file, folder, "--epochs=3", "--noexport")
    # Python ignores SIGXFSZ, so that writing fails with an error.
    limited = after("resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))", short)
    done = subprocess.run(limited, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr[-2000:]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "could not be written" in last, last
    assert "Traceback" not in done.stderr
    assert not (folder / "metrics.json").exists()
    assert not list(folder.rglob("*.partial*"))
    again = call_main(*short[3:])  # without the interpreter and the module
    assert again.returncode == 0, again.stderr[-2000:]
    assert (folder / "metrics.json").exists()


# Root may write anywhere, but for the capability to do so.
AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_folder_that_may_not_be_written_is_named(feature_file, tmp_path):
    tmp_path.chmod(0o500)
    before = AS_ANYBODY if os.geteuid() == 0 else []
    if before and (
        shutil.which("setpriv") is None
        or subprocess.run([*before, "test", "-w", tmp_path]).returncode != 1
    ):
        pytest.skip("root may write anywhere, and setpriv cannot take that away")
    done = subprocess.run(
        [*before, *command(feature_file, tmp_path / "run")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "cannot be written" in done.stderr.splitlines()[-1]
