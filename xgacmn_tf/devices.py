"""The devices of a training: one device, all GPUs of a machine, or several machines.

Both ways of `tf.distribute` train in step: every replica holds the whole model and takes its share
of each batch, gradients are averaged, and all replicas make the same update. A batch is cut by rows
and means over it stay means, so the numbers are those of one device but for rounding.

Several machines find each other through the environment variable `TF_CONFIG`, which Kubernetes'
TFJob sets by itself. All workers run the same command; the first of them, the chief, alone writes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.errors import InputError, WorkerLostError

_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


class Devices:
    """The replicas of a run, and this process's part in them.

    Args:
      strategy: of `tf.distribute`; None for one device.

    Attributes:
      replicas: number of copies of the model that train in step, on all workers together.
      workers: number of processes that take part.
      worker: the index of this process among them, in [0, workers).
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        self.strategy = strategy or tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        resolver = self.strategy.cluster_resolver if strategy else None
        members = resolver.cluster_spec().as_dict() if resolver else {}
        chiefs = len(members.get("chief", []))
        self.workers = max(1, chiefs + len(members.get("worker", [])))
        self.worker = 0
        if resolver and resolver.task_type == "worker":
            self.worker = chiefs + resolver.task_id

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.worker == 0

    @property
    def description(self) -> str:
        """Phrase such as "; 4 replicas on 2 machines"; empty for a single replica."""
        if self.replicas == 1:
            return ""
        machines = "1 machine" if self.workers == 1 else f"{self.workers} machines"
        return f"; {self.replicas} replicas on {machines}"

    @property
    def share(self) -> int:
        """Number of replicas of this worker."""
        return self.replicas // self.workers

    def batch_size(self, wanted: int, rows: int) -> int:
        """Return the number of rows of a batch of all replicas.

        That is the wanted number, or fewer if there are not as many rows.

        Raises:
          InputError: if a batch cannot be cut into equal shares.
        """
        if wanted % self.replicas:
            raise InputError(
                f"--batch_size={wanted} is shared among {self.replicas} replicas; expected a "
                f"multiple of {self.replicas}"
            )
        if rows < self.replicas:
            raise InputError(
                f"{rows} training pairs cannot be shared among {self.replicas} replicas; use "
                "fewer devices"
            )
        return min(wanted, rows - rows % self.replicas)

    def run(self, step: Callable[[dict[str, tf.Tensor]], Any], batch: dict[str, tf.Tensor]) -> None:
        """Call `step` on every replica with its rows of the worker's batch."""
        if self.replicas == 1:
            step(batch)
            return

        def shared(batch: dict[str, tf.Tensor]) -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            part = replica - self.worker * self.share
            size = tf.shape(batch["label"])[0] // self.share
            step({name: rows[part * size : (part + 1) * size] for name, rows in batch.items()})

        self.strategy.run(shared, args=(batch,))

    def gather(self, values: Sequence[float]) -> np.ndarray:
        """Return the `values` (n,) of every worker, (workers, n) float64. All workers wait here."""
        own = tf.constant([values], tf.float64)
        if self.workers == 1:
            return own.numpy()
        return self._gathered(own).numpy()[:: self.share]

    @tf.function(autograph=False)
    def _gathered(self, own: tf.Tensor) -> tf.Tensor:
        def of_replica() -> tf.Tensor:
            # The copy lies on the replica's device, which is where others look for it.
            return tf.distribute.get_replica_context().all_gather(tf.identity(own), axis=0)

        return self.strategy.experimental_local_results(self.strategy.run(of_replica))[0]

    def from_chief(self, values: Sequence[float]) -> list[float]:
        """Return the chief's `values` on every worker. All workers wait here."""
        return self.gather(values)[0].tolist()

    def agree(self, what: str, fingerprint: str, remedy: str) -> None:
        """Check that all workers have the same `fingerprint`. All workers wait here.

        Args:
          what: what the fingerprint covers, for the message.
          fingerprint: hexadecimal digits, of which the first 13 are compared.
          remedy: how to fix it, the end of the message.

        Raises:
          InputError: on all workers, if a worker has another fingerprint than the chief.
        """
        # 52 bits, which a float64 holds exactly.
        found = self.gather([int(fingerprint[:13], 16)])[:, 0]
        if others := np.flatnonzero(found != found[0]).tolist():
            raise InputError(
                f"worker {', '.join(map(str, others))} has other {what} than worker 0; {remedy}"
            )

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Distinguish the loss of another worker from other errors of TensorFlow.

        Raises:
          WorkerLostError: a worker has stopped, or cannot be reached.
        """
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as e:
            if self.workers == 1:
                raise
            reason = next((line for line in e.message.splitlines() if "abort" in line), e.message)
            raise WorkerLostError(
                f"worker {self.worker} has lost another one ({reason.strip()}); start the same "
                "command on all workers again: the run resumes from its last checkpoint"
            ) from e


def make_devices(strategy: str) -> Devices:
    """Return the devices that `--strategy` names.

    With several workers it must be called before TensorFlow runs anything in this process.

    Args:
      strategy: "one_device"; "mirrored" for all GPUs of this machine (without any: all logical
        CPUs); "multi_worker" for the cluster of `TF_CONFIG` with all of their GPUs.

    Raises:
      InputError: `TF_CONFIG` is missing or wrong, or TensorFlow has started already.
    """
    if strategy == "mirrored":
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Devices(tf.distribute.MirroredStrategy([device.name for device in found]))
    if strategy == "multi_worker":
        _check_tf_config(os.environ.get("TF_CONFIG"))
        try:
            return Devices(tf.distribute.MultiWorkerMirroredStrategy())
        except RuntimeError as error:
            raise InputError(
                f"--strategy=multi_worker must be set up before anything else runs in a process: "
                f"{error}; start each run in a new process"
            ) from error
    return Devices()


def _check_tf_config(text: str | None) -> None:
    if not text:
        raise InputError(
            "--strategy=multi_worker finds the other workers by the environment variable "
            f"TF_CONFIG, which is not set; expected something like TF_CONFIG='{_EXAMPLE}'"
        )
    wrong = f"TF_CONFIG={text}: expected something like {_EXAMPLE}; found"
    try:
        found = json.loads(text)
        cluster, task = dict(found["cluster"]), dict(found["task"])
        kind, index = task["type"], int(task["index"])
        sizes = {name: len(list(hosts)) for name, hosts in cluster.items()}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{wrong} {type(error).__name__}: {error}") from None
    if strange := sorted(set(sizes) - {"chief", "worker"}):
        raise InputError(f"{wrong} {', '.join(strange)} in the cluster, which has no work here")
    if sizes.get("chief", 0) > 1:
        raise InputError(f"{wrong} {sizes['chief']} chiefs")
    if not 0 <= index < sizes.get(kind, 0):
        raise InputError(f"{wrong} task {kind} {index}, which the cluster does not hold")
