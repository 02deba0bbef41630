"""Bimodal-AE: an autoencoder that reconstructs both modalities from either of them.

Ngiam, Khosla, Kim, Nam, Lee and Ng, "Multimodal deep learning", ICML 2011; the paper's [20].

Objective, for the upper RBM layers v, t of a pair, a logistic code h and a logistic decoder r:
  min Σ_{x ∈ {[v, 0], [0, t], [v, t]}} ½ ‖r(h(x)) − [v, t]‖², by stochastic gradient descent,
after two RBMs for each modality (`rbm_stack`). An item's code is the z-scores of h, with zeros in
place of the other modality. Without z-scores the mean of the positive logistic codes would dominate
the cosine.

Fidelity: reconstruction, after the description in Feng, Wang and Li, "Cross-modal retrieval with
correspondence autoencoder" (ACM Multimedia 2014), which evaluates it on the same features. The
numbers of steps are ours: 600 for each RBM and 40 epochs, instead of 20,000 steps at batch 500. The
z-scores are ours too.
"""

import dataclasses

import keras
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.epochs import gradient_step, train_epochs
from xgacmn_tf.baselines.rbm_layers import Beside
from xgacmn_tf.baselines.rbm_stack import AutoencoderSettings, fit_on_stack, set_z_scores, z_scores
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Chain
from xgacmn_tf.settings.fields import setting


@dataclasses.dataclass(frozen=True)
class Settings(AutoencoderSettings):
    """Settings of the RBMs and of the autoencoder on top of them."""

    epochs: int = setting(40, "maximum number of epochs", minimum=1)
    code_dim: int = setting(256, "dimension of h", minimum=1)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder trained on the training pairs."""
    return fit_on_stack(data, settings, autoencoder)


def autoencoder(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the layers above the RBMs, whose codes (n, d_v), (n, d_t) are `data`'s features."""
    d_v, d_t = data.image.shape[1], data.text.shape[1]
    joint = keras.layers.Dense(settings.code_dim, "sigmoid")
    decoder = keras.layers.Dense(d_v + d_t, "sigmoid")
    joint.build((None, d_v + d_t))
    scores = [z_scores(settings.code_dim) for _ in range(2)]
    decoder.build((None, settings.code_dim))
    beside = Beside(d_t, first=True), Beside(d_v, first=False)
    encoder = data.encoder(*(Chain([pad, joint, z]) for pad, z in zip(beside, scores, strict=True)))

    def loss(image: tf.Tensor, text: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        inputs, expected = three_views(image, text)
        decay = tf.nn.l2_loss(joint.kernel) + tf.nn.l2_loss(decoder.kernel)
        return reconstruction_loss(decoder(joint(inputs)), expected) + settings.weight_decay * decay

    def after_epoch() -> None:
        for score, pad, x in zip(scores, beside, (data.image, data.text), strict=True):
            set_z_scores(score, joint(pad(x)).numpy())

    layers, sizes = [joint, decoder], (settings.epochs, settings.batch_size)
    train_epochs(
        gradient_step(loss, layers, settings.sgd()), data, encoder, *sizes, after_epoch=after_epoch
    )
    return encoder


def three_views(image: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return [v, 0], [0, t], [v, t] and three times [v, t], (3b, d_v + d_t) each."""
    no_image, no_text = tf.zeros_like(image), tf.zeros_like(text)
    views = [
        tf.concat(pair, axis=1) for pair in ((image, no_text), (no_image, text), (image, text))
    ]
    return tf.concat(views, axis=0), tf.tile(views[2], (3, 1))


def reconstruction_loss(decoded: tf.Tensor, expected: tf.Tensor) -> tf.Tensor:
    """Return the mean of ½ ‖decoded − expected‖² over rows (b, d)."""
    return tf.reduce_mean(tf.reduce_sum(tf.square(decoded - expected), axis=1)) / 2


SYSTEM = System("Bimodal-AE", "Ngiam et al., ICML 2011", "reconstruction", "cosine", Settings, fit)
