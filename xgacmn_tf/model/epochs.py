"""Training steps in compiled calls of several steps, driven by Keras's `fit`.

`XGACMN.fit` trains on a `BatchSource` through an `EpochRunner`: Keras calls it as its train
function and as a callback, and every other callback sees the usual events. Batches are a pure
function of (seed, epoch, step), so a resumed training sees the batches that it would have seen,
and each worker knows its own part of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.blocks import in_blocks
from xgacmn_tf.devices import Devices
from xgacmn_tf.errors import DivergenceError

if TYPE_CHECKING:
    from xgacmn_tf.model.xgacmn import XGACMN


class Rows(Protocol):
    """The batches of a training split on one worker.

    Attributes:
        steps: number of batches of an epoch.
    """

    steps: int

    def begin(self, epoch: int) -> Any:
        """Return what `batch` takes in an epoch, which counts from 1."""

    def batch(self, batches: Any, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return this worker's part of the batch of a step, as `XGACMN.alternate` takes it."""


@runtime_checkable
class BatchSource(Protocol):
    """Batches that a model maps once, such as `datasets.Batches`."""

    def steps(self, devices: Devices) -> int:
        """Return the number of batches of an epoch of training."""

    def rows(self, model: XGACMN, devices: Devices) -> Rows:
        """Return shuffled batches for training."""

    def dataset(self, model: XGACMN | None = None) -> tf.data.Dataset:
        """Return all pairs in order, mapped by a model if there is one."""


class EpochRunner(keras.callbacks.Callback):
    """Keras's train function over a `BatchSource`, and a callback that receives the epochs.

    A call runs `steps_per_execution` steps of `XGACMN.alternate` and returns the means of their
    terms since the epoch began, from sums in double precision.

    Args:
        model: compiled.
        rows: its batches.
        devices: the replicas that share each batch.
    """

    def __init__(self, model: XGACMN, rows: Rows, devices: Devices):
        super().__init__()
        self.trained, self.rows, self.devices = model, rows, devices
        self.names = model.term_names()
        with devices.strategy.scope():
            # Each replica adds up its own terms; they meet once a compiled call, not once a step.
            self._totals = _per_replica(len(self.names))
            # Number and terms of the newest step of the call, or of the first step with a term that
            # is not finite.
            self._newest = _per_replica(1 + len(self.names))
        self._run: Callable[..., tf.Tensor] = self._steps
        if not model.run_eagerly:
            # No Python here depends on a tensor's value; looking for such took 1.3 s a start.
            self._run = tf.function(self._steps, autograph=False, jit_compile=model.uses_xla)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch, self._done, self._sums = epoch + 1, 0, np.zeros(len(self.names))
        self._batches = self.rows.begin(epoch + 1)

    def __call__(self, iterator: Any) -> dict[str, float]:
        """Run the next steps; the iterator, which Keras makes of the steps' numbers, is not read.

        Raises:
            DivergenceError: a term is not finite; it names the step.
        """
        del iterator
        first = self._done
        self._done = min(first + self.trained.steps_per_execution, self.rows.steps)
        self._sums += self._run(self._batches, tf.constant(first), tf.constant(self._done)).numpy()
        if not np.isfinite(self._sums).all():
            raise self._divergence(first)
        return {
            name: float(total) / self._done
            for name, total in zip(self.names, self._sums, strict=True)
        }

    def _steps(self, batches: Any, first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        for record in (self._totals, self._newest):
            record.assign(tf.zeros_like(record))

        def one(step: tf.Tensor) -> list[tf.Tensor]:
            self.devices.run(self._step, self.rows.batch(batches, step))
            return [step + 1]

        tf.while_loop(lambda step: step < last, one, [first])
        return tf.identity(self._totals)

    def _step(self, batch: dict[str, tf.Tensor]) -> None:
        terms = tf.stack(list(self.trained.alternate(batch).values()))
        self._totals.assign_add(terms)
        before = tf.convert_to_tensor(self._newest)
        after = tf.concat([before[:1] + 1.0, terms], axis=0)
        self._newest.assign(tf.where(tf.reduce_all(tf.math.is_finite(before)), after, before))

    def _divergence(self, first: int) -> DivergenceError:
        """Return the error for a compiled call that began with step `first`."""
        where, values = f"epoch {self.epoch}", self._sums
        for replica in self.devices.strategy.experimental_local_results(self._newest):
            step, *terms = replica.numpy().tolist()
            if not np.isfinite(terms).all():
                where, values = f"epoch {self.epoch}, step {first + int(step)}", np.array(terms)
                break
        named = zip(self.names, values.tolist(), strict=True)
        return DivergenceError.of(where, {n: v for n, v in named if not np.isfinite(v)})


def _per_replica(size: int) -> tf.Variable:
    """Return (size,) zeros, one variable per replica; a read outside returns their mean."""
    return tf.Variable(
        tf.zeros(size),
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )


def mapped_features(model: XGACMN, image: np.ndarray, text: np.ndarray) -> dict[str, tf.Tensor]:
    """Return `XGACMN.prepare` of many pairs, (n, d_v) and (n, d_t), in blocks of rows."""
    mapped: dict[str, tf.Tensor] = {}
    for modality, features in (("image", image), ("text", text)):
        # Compiled: the kernel map goes row by row, five times as slowly outside of a graph.
        function = tf.function(
            functools.partial(model.mapped, modality), autograph=False, reduce_retracing=True
        )
        mapped |= in_blocks(function, features)
    return mapped
