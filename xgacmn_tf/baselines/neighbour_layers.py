"""Layer of class posteriors by the nearest training embeddings."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from xgacmn_tf.model import PACKAGE


@keras.saving.register_keras_serializable(PACKAGE)
class NeighbourClasses(keras.layers.Layer):
    """x (n, d) → the share (n, c) of each class among its nearest training embeddings.

    Neighbors are nearest by Euclidean distance, the first of equals. A neighbor with several labels
    shares its vote among them; a row sums to 1 unless some neighbors have no label.

    Args:
      rows: m, the number of training embeddings.
      classes: c.
      neighbours: k, number of neighbors that vote, at most m.
      weighted: weight votes in proportion to sigmoid(−distance) instead of equally.
    """

    def __init__(
        self, rows: int, classes: int, neighbours: int, weighted: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.rows, self.classes, self.neighbours = rows, classes, min(neighbours, rows)
        self.weighted = weighted

    @classmethod
    def of(
        cls, embeddings: np.ndarray, targets: np.ndarray, neighbours: int, weighted: bool = False
    ) -> NeighbourClasses:
        """Return the layer with embeddings (m, d) and targets (m, c), one-hot or multi-hot."""
        layer = cls(len(targets), targets.shape[1], neighbours, weighted)
        layer.build((None, embeddings.shape[1]))
        layer.embeddings.assign(embeddings)
        layer.votes.assign(targets / np.maximum(targets.sum(axis=1, keepdims=True), 1))
        return layer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        def weight(name: str, *shape: int | None) -> keras.Variable:
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.embeddings = weight("embeddings", self.rows, input_shape[-1])
        self.votes = weight("votes", self.rows, self.classes)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        embeddings, votes = (
            ops.convert_to_tensor(self.embeddings),
            ops.convert_to_tensor(self.votes),
        )

        def one_row(item: tf.Tensor) -> tf.Tensor:
            square = ops.sum(ops.square(item - embeddings), axis=-1)
            negative, nearest = ops.top_k(-square, self.neighbours)
            voters = ops.take(votes, nearest, axis=0)
            if not self.weighted:
                return ops.mean(voters, axis=0)
            # By logarithms, because at distances over 100 every sigmoid is rounded to 0.
            weights = ops.softmax(-ops.softplus(ops.sqrt(-negative)))
            return ops.sum(weights[:, None] * voters, axis=0)

        # Row by row, so that memory grows with m and not with n · m.
        return tf.map_fn(one_row, tf.cast(x, tf.float32))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.classes)

    def get_config(self) -> dict[str, Any]:
        own = {
            "rows": self.rows,
            "classes": self.classes,
            "neighbours": self.neighbours,
            "weighted": self.weighted,
        }
        return {**super().get_config(), **own}
