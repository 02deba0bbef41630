"""DSCMR: deep supervised cross-modal retrieval. Not in the paper: a later rival.

Zhen, Hu, Wang and Peng, "Deep supervised cross-modal retrieval", CVPR 2019.

Objective, for codes v_i, t_j of two networks that share their last layer, a linear classifier P
and S_ij = 1 where i and j share a label:
  mean(‖P v_i − y_i‖ + ‖P t_i − y_i‖) + λ Σ mean_ij(log(1 + e^Γ_ij) − S_ij Γ_ij)
  + η mean ‖v_i − t_i‖
with Γ = ½ cosine, summed over the pairs image–text, image–image and text–text.

Fidelity: beyond the paper; from published code, with the input maps of this project and the best
epoch on validation pairs. Widths, learning rate and λ were chosen on validation pairs of shallow
features, where the published ones (2048, 1024, 1e-4, λ = 1e-3) gave .05 less.
"""

import dataclasses

import keras
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.epochs import train_epochs
from xgacmn_tf.baselines.input_maps import MapSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Affine, Chain
from xgacmn_tf.model.map_choice import fit_maps


@dataclasses.dataclass(frozen=True)
class Settings(MapSettings):
    """hidden and code_dim: widths. similarity_weight: λ. pair_weight: η."""

    epochs: int = 40
    batch_size: int = 100
    learning_rate: float = 1e-3
    hidden: int = 512
    code_dim: int = 128
    similarity_weight: float = 10.0
    pair_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, epochs=self.epochs, batch_size=self.batch_size)
        check_at_least(1, hidden=self.hidden, code_dim=self.code_dim)
        check_at_least(0, learning_rate=self.learning_rate)
        check_at_least(0, similarity_weight=self.similarity_weight, pair_weight=self.pair_weight)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    shared = Affine(settings.code_dim)
    shared.build((None, settings.hidden))
    encoder = CommonSpaceEncoder(
        *fit_maps(settings, data.image, data.text),
        Chain([keras.layers.Dense(settings.hidden, "relu"), shared]),
        Chain([keras.layers.Dense(settings.hidden, "relu"), shared]),
        None,
    )
    classes = Affine(data.targets.shape[1])
    classes.build((None, settings.code_dim))
    layers = [encoder.image_encoder, encoder.text_encoder, classes]
    # The shared layer stands in both encoders.
    variables = list({id(v): v for layer in layers for v in layer.trainable_variables}.values())
    optimizer = keras.optimizers.Adam(settings.learning_rate, beta_1=0.5)
    optimizer.build(variables)

    def step(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, share: tf.Tensor) -> None:
        del share
        same = tf.cast(tf.matmul(targets, targets, transpose_b=True) > 0, tf.float32)
        with tf.GradientTape() as tape:
            v, t = encoder.encode("image", image), encoder.encode("text", text)
            loss = _norm(classes(v) - targets) + _norm(classes(t) - targets)
            alike = sum(_likelihood(a, b, same) for a, b in ((v, t), (v, v), (t, t)))
            loss += settings.similarity_weight * alike + settings.pair_weight * _norm(v - t)
        optimizer.apply(tape.gradient(loss, variables), variables)

    train_epochs(data, encoder, step, settings.epochs, settings.batch_size, "cosine")
    return _with_own_layers(encoder)


def _with_own_layers(encoder: CommonSpaceEncoder) -> CommonSpaceEncoder:
    """The same with a copy of the shared layer for each modality: a saved model shares nothing."""
    image, text = (
        Chain(
            [
                chain.layers[0],
                Affine.of(chain.layers[1].kernel.numpy(), chain.layers[1].bias.numpy()),
            ]
        )
        for chain in (encoder.image_encoder, encoder.text_encoder)
    )
    return CommonSpaceEncoder(encoder.image_map, encoder.text_map, image, text, None)


def _norm(x: tf.Tensor) -> tf.Tensor:
    """Mean Euclidean length of the rows."""
    # The gradient of a root is not finite at zero.
    return tf.reduce_mean(tf.sqrt(tf.reduce_sum(tf.square(x), axis=1) + 1e-12))


def _likelihood(a: tf.Tensor, b: tf.Tensor, same: tf.Tensor) -> tf.Tensor:
    """Negative log-likelihood of who shares a label with whom, given half the cosine."""
    unit_a, unit_b = tf.math.l2_normalize(a, axis=1), tf.math.l2_normalize(b, axis=1)
    theta = tf.matmul(unit_a, unit_b, transpose_b=True) / 2
    return tf.reduce_mean(tf.math.softplus(theta) - same * theta)


SYSTEM = System(
    title="DSCMR",
    citation="Zhen et al., CVPR 2019",
    fidelity="beyond the paper",
    similarity="cosine",
    settings=Settings,
    fit=fit,
    grid={"learning_rate": (1e-4, 1e-3)},
)
