"""One epoch of training: its batches, and many steps in one compiled call.

Batches are a pure function of (seed, epoch, step), so a resumed run sees the batches it would have
seen, and every worker knows its own part of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.datasets.streamed import StreamedSplit
from xgacmn_tf.errors import DivergenceError
from xgacmn_tf.model.encoders import ROWS_AT_ONCE
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.devices import Devices


def prepared(model: XGACMN, split: Split) -> dict[str, tf.Tensor]:
    """`XGACMN.prepare` of a whole split."""
    image, text = (
        in_blocks(functools.partial(model.mapped, modality), getattr(split, modality))
        for modality in MODALITIES
    )
    return image | text


def in_blocks(function: Callable[[tf.Tensor], Any], features: np.ndarray) -> Any:
    """`function` of features (n, d), a tensor or a dict of tensors with n rows each.

    It sees a block of rows at a time, which spares the memory of two copies of them all.
    """
    # Compiled: the kernel map goes row by row, five times as slowly outside of a graph.
    compiled = tf.function(function, autograph=False, reduce_retracing=True)
    starts = range(0, len(features), ROWS_AT_ONCE)
    blocks = [compiled(features[first : first + ROWS_AT_ONCE]) for first in starts]
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *blocks)


class Labels:
    """(n,) or multi-hot (n, c) labels on the device → rows of targets, of a batch at a time.

    All targets at once would be n × c numbers, which with many classes is more than the features.
    """

    def __init__(self, labels: np.ndarray, num_classes: int):
        self.labels, self.num_classes = tf.constant(labels), num_classes

    def targets(self, rows: tf.Tensor) -> tf.Tensor:
        """(k,) rows → (k, c) float32, one-hot or multi-hot."""
        chosen = tf.gather(self.labels, rows)
        if self.labels.shape.rank == 2:
            return tf.cast(chosen, tf.float32)
        return tf.one_hot(chosen, self.num_classes)


class RowsInMemory:
    """Batches from a training split that lies on the device.

    Args:
      model: brings features to the encoders' scale, once.
      split: n training pairs.
      num_classes: c.
      batch_size: rows of a batch of all workers, at most n.
      seed: of the order.
      devices: whose part of every batch is taken.
    """

    def __init__(
        self,
        model: XGACMN,
        split: Split,
        num_classes: int,
        batch_size: int,
        seed: int,
        devices: Devices,
    ):
        self.features = prepared(model, split)
        self.labels = Labels(split.label, num_classes)
        self.rows, self.batch_size, self.seed, self.devices = len(split), batch_size, seed, devices

    def begin(self, epoch: int) -> tf.Tensor:
        """This worker's rows of each batch of an epoch, (steps, batch_size / workers) int32."""
        rows = tf.random.experimental.stateless_shuffle(
            tf.range(self.rows), seed=[self.seed, epoch]
        )
        steps = self.rows // self.batch_size
        shape = (steps, self.devices.workers, self.batch_size // self.devices.workers)
        return tf.reshape(rows[: steps * self.batch_size], shape)[:, self.devices.worker]

    def batch(self, order: tf.Tensor, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """This worker's part of the batch of a step."""
        rows = order[step]
        batch = {name: tf.gather(values, rows) for name, values in self.features.items()}
        return {**batch, "label": self.labels.targets(rows)}


class RowsInFiles:
    """Batches from a training split that stays in its files; arguments as of `RowsInMemory`."""

    def __init__(
        self,
        model: XGACMN,
        split: StreamedSplit,
        num_classes: int,
        batch_size: int,
        seed: int,
        devices: Devices,
    ):
        self.model, self.split = model, split
        self.labels = Labels(split.all_labels, num_classes)
        self.batch_size, self.seed, self.devices = batch_size, seed, devices

    def begin(self, epoch: int) -> Any:
        """An iterator over this worker's parts of the batches of an epoch, not yet prepared."""
        return iter(
            self.split.batches(
                self.seed, epoch, self.batch_size, self.devices.workers, self.devices.worker
            )
        )

    def batch(self, iterator: Any, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """This worker's part of the next batch, which is that of `step`."""
        del step
        read = iterator.get_next()
        batch = self.model.prepare(read["image"], read["text"])
        return {**batch, "label": self.labels.targets(read["row"])}


class EpochRunner:
    """Runs `XGACMN.alternate` over the training split.

    A batch that would be smaller than the others is dropped: each epoch shuffles anew, so no pair
    is left out for good. A split smaller than one batch is one batch.
    """

    def __init__(
        self,
        model: XGACMN,
        split: Split | StreamedSplit,
        num_classes: int,
        config: Config,
        devices: Devices | None = None,
    ):
        self.model, self.devices = model, devices or Devices()
        self.batch_size = self.devices.batch_size(config.training.batch_size, len(split))
        self.steps = len(split) // self.batch_size
        self.steps_per_call = config.training.steps_per_call
        more = num_classes, self.batch_size, config.seed, self.devices
        self.rows: RowsInMemory | RowsInFiles
        if isinstance(split, StreamedSplit):
            self.rows = RowsInFiles(model, split, *more)
        else:
            self.rows = RowsInMemory(model, split, *more)
        with self.devices.strategy.scope():
            names = len(model.term_names())
            # Each replica adds up its own terms; they meet once a compiled call, not once a step.
            self._totals = _per_replica(names)
            # Number and terms of the newest step of the call; those of the first step with a term
            # that is not finite stay.
            self._newest = _per_replica(1 + names)
        # No Python here depends on a tensor's value; looking for such took 1.3 s of every start.
        self._run = tf.function(
            self._steps, autograph=False, jit_compile=config.training.jit_compile
        )

    def run(self, epoch: int, on_progress: Callable[[int], Any]) -> dict[str, float]:
        """One epoch; calls `on_progress(steps)` after each compiled call. Returns mean terms.

        Raises:
          DivergenceError: a term is not finite; it names the step.
        """
        batches = self.rows.begin(epoch)
        totals = np.zeros(len(self.model.term_names()))
        for first in range(0, self.steps, self.steps_per_call):
            last = min(first + self.steps_per_call, self.steps)
            totals += self._run(batches, tf.constant(first), tf.constant(last)).numpy()
            if not np.isfinite(totals).all():
                raise self._divergence(epoch, first, totals)
            on_progress(last - first)
        return {
            name: float(total) / self.steps
            for name, total in zip(self.model.term_names(), totals, strict=True)
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
        terms = tf.stack(list(self.model.alternate(batch).values()))
        self._totals.assign_add(terms)
        before = tf.convert_to_tensor(self._newest)
        after = tf.concat([before[:1] + 1.0, terms], axis=0)
        self._newest.assign(tf.where(tf.reduce_all(tf.math.is_finite(before)), after, before))

    def _divergence(self, epoch: int, first: int, totals: np.ndarray) -> DivergenceError:
        """The error for a compiled call that began with step `first` and left these totals."""
        names, where, values = self.model.term_names(), f"epoch {epoch}", totals
        for replica in self.devices.strategy.experimental_local_results(self._newest):
            step, *terms = replica.numpy().tolist()
            if not np.isfinite(terms).all():
                where, values = f"epoch {epoch}, step {first + int(step)}", np.array(terms)
                break
        bad = {n: v for n, v in zip(names, values.tolist(), strict=True) if not np.isfinite(v)}
        return DivergenceError.of(where, bad)


def _per_replica(size: int) -> tf.Variable:
    """(size,) zeros of which each replica has its own; read from outside, they are averaged."""
    return tf.Variable(
        tf.zeros(size),
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )
