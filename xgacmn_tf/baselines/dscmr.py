"""DSCMR: deep supervised cross-modal retrieval; later than the paper.

Zhen, Hu, Wang and Peng, "Deep supervised cross-modal retrieval", CVPR 2019.

Objective, for codes v_i, t_j of two networks that share their last layer, a linear classifier P
and S_ij = 1 where i and j share a label:
  mean(‖P v_i − y_i‖ + ‖P t_i − y_i‖) + λ Σ mean_ij(log(1 + e^Γ_ij) − S_ij Γ_ij)
  + η mean ‖v_i − t_i‖
with Γ = ½ cosine, summed over the pairs image–text, image–image and text–text.

Fidelity: beyond the paper; from published code, with the input maps of this project and the best
epoch on validation pairs. Widths, learning rate and λ were chosen on validation pairs of shallow
features, where the published ones (2048, 1024, 1e-4, λ = 1e-3) reached 0.05 less.
"""

import dataclasses

import keras
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.epochs import gradient_step, row_lengths, train_epochs
from xgacmn_tf.baselines.settings import MapSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Affine, Chain
from xgacmn_tf.model.map_choice import fit_maps
from xgacmn_tf.settings.fields import setting


@dataclasses.dataclass(frozen=True)
class Settings(MapSettings):
    """Settings; the symbols are those of the module's formula."""

    epochs: int = setting(40, "maximum number of epochs", minimum=1)
    batch_size: int = setting(100, "pairs in a batch", minimum=1)
    learning_rate: float = setting(1e-3, "learning rate", minimum=0)
    hidden: int = setting(512, "units of the hidden layers", minimum=1)
    code_dim: int = setting(128, "dimension of the common space", minimum=1)
    similarity_weight: float = setting(10.0, "λ", minimum=0)
    pair_weight: float = setting(0.1, "η", minimum=0)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder trained on the training pairs."""
    shared = Affine(settings.code_dim)
    shared.build((None, settings.hidden))
    maps = fit_maps(settings, data.image, data.text, data.targets, data.group)
    hidden = [keras.layers.Dense(settings.hidden, "relu") for _ in maps]
    chains = [Chain([layer, shared]) for layer in hidden]
    encoder = CommonSpaceEncoder(*maps, chains[0], chains[1], None)
    classes = Affine(data.targets.shape[1])
    classes.build((None, settings.code_dim))

    def loss(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        same = tf.cast(tf.matmul(targets, targets, transpose_b=True) > 0, tf.float32)
        v, t = encoder.encode("image", image), encoder.encode("text", text)
        alike = sum(_likelihood(a, b, same) for a, b in ((v, t), (v, v), (t, t)))
        lengths = [row_lengths(x) for x in (classes(v) - targets, classes(t) - targets, v - t)]
        image_labels, text_labels, pairs = (tf.reduce_mean(x) for x in lengths)
        return (
            image_labels
            + text_labels
            + settings.similarity_weight * alike
            + settings.pair_weight * pairs
        )

    layers = [encoder.image_encoder, encoder.text_encoder, classes]
    optimizer = keras.optimizers.Adam(settings.learning_rate, beta_1=0.5)
    train_epochs(
        gradient_step(loss, layers, optimizer), data, encoder, settings.epochs, settings.batch_size
    )
    # A saved model cannot share a layer, so each modality gets a copy.
    copies = [Affine.of(shared.kernel.numpy(), shared.bias.numpy()) for _ in maps]
    chains = [Chain(pair) for pair in zip(hidden, copies, strict=True)]
    return CommonSpaceEncoder(*maps, chains[0], chains[1], None)


def _likelihood(a: tf.Tensor, b: tf.Tensor, same: tf.Tensor) -> tf.Tensor:
    """Return the mean negative log-likelihood of sharing a label, with half the cosine as logit."""
    unit_a, unit_b = tf.math.l2_normalize(a, axis=1), tf.math.l2_normalize(b, axis=1)
    theta = tf.matmul(unit_a, unit_b, transpose_b=True) / 2
    return tf.reduce_mean(tf.math.softplus(theta) - same * theta)


GRID = {"learning_rate": (1e-4, 1e-3)}
SYSTEM = System(
    "DSCMR", "Zhen et al., CVPR 2019", "beyond the paper", "cosine", Settings, fit, grid=GRID
)
