"""Item embeddings: a tower per modality, trained to tell each pair from all others.

The paper's codes represent the category of an item, and little beyond it. Each modality has an
additional tower that learns by contrast over the batch which text belongs to which image
(InfoNCE: van den Oord et al. 2018; in both directions as in CLIP: Radford et al., ICML 2021). The
towers share nothing with the paper's networks, so that codes and their scores are the same with or
without them. Not in the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.groups import content_keys, first_rows
from xgacmn_tf.model import PACKAGE
from xgacmn_tf.model.networks import Encoder
from xgacmn_tf.model.optimizers import FusedAdam, update_average
from xgacmn_tf.names import MODALITIES


@keras.saving.register_keras_serializable(PACKAGE)
class ItemTower(keras.layers.Layer):
    """Mapped features (n, d) → item embeddings (n, members · dim): an ensemble of networks.

    The networks differ by their initial weights and dropout alone. The cosine of two concatenated
    embeddings is the mean of the members' cosines.

    Args:
      hidden: widths of the hidden layers of each member.
      dim: dimension of each member's embedding, which has unit length.
      dropout: share of hidden units that are dropped in training.
      members: number of networks.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (512,),
        dim: int = 100,
        dropout: float = 0.0,
        members: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.output_dim = members * dim
        self.config = {
            "hidden": tuple(hidden),
            "dim": dim,
            "dropout": dropout,
            "members": members,
        }
        self.members = [
            Encoder(
                hidden=hidden,
                code_dim=dim,
                code_activation="linear",
                dropout=dropout,
                dtype=self.dtype_policy,
                name=f"member_{number}",
            )
            for number in range(members)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for member in self.members:
            member.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        embeddings = [member(x, training=training) for member in self.members]
        return tf.concat([tf.math.l2_normalize(each, axis=-1) for each in embeddings], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}


@dataclasses.dataclass(frozen=True)
class TowerSettings:
    """Hyper-parameters of item towers.

    Attributes:
      hidden, dim, dropout, members: see `ItemTower`.
      temperature: of the softmax over the batch.
      learning_rate: Adam's.
      average_decay: decay of the moving average of the weights that `ItemTowers.averaged` holds.
    """

    hidden: tuple[int, ...]
    dim: int
    dropout: float
    temperature: float
    learning_rate: float
    average_decay: float
    members: int


class ItemTowers:
    """The towers of both modalities with their training.

    Args:
      input_dims: modality → number of mapped features.
      settings: the hyper-parameters.

    Attributes:
      towers, averaged: modality → `ItemTower`.
    """

    TERMS = ("item/loss", "item/accuracy")

    def __init__(self, input_dims: Mapping[str, int], settings: TowerSettings):
        self.settings = settings
        shape = settings.hidden, settings.dim, settings.dropout, settings.members
        self.towers, self.averaged = (
            {
                modality: ItemTower(*shape, name=f"{modality}_items{suffix}")
                for modality in MODALITIES
            }
            for suffix in ("", "_averaged")
        )
        for modality, input_dim in input_dims.items():
            for towers in (self.towers, self.averaged):
                towers[modality].build((None, input_dim))
            for weight, average in self._averaged_pairs(modality):
                average.assign(weight)
        self.optimizer = FusedAdam(settings.learning_rate)
        self.optimizer.build(self.weights)

    @property
    def weights(self) -> list[keras.Variable]:
        """The trained weights."""
        return [w for modality in MODALITIES for w in self.towers[modality].trainable_weights]

    def _averaged_pairs(self, modality: str) -> list[tuple[keras.Variable, keras.Variable]]:
        weights = self.towers[modality].trainable_weights
        return list(zip(weights, self.averaged[modality].trainable_weights, strict=True))

    def step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Update the towers by one batch.

        Args:
          batch: mapped features "image" (n, d_v) and "text" (n, d_t); "key" (n, k) int64, see
            `pair_keys`.

        Returns:
          The terms of `TERMS` by name, means over the members, before the update.
        """
        settings, weights = self.settings, self.weights
        with tf.GradientTape() as tape:
            members = zip(
                *(
                    tf.split(
                        self.towers[modality](batch[modality], training=True), settings.members, 1
                    )
                    for modality in MODALITIES
                ),
                strict=True,
            )
            terms = [
                contrastive_loss(image, text, batch["key"], settings.temperature)
                for image, text in members
            ]
            # The sum: each member learns as if it were alone.
            loss = tf.add_n([loss for loss, _ in terms])
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        for modality in MODALITIES:
            update_average(
                self._averaged_pairs(modality), settings.average_decay, self.optimizer.iterations
            )
        accuracy = tf.add_n([accuracy for _, accuracy in terms])
        means = loss / settings.members, accuracy / settings.members
        return dict(zip(self.TERMS, means, strict=True))


def pair_keys(image: np.ndarray, text: np.ndarray, group: np.ndarray | None) -> np.ndarray:
    """Return keys of pairs, of which two pairs share one in some column if they belong together.

    Args:
      image: (n, d_v) features; pairs with equal images belong together.
      text: (n, d_t) likewise.
      group: (n,) equal for pairs of one group; None for identical images.

    Returns:
      (n, 3) int64: the image, the text and the group of each pair.
    """
    images = content_keys(image)
    keys = [images, content_keys(text), images if group is None else group]
    return np.stack([first_rows(values) for values in keys], axis=1)


def contrastive_loss(
    image: tf.Tensor, text: tf.Tensor, key: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the symmetric InfoNCE loss of a batch and its top-1 accuracy.

    Args:
      image: (n, d) embeddings of unit length.
      text: (n, d) likewise; row i of both is a pair.
      key: (n, k) int64. Pairs that share a value in any column are no negatives of each other.
      temperature: divisor of the cosines.

    Returns:
      The loss in nats and the accuracy, float32 scalars, each the mean of both directions.
    """
    logits = tf.matmul(tf.cast(image, tf.float32), tf.cast(text, tf.float32), transpose_b=True)
    logits /= temperature
    together = tf.reduce_any(key[:, tf.newaxis] == key[tf.newaxis], axis=-1)
    rows = tf.range(tf.shape(key)[0])
    alone = together & (rows[:, tf.newaxis] != rows)
    logits = tf.where(alone, logits.dtype.min, logits)
    losses, accuracies = [], []
    for each in (logits, tf.transpose(logits)):
        losses.append(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(rows, each)))
        best = tf.argmax(each, axis=1, output_type=tf.int32)
        accuracies.append(tf.reduce_mean(tf.cast(best == rows, tf.float32)))
    return (losses[0] + losses[1]) / 2.0, (accuracies[0] + accuracies[1]) / 2.0
