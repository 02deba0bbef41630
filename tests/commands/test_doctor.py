"""`xgacmn doctor`: its report, and the checks of a machine."""

import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.commands import doctor, machine_check
from xgacmn_tf.commands.machine_check import Check, _same_losses, _Training


def test_it_names_versions_devices_and_what_is_missing(call, monkeypatch):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda n: None if n == "faiss-cpu" else version(n))
    done = call(doctor.main)
    assert done.returncode == 0
    assert re.search(r"tensorflow 2\.\d+", done.stdout) and "CPU cores" in done.stdout
    assert re.search(r"faiss +missing: pip install 'xgacmn_tf\[faiss\]'", done.stdout)
    assert re.search(r"sift +ok", done.stdout)
    assert "\nchecks\n" not in done.stdout


def test_an_argument_it_does_not_know_is_an_error(call):
    done = call(doctor.main, "chekc")
    assert done.returncode == 2 and done.stderr.startswith("error: 'chekc'")


def test_the_report_has_no_keys_and_no_name_of_the_home_folder(call, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "jane"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "jane" / "keras"))
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    for name in ("XGACMN_API_KEY", "NVIDIA_API_KEY", "TF_VAR_password", "TF_TOKEN_host"):
        monkeypatch.setenv(name, "secret")
    report = call(doctor.main).stdout
    assert "  TF_ENABLE_ONEDNN_OPTS=0\n" in report and "  KERAS_HOME=~/keras\n" in report
    assert "secret" not in report and "jane" not in report


def fake_nvidia_smi(folder, monkeypatch, script):
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow finds a GPU")
@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for nvidia-smi is a shell script")
def test_a_gpu_that_tensorflow_does_not_find_is_named(tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, monkeypatch, "echo 'Some GPU, 550.1, 8000 MiB, 10 MiB'")
    assert doctor.devices()[-2:] == [
        "nvidia-smi: Some GPU, 550.1, 8000 MiB, 10 MiB",
        "TensorFlow does not find this GPU; see docs/gpu.md",
    ]
    fake_nvidia_smi(tmp_path, monkeypatch, "exit 9")
    assert "nvidia-smi: CalledProcessError" in doctor.devices()


def test_the_checks_pass_and_a_wrong_result_is_status_1(call, monkeypatch):
    monkeypatch.setattr(machine_check, "PAIRS", 128)
    done = call(doctor.main, "--check")
    lines = done.stdout.partition("\nchecks\n")[2].splitlines()
    assert done.returncode == 0, done.stdout
    assert all(line.startswith("  ok ") for line in lines[:-1]) and "all passed" in lines[-1]
    for name in ("matrix product", "training", "two equal trainings", "export"):
        assert any(name in line for line in lines)

    failing = [Check("first", True, "fine"), Check("second", False, "broken")]
    monkeypatch.setattr(machine_check, "checks", lambda: iter(failing))
    done = call(doctor.main, "--check")
    assert done.returncode == 1
    assert "  FAILED second: broken\n  1 failed" in done.stdout


def test_a_product_in_half_precision_fails(monkeypatch):
    exact = tf.linalg.matmul
    monkeypatch.setattr(
        tf.linalg, "matmul", lambda a, b: tf.cast(tf.cast(exact(a, b), tf.bfloat16), tf.float32)
    )
    passed, detail = machine_check._matrix_product("/device:CPU:0")
    assert not passed and detail.startswith("relative error 1")


def test_an_error_of_a_check_is_its_result():
    def check() -> tuple[bool, str]:
        raise ValueError("first line\nsecond line")

    assert machine_check._caught("name", check) == Check("name", False, "ValueError: first line")


@pytest.mark.parametrize(
    ("loss", "passed"), [(100.0, True), (100.05, True), (101.0, False), (np.nan, False)]
)
def test_losses_on_another_device_may_differ_by_rounding_alone(loss, passed):
    trained = {
        name: _Training(None, {"G/loss": value, "D/loss": 2.0}, 5.0)
        for name, value in (("CPU:0", 100.0), ("CPU:1", loss))
    }
    assert _same_losses(trained, "CPU:1")[0] == passed
    assert _same_losses({"CPU:0": trained["CPU:1"]}, "CPU:0")[0] == np.isfinite(loss)


@pytest.mark.slow
def test_every_device_is_checked(tmp_path):
    code = """
        import tensorflow as tf
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        from xgacmn_tf.commands import doctor
        doctor.main(["doctor", "--check"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "relative difference to CPU:0" in done.stdout and "on CPU:1" in done.stdout
