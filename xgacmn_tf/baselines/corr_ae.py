"""Corr-AE: two autoencoders with similar codes of a pair.

Feng, Wang and Li, "Cross-modal retrieval with correspondence autoencoder", ACM Multimedia 2014;
the paper's [4].

Objective, for the upper RBM layers v, t of a pair, logistic codes h_v, h_t and their decoders:
  min (1 − α) (‖v − v̂‖² + ‖t − t̂‖²) + α ‖h_v − h_t‖², by stochastic gradient descent,
after two RBMs for each modality (`rbm_stack`). v̂ comes from h_v and t̂ from h_t; in the variant
"cross" v̂ from h_t and t̂ from h_v; in "full" every code reconstructs both. An item's code is the
z-scores of its h, as in `bimodal_ae`.

Fidelity: reconstruction from the paper's description. The numbers of steps are ours: 600 for
each RBM and 20 epochs. On validation pairs of shallow Wikipedia, "corr" was better than the other
variants, another α or a lower dimension. The published text → image score is 0.03 above ours; the
inner product, the Euclidean distance and codes without z-scores were further from it than the
cosine of z-scores.
"""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.bimodal_ae import reconstruction_loss
from xgacmn_tf.baselines.epochs import gradient_step, train_epochs
from xgacmn_tf.baselines.rbm_stack import AutoencoderSettings, fit_on_stack, set_z_scores, z_scores
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Chain
from xgacmn_tf.settings.fields import setting

VARIANTS = ("corr", "cross", "full")


@dataclasses.dataclass(frozen=True)
class Settings(AutoencoderSettings):
    """Settings of the RBMs and of the autoencoders on top of them.

    The authors use an agreement of 0.8, and for "cross" 0.2 with a learning rate of 0.01.
    """

    variant: str = setting("corr", "the codes that reconstruct each modality", choices=VARIANTS)
    epochs: int = setting(20, "maximum number of epochs", minimum=1)
    agreement: float = setting(0.8, "α", minimum=0, maximum=1)
    code_dim: int = setting(1024, "dimension of h", minimum=1)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder trained on the training pairs."""
    return fit_on_stack(data, settings, autoencoders)


def autoencoders(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the layers above the RBMs, whose codes (n, d_v), (n, d_t) are `data`'s features."""
    dims = data.image.shape[1], data.text.shape[1]
    hidden = [keras.layers.Dense(settings.code_dim, "sigmoid") for _ in dims]
    scores = [z_scores(settings.code_dim) for _ in dims]
    encoder = data.encoder(*(Chain([*both]) for both in zip(hidden, scores, strict=True)))
    outputs = {"corr": dims, "cross": dims[::-1], "full": (sum(dims),) * 2}[settings.variant]
    decoders = [keras.layers.Dense(output, "sigmoid") for output in outputs]
    for decoder in decoders:
        decoder.build((None, settings.code_dim))
    layers = [*hidden, *decoders]

    def loss(image: tf.Tensor, text: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        both = tf.concat([image, text], axis=1)
        expected = {"corr": (image, text), "cross": (text, image), "full": (both, both)}
        codes = hidden[0](image), hidden[1](text)
        decoded = [decoder(code) for decoder, code in zip(decoders, codes, strict=True)]
        decay = settings.weight_decay * tf.add_n([tf.nn.l2_loss(x.kernel) for x in layers])
        return objective(codes, decoded, expected[settings.variant], settings.agreement) + decay

    def after_epoch() -> None:
        for score, layer, x in zip(scores, hidden, (data.image, data.text), strict=True):
            set_z_scores(score, layer(x).numpy())

    sizes = settings.epochs, settings.batch_size
    train_epochs(
        gradient_step(loss, layers, settings.sgd()), data, encoder, *sizes, after_epoch=after_epoch
    )
    return encoder


def objective(
    codes: Sequence[tf.Tensor],
    decoded: Sequence[tf.Tensor],
    expected: Sequence[tf.Tensor],
    agreement: float,
) -> tf.Tensor:
    """Return half of the module's objective, averaged over a batch.

    Args:
      codes: h_v and h_t, (b, e) each.
      decoded: the reconstruction by each code, two (b, d).
      expected: the targets of the reconstructions, likewise.
      agreement: α.
    """
    reconstruction = tf.add_n(
        [reconstruction_loss(ours, theirs) for ours, theirs in zip(decoded, expected, strict=True)]
    )
    return (1 - agreement) * reconstruction + agreement * reconstruction_loss(*codes)


SYSTEM = System(
    "Corr-AE", "Feng et al., ACM Multimedia 2014", "reconstruction", "cosine", Settings, fit
)
