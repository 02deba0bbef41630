"""Bimodal-AE: one code from which both modalities are reconstructed, whichever of them is given.

Ngiam, Khosla, Kim, Nam, Lee and Ng, "Multimodal deep learning", ICML 2011; the paper's [20].

Objective, for the upper RBM layers v, t of a pair, a logistic code h and a logistic decoder r:
  min Σ_{x ∈ {[v, 0], [0, t], [v, t]}} ½ ‖r(h(x)) − [v, t]‖², by stochastic gradient descent,
after two RBMs a modality (`rbm_stack`). An item's code is h of its own modality beside zeros, as
z-scores by the mean and the deviation of all training codes: logistic codes are all positive, and
the cosine would see little but their mean.

Fidelity: reconstruction, after the description in Feng, Wang and Li, "Cross-modal retrieval with
correspondence autoencoder" (ACM Multimedia 2014), which compares with it on the same features. The
steps are ours: 600 an RBM and 40 epochs, where the original trains 20,000 at batch 500. The
z-scores are ours too.
"""

import dataclasses

import keras
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.epochs import train_epochs
from xgacmn_tf.baselines.rbm_layers import Beside
from xgacmn_tf.baselines.rbm_stack import (
    StackSettings,
    on_top,
    pretrained,
    set_z_scores,
    with_codes,
    z_scores,
)
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.layers import Chain


@dataclasses.dataclass(frozen=True)
class Settings(StackSettings):
    """code_dim: width of h. weight_decay: weight of ½ ‖W‖²."""

    epochs: int = 40
    batch_size: int = 100
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    code_dim: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, epochs=self.epochs, batch_size=self.batch_size, code_dim=self.code_dim)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    bottom = pretrained(data, settings)
    return on_top(bottom, autoencoder(with_codes(data, bottom), settings))


def autoencoder(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """The layers above the RBMs, for `data` that has their codes (n, d_v), (n, d_t) as features."""
    d_v, d_t = data.image.shape[1], data.text.shape[1]
    joint = keras.layers.Dense(settings.code_dim, "sigmoid")
    decoder = keras.layers.Dense(d_v + d_t, "sigmoid")
    joint.build((None, d_v + d_t))
    image_scores, text_scores = z_scores(settings.code_dim), z_scores(settings.code_dim)
    decoder.build((None, settings.code_dim))
    image_layers = Beside(d_t, first=True), joint
    text_layers = Beside(d_v, first=False), joint
    encoder = CommonSpaceEncoder(
        Identity(d_v),
        Identity(d_t),
        Chain([*image_layers, image_scores]),
        Chain([*text_layers, text_scores]),
        None,
    )
    variables = [*joint.trainable_variables, *decoder.trainable_variables]
    optimizer = keras.optimizers.SGD(settings.learning_rate, settings.momentum)
    optimizer.build(variables)

    def step(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, share: tf.Tensor) -> None:
        del targets, share
        with tf.GradientTape() as tape:
            inputs, wanted = three_views(image, text)
            codes = joint(inputs)
            loss = reconstruction_loss(decoder(codes), wanted)
            loss += settings.weight_decay * (
                tf.nn.l2_loss(joint.kernel) + tf.nn.l2_loss(decoder.kernel)
            )
        optimizer.apply(tape.gradient(loss, variables), variables)

    def after_epoch() -> None:
        for score, (beside, joint_layer), x in (
            (image_scores, image_layers, data.image),
            (text_scores, text_layers, data.text),
        ):
            set_z_scores(score, joint_layer(beside(x)).numpy())

    train_epochs(data, encoder, step, settings.epochs, settings.batch_size, "cosine", after_epoch)
    return encoder


def three_views(image: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(b, d_v), (b, d_t) → [v, 0], [0, t], [v, t] and thrice [v, t], (3b, d_v + d_t) each."""
    no_image, no_text = tf.zeros_like(image), tf.zeros_like(text)
    views = [
        tf.concat(pair, axis=1) for pair in ((image, no_text), (no_image, text), (image, text))
    ]
    return tf.concat(views, axis=0), tf.tile(views[2], (3, 1))


def reconstruction_loss(decoded: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """½ ‖decoded − wanted‖² of rows (b, d), their mean."""
    return tf.reduce_mean(tf.reduce_sum(tf.square(decoded - wanted), axis=1)) / 2


SYSTEM = System(
    title="Bimodal-AE",
    citation="Ngiam et al., ICML 2011",
    fidelity="reconstruction",
    similarity="cosine",
    settings=Settings,
    fit=fit,
)
