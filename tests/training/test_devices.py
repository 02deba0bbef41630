"""Several devices and several machines: the same numbers as one device, and who writes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from xgacmn_tf import datasets, experiment
from xgacmn_tf.commands.train import RETRYABLE
from xgacmn_tf.devices import Devices, make_devices
from xgacmn_tf.errors import InputError, WorkerLostError
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.xgacmn import build_model
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import leaves

# Float32 sums in another order, over as many steps as these runs take.
BOUND = 1e-5
MIRRORED = """
import sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from xgacmn_tf import main
sys.argv = ["main", "--strategy=mirrored", *sys.argv[1:]]
main.main(sys.argv)
"""


@pytest.fixture(scope="module")
def settings(feature_file, small_networks):
    """Of a run of seconds on 90 made-up pairs; dropout on, so that random state matters."""
    return {
        **small_networks, "dataset": str(feature_file), "epochs": 6, "batch_size": 16,
        "image_dropout": 0.5, "text_dropout": 0.2, "generator_learning_rate": 3e-3,
        "validation_fraction": 0.2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def one_device(settings, tmp_path_factory):
    """The folder of the run on one device."""
    folder = tmp_path_factory.mktemp("one") / "run"
    experiment.run(Config.of(**settings, output_dir=str(folder)))
    return folder


def arguments(settings, folder):
    values = {**settings, "output_dir": folder}
    return [
        f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in values.items()
    ]


def assert_same_run(folder, other):
    """Codes agree, after the training that chose an epoch and after that on all pairs."""
    generator = np.random.default_rng(0)
    features = {"image": generator.normal(size=(30, 8)), "text": generator.normal(size=(30, 5))}
    for name in ("selected", "refitted"):
        one, two = (
            load_encoder(path / "checkpoints" / f"{name}.keras")(features)
            for path in (folder, other)
        )
        for modality in features:
            np.testing.assert_allclose(one[modality], two[modality], rtol=0, atol=BOUND)
    one, two = (json.loads((path / "metrics.json").read_text()) for path in (folder, other))
    assert one["best_epoch"] == two["best_epoch"]
    # Near ties may change places.
    assert one["test"]["dot"]["mAP"] == pytest.approx(two["test"]["dot"]["mAP"], abs=0.005)


class Workers:
    """The same command in two processes that know each other by TF_CONFIG."""

    def __init__(self, settings, folders):
        with socket.socket() as one, socket.socket() as two:
            for free in (one, two):
                free.bind(("127.0.0.1", 0))
            hosts = [f"127.0.0.1:{free.getsockname()[1]}" for free in (one, two)]
        self.processes = []
        for index, folder in enumerate(folders):
            task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            command = [sys.executable, "-m", "xgacmn_tf.main", "--strategy=multi_worker"]
            self.processes.append(
                subprocess.Popen(
                    [*command, *arguments(settings, folder)],
                    env={**os.environ, "TF_CONFIG": json.dumps(task)},
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )
            )  # fmt: skip

    def end(self):
        """Exit statuses, outputs and errors of both."""
        try:
            ends = [process.communicate(timeout=240) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return (
            [process.returncode for process in self.processes],
            *map(list, zip(*ends, strict=True)),
        )


@pytest.mark.slow
def test_two_devices_train_as_one(settings, one_device, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, *arguments(settings, tmp_path / "run")],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 replicas on 1 machine" in done.stdout
    assert_same_run(one_device, tmp_path / "run")


@pytest.mark.slow
def test_two_workers_train_as_one_and_the_chief_alone_writes(settings, one_device, tmp_path):
    statuses, outputs, errors = Workers(settings, [tmp_path / "run"] * 2).end()
    assert statuses == [0, 0], errors
    assert "2 replicas on 2 machines" in outputs[0]
    assert outputs[1] == ""
    assert_same_run(one_device, tmp_path / "run")


@pytest.mark.slow
def test_run_goes_on_after_the_death_of_a_worker(settings, one_device, tmp_path):
    folder = tmp_path / "run"
    long = {**settings, "epochs": 3000, "patience": 3000}
    workers = Workers(long, [folder] * 2)
    checkpoint = folder / "checkpoints" / "resume" / "checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    workers.processes[1].send_signal(signal.SIGKILL)
    statuses, _, errors = workers.end()
    assert statuses == [RETRYABLE, -signal.SIGKILL], errors
    assert "start the same command on all workers again" in errors[0].splitlines()[-1]

    # Both go on from there, to the end of a shorter run.
    began = int(re.search(r"ckpt-(\d+)", checkpoint.read_text())[1])
    assert began >= 1
    record = json.loads((folder / "config.json").read_text())
    record["settings"] |= {"epochs": began + 3, "patience": 3000}
    (folder / "config.json").write_text(json.dumps(record))
    statuses, _, errors = Workers({**long, "epochs": began + 3}, [folder] * 2).end()
    assert statuses == [0, 0], errors
    assert f"| {5 * began}/" in errors[0].replace("\r", "\n")  # five steps an epoch


@pytest.mark.slow
def test_workers_need_storage_that_they_share(settings, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    short = {**settings, "refit": False}
    assert Workers(short, folders).end()[0] == [0, 0]
    # The chief finds its run finished; the other has nothing, believes it and is done as well.
    assert not folders[1].exists()
    (folders[0] / "metrics.json").unlink()
    statuses, _, errors = Workers(short, folders).end()
    assert statuses == [2, 2], errors
    assert "storage that all workers share" in errors[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "TF_CONFIG, which is not set"),
        ("{", "found JSONDecodeError"),
        ("[]", "found TypeError"),
        ('{"cluster": {"worker": ["a:1"]}}', "found KeyError: 'task'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "worker 1"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "chief 0"),
        (
            '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "ps in the cluster",
        ),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}', "2 ch"),
    ],
)
def test_wrong_tf_config_is_named(monkeypatch, value, expected):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(InputError, match=re.escape(expected)):
        make_devices("multi_worker")


def test_several_workers_come_before_everything_else_in_a_process(monkeypatch):
    task = {"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    Devices().gather([0])  # TensorFlow has run something.
    with pytest.raises(InputError, match="new process"):
        make_devices("multi_worker")


def test_batch_is_cut_into_equal_shares():
    devices = Devices()
    devices.replicas = 4
    assert devices.batch_size(64, rows=1000) == 64
    assert devices.batch_size(64, rows=31) == 28
    with pytest.raises(InputError, match="--batch_size=6 is shared among 4 replicas"):
        devices.batch_size(6, rows=1000)
    with pytest.raises(InputError, match="use fewer devices"):
        devices.batch_size(64, rows=3)


def test_workers_cut_every_batch_into_parts(settings):
    config = Config.of(**settings)
    dataset = datasets.for_config(config)
    model = build_model(config, dataset)

    def rows(worker, workers):
        devices = Devices()
        devices.worker, devices.workers = worker, workers
        return dataset.train.batches(16).rows(model, devices).begin(epoch=2).numpy()

    whole, parts = rows(0, 1), [rows(worker, 4) for worker in range(4)]
    assert whole.shape == (4, 16)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_workers_that_disagree_are_named(monkeypatch):
    devices = Devices()
    monkeypatch.setattr(devices, "gather", lambda values: np.array([[7.0], [7.0], [8.0]]))
    with pytest.raises(InputError, match="worker 2 has other data than worker 0; copy them"):
        devices.agree("data", "ab" * 32, "copy them")


def test_one_device_passes_errors_of_tensorflow_on():
    import tensorflow as tf

    lost = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: reset by peer")
    with pytest.raises(tf.errors.UnavailableError), Devices().watched():
        raise lost
    several = Devices()
    several.workers = 2
    with pytest.raises(WorkerLostError, match="reset by peer"), several.watched():
        raise lost


def test_xla_and_other_strategies_exclude_each_other():
    with pytest.raises(InputError, match="--strategy=mirrored"):
        Config.of(strategy="mirrored", jit_compile=True)


def test_tfjob_gives_the_flags_and_the_policy_that_a_restart_needs():
    yaml = pytest.importorskip("yaml")
    path = Path(__file__).parents[2] / "export" / "training" / "tfjob.yaml"
    job = yaml.safe_load(path.read_text())
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    assert worker["restartPolicy"] == "ExitCode"
    assert RETRYABLE > 127  # which is what that policy restarts
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "tensorflow"
    names = [argument.removeprefix("--").split("=")[0] for argument in container["args"]]
    assert {"strategy", "output_dir", "dataset"} <= set(names)
    assert not set(names) - {leaf.name for leaf in leaves(Config)}
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    output = next(a for a in container["args"] if a.startswith("--output_dir="))
    assert any(output.removeprefix("--output_dir=").startswith(mount) for mount in mounts)
