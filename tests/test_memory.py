"""Memory of a process that trains one run after another."""

import subprocess
import sys

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from xgacmn_tf.model.adversarial import _branches
from xgacmn_tf.model.optimizers import FusedAdam

# Resident memory in MiB after each of six runs.
PROGRAM = """
import gc, sys
from pathlib import Path
import keras
from xgacmn_tf import experiment
from xgacmn_tf.settings.config import Config

for seed in range(6):
    config = Config.of(dataset=sys.argv[1], epochs=2, seed=seed, output_dir=f"{sys.argv[2]}/{seed}")
    experiment.run(config)
    keras.backend.clear_session()
    gc.collect()
    print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20, flush=True)
"""


def test_branches_leave_no_graph_in_a_registry_of_tensorflow():
    before = len(ops.gradient_registry.list())

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.add_n([(k + 1) * branch for k, branch in enumerate(_branches(x, 3))])
        return tape.gradient(total, x)

    assert gradient(tf.ones([2, 2])).numpy().tolist() == [[6, 6], [6, 6]]
    assert len(ops.gradient_registry.list()) == before


def test_updates_leave_no_graph_in_a_registry_of_tensorflow():
    optimizer, weight = FusedAdam(0.1), keras.Variable([1.0, 2.0])
    optimizer.build([weight])
    before = len(ops.gradient_registry.list())

    @tf.function
    def step():
        optimizer.apply([tf.ones(2)], [weight])

    step()
    assert weight.numpy().tolist() == pytest.approx([0.9, 1.9], abs=1e-5)
    assert len(ops.gradient_registry.list()) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_is_flat_over_runs_in_one_process(feature_file, tmp_path):
    """It used to grow by 50 MiB a run."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, feature_file, tmp_path],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    memory = [float(line) for line in done.stdout.split()]
    # The first run imports and the second one fills caches of their own.
    assert memory[-1] - memory[1] < 60, memory
