"""SupCon: two towers with a supervised contrastive loss; beyond the paper.

Khosla et al., "Supervised contrastive learning", NeurIPS 2020, over the items of both modalities.

Objective, for unit codes z of all 2b items of a batch and P(i) the items that share a label with i:
  mean_i −1/|P(i)| Σ_{p ∈ P(i)} log(e^{z_i·z_p / τ} / Σ_{a ≠ i} e^{z_i·z_a / τ}).

Fidelity: beyond the paper; widths, dropout and τ are ours, chosen on validation pairs. There is
no dropout for features of few dimensions, as in X-GACMN; for ten topics this gains 0.002.
"""

import dataclasses

import keras
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.epochs import gradient_step, train_epochs
from xgacmn_tf.baselines.settings import MapSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Chain
from xgacmn_tf.model.map_choice import fit_maps
from xgacmn_tf.model.networks import default_dropout
from xgacmn_tf.settings.fields import setting


@dataclasses.dataclass(frozen=True)
class Settings(MapSettings):
    """Settings; the symbols are those of the module's formula."""

    epochs: int = setting(40, "maximum number of epochs", minimum=1)
    batch_size: int = setting(256, "pairs in a batch", minimum=1)
    learning_rate: float = setting(1e-3, "learning rate", minimum=0)
    hidden: int = setting(512, "units of the hidden layers", minimum=1)
    code_dim: int = setting(128, "dimension of the common space", minimum=1)
    dropout: float = setting(
        0.5,
        "dropout after the hidden layer, for features of many dimensions",
        minimum=0,
        maximum=0.99,
    )
    temperature: float = setting(0.5, "τ", minimum=1e-9)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder trained on the training pairs."""
    image_map, text_map = fit_maps(settings, data.image, data.text, data.targets, data.group)
    encoder = CommonSpaceEncoder(
        image_map,
        text_map,
        _tower(settings, image_map.output_dim, len(data.image)),
        _tower(settings, text_map.output_dim, len(data.text)),
        None,
    )
    layers = [encoder.image_encoder, encoder.text_encoder]

    def loss(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        v = encoder.image_encoder(encoder.image_map(image), training=True)
        t = encoder.text_encoder(encoder.text_map(text), training=True)
        both = tf.concat([targets, targets], axis=0)
        return supervised_contrastive(tf.concat([v, t], axis=0), both, settings.temperature)

    optimizer = keras.optimizers.Adam(settings.learning_rate)
    train_epochs(
        gradient_step(loss, layers, optimizer), data, encoder, settings.epochs, settings.batch_size
    )
    return encoder


def supervised_contrastive(codes: tf.Tensor, targets: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the module's objective for codes (n, d) and targets (n, c), a scalar."""
    unit = tf.math.l2_normalize(codes, axis=1)
    logits = tf.matmul(unit, unit, transpose_b=True) / temperature
    itself = tf.eye(tf.shape(codes)[0], dtype=tf.bool)
    log_share = logits - tf.reduce_logsumexp(tf.where(itself, -1e9, logits), axis=1, keepdims=True)
    shared = tf.matmul(targets, targets, transpose_b=True) > 0
    positive = tf.cast(tf.logical_and(shared, ~itself), tf.float32)
    # The items of a pair share their labels, so every item has a positive.
    return -tf.reduce_mean(
        tf.reduce_sum(positive * log_share, axis=1) / tf.reduce_sum(positive, axis=1)
    )


def _tower(settings: Settings, dim: int, rows: int) -> Chain:
    return Chain(
        [
            keras.layers.Dense(settings.hidden, "relu"),
            keras.layers.Dropout(settings.dropout if default_dropout(dim, rows) else 0.0),
            keras.layers.Dense(settings.code_dim),
        ]
    )


GRID = {"temperature": (0.1, 0.2, 0.5)}
SYSTEM = System(
    "SupCon", "Khosla et al., NeurIPS 2020", "beyond the paper", "cosine", Settings, fit, grid=GRID
)
