"""Corr-AE: two autoencoders whose codes of a pair must agree.

Feng, Wang and Li, "Cross-modal retrieval with correspondence autoencoder", ACM Multimedia 2014;
the paper's [4].

Objective, for the upper RBM layers v, t of a pair, logistic codes h_v, h_t and their decoders:
  min (1 − α) (‖v − v̂‖² + ‖t − t̂‖²) + α ‖h_v − h_t‖², by stochastic gradient descent,
after two RBMs a modality (`rbm_stack`). v̂ comes from h_v and t̂ from h_t; in the variant "cross"
v̂ from h_t and t̂ from h_v; in "full" every code reconstructs both. An item's code is the z-scores
of its h, as in `bimodal_ae`: without them the cosine would see little but the codes' mean.

Fidelity: reconstruction from the paper's description. The steps are ours, 600 an RBM and 20
epochs. On validation pairs of shallow Wikipedia neither variant beat "corr", nor did another α or
a narrower code. The published text → image row is .03 above ours; neither inner product nor
Euclidean distance, nor codes that are not z-scored, came nearer to it than the cosine.
"""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.bimodal_ae import reconstruction_loss
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.epochs import train_epochs
from xgacmn_tf.baselines.rbm_stack import (
    StackSettings,
    on_top,
    pretrained,
    set_z_scores,
    with_codes,
    z_scores,
)
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.layers import Chain

VARIANTS = ("corr", "cross", "full")


@dataclasses.dataclass(frozen=True)
class Settings(StackSettings):
    """variant: one of `VARIANTS`. agreement: α; the authors take .8, for "cross" .2 and a learning
    rate of .01. code_dim: width of h. weight_decay: weight of ½ ‖W‖².
    """

    variant: str = "corr"
    epochs: int = 20
    batch_size: int = 100
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    agreement: float = 0.8
    code_dim: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, epochs=self.epochs, batch_size=self.batch_size, code_dim=self.code_dim)
        if self.variant not in VARIANTS:
            raise InputError(
                f"--model_settings=variant={self.variant}: expected one of {', '.join(VARIANTS)}"
            )


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    bottom = pretrained(data, settings)
    return on_top(bottom, autoencoders(with_codes(data, bottom), settings))


def autoencoders(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """The layers above the RBMs, for `data` that has their codes (n, d_v), (n, d_t) as features."""
    dims = data.image.shape[1], data.text.shape[1]
    hidden = [keras.layers.Dense(settings.code_dim, "sigmoid") for _ in dims]
    scores = [z_scores(settings.code_dim) for _ in dims]
    encoder = CommonSpaceEncoder(
        Identity(dims[0]),
        Identity(dims[1]),
        Chain([hidden[0], scores[0]]),
        Chain([hidden[1], scores[1]]),
        None,
    )
    outputs = {"corr": dims, "cross": dims[::-1], "full": (sum(dims),) * 2}[settings.variant]
    decoders = [keras.layers.Dense(output, "sigmoid") for output in outputs]
    for decoder in decoders:
        decoder.build((None, settings.code_dim))
    layers = [*hidden, *decoders]
    variables = [variable for layer in layers for variable in layer.trainable_variables]
    optimizer = keras.optimizers.SGD(settings.learning_rate, settings.momentum)
    optimizer.build(variables)

    def step(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, share: tf.Tensor) -> None:
        del targets, share
        both = tf.concat([image, text], axis=1)
        wanted = {"corr": (image, text), "cross": (text, image), "full": (both, both)}
        with tf.GradientTape() as tape:
            codes = hidden[0](image), hidden[1](text)
            decoded = [decoder(code) for decoder, code in zip(decoders, codes, strict=True)]
            loss = objective(codes, decoded, wanted[settings.variant], settings.agreement)
            loss += settings.weight_decay * tf.add_n([tf.nn.l2_loss(x.kernel) for x in layers])
        optimizer.apply(tape.gradient(loss, variables), variables)

    def after_epoch() -> None:
        for score, layer, x in zip(scores, hidden, (data.image, data.text), strict=True):
            set_z_scores(score, layer(x).numpy())

    train_epochs(data, encoder, step, settings.epochs, settings.batch_size, "cosine", after_epoch)
    return encoder


def objective(
    codes: Sequence[tf.Tensor],
    decoded: Sequence[tf.Tensor],
    wanted: Sequence[tf.Tensor],
    agreement: float,
) -> tf.Tensor:
    """The module's objective over two, mean over a batch.

    Args:
      codes: h_v and h_t, (b, e) each.
      decoded, wanted: what each code reconstructs and should, two (b, d) each.
      agreement: α.
    """
    reconstruction = tf.add_n(
        [reconstruction_loss(ours, theirs) for ours, theirs in zip(decoded, wanted, strict=True)]
    )
    return (1 - agreement) * reconstruction + agreement * reconstruction_loss(*codes)


SYSTEM = System(
    title="Corr-AE",
    citation="Feng et al., ACM Multimedia 2014",
    fidelity="reconstruction",
    similarity="cosine",
    settings=Settings,
    fit=fit,
)
