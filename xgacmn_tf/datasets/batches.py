"""Batches of the pairs of a split, for training, validation and prediction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.devices import Devices
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.epochs import Rows, mapped_features

if TYPE_CHECKING:
    from xgacmn_tf.datasets.streamed import StreamedSplit
    from xgacmn_tf.model.xgacmn import XGACMN


class Batches:
    """Batches of a split: what `XGACMN.fit`, `evaluate` and `predict` take for `x`.

    A model that is fitted on them maps the features once, before the first epoch, and runs
    `steps_per_execution` steps in a compiled call. Each epoch has an order of its own, which
    depends on the seed and the number of the epoch alone, and drops the rows that do not fill a
    batch. A split smaller than one batch is one batch. Iterating gives all pairs in their order,
    with raw features: dicts of "image" (n, d_v), "text" (n, d_t) and "label", and the `masks` of
    the split.

    Args:
        split: n pairs.
        batch_size: number of pairs in a batch of all replicas, at least 1.
        seed: of the order in training.

    Raises:
        InputError: the batch size is below 1.

    Example:

    >>> import numpy as np
    >>> from xgacmn_tf.datasets import Split
    >>> split = Split(np.ones((5, 3)), np.ones((5, 2)), np.arange(5) % 2, np.array(list("abcde")))
    >>> [batch["image"].shape.as_list() for batch in split.batches(2)]
    [[2, 3], [2, 3], [1, 3]]
    """

    def __init__(self, split: Split | StreamedSplit, batch_size: int, seed: int = 0):
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: expected at least 1")
        self.split, self.batch_size, self.seed = split, batch_size, seed

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        return iter(self.dataset())

    def dataset(self, model: XGACMN | None = None) -> tf.data.Dataset:
        """Return all pairs in their order, features mapped once where a model is given."""
        split = self.split.in_memory()
        if model is None:
            features = {"image": split.image, "text": split.text}
        else:
            features = mapped_features(model, split.image, split.text)
        pairs = tf.data.Dataset.from_tensor_slices(
            {**features, "label": split.label, **split.masks()}
        )
        return pairs.batch(self.batch_size)

    def steps(self, devices: Devices) -> int:
        """Return the number of batches of an epoch of training."""
        rows = len(self.split)
        return rows // devices.batch_size(self.batch_size, rows)

    def rows(self, model: XGACMN, devices: Devices) -> Rows:
        """Return shuffled batches for training a model."""
        size = devices.batch_size(self.batch_size, len(self.split))
        kind = RowsInMemory if isinstance(self.split, Split) else RowsInFiles
        return kind(model, self.split, size, self.seed, devices)  # type: ignore[arg-type]


class RowsInMemory:
    """Batches from a training split that lies on the device.

    Args:
        model: maps the features, once.
        split: n training pairs.
        batch_size: rows of a batch of all workers, at most n.
        seed: of the order.
        devices: whose part of every batch is taken.
    """

    def __init__(self, model: XGACMN, split: Split, batch_size: int, seed: int, devices: Devices):
        self.model, self.split, self.devices = model, split, devices
        self.batch_size, self.seed = batch_size, seed
        self.steps = len(split) // batch_size
        self._features: dict[str, tf.Tensor] = {}

    def begin(self, epoch: int) -> tf.Tensor:
        """This worker's rows of each batch of an epoch, (steps, batch_size / workers) int32."""
        if not self._features:
            features = mapped_features(self.model, self.split.image, self.split.text)
            arrays = {"label": self.split.label, **self.split.masks()}
            self._features = features | {name: tf.constant(a) for name, a in arrays.items()}
        rows = tf.random.experimental.stateless_shuffle(
            tf.range(len(self.split)), seed=[self.seed, epoch]
        )
        shape = (self.steps, self.devices.workers, self.batch_size // self.devices.workers)
        return tf.reshape(rows[: self.steps * self.batch_size], shape)[:, self.devices.worker]

    def batch(self, order: tf.Tensor, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """This worker's part of the batch of a step."""
        rows = order[step]
        return {name: tf.gather(values, rows) for name, values in self._features.items()}


class RowsInFiles:
    """Batches from a training split that stays in its files; arguments as of `RowsInMemory`."""

    def __init__(
        self, model: XGACMN, split: StreamedSplit, batch_size: int, seed: int, devices: Devices
    ):
        self.model, self.split, self.devices = model, split, devices
        self.batch_size, self.seed = batch_size, seed
        self.steps = len(split) // batch_size
        self._labels = tf.constant(np.asarray(split.all_labels))

    def begin(self, epoch: int) -> Any:
        """An iterator over this worker's parts of the batches of an epoch, not yet mapped."""
        return iter(
            self.split.epoch_batches(
                self.seed, epoch, self.batch_size, self.devices.workers, self.devices.worker
            )
        )

    def batch(self, iterator: Any, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """This worker's part of the next batch, which is that of `step`."""
        del step
        read = iterator.get_next()
        batch = self.model.prepare(read["image"], read["text"])
        return {**batch, "label": tf.gather(self._labels, read["row"])}
