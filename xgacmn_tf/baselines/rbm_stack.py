"""The RBM front end of M-DBN, Bimodal-AE, Corr-AE and CMDN: two layers a modality, one by one.

Images have Gaussian visible units (standardised features). Texts that are word counts have
replicated softmax units, and so have topic proportions, as round(100 p) words; other texts have
Gaussian ones. The originals train 20,000 steps at batch 500 with 1024 units a layer and image rates
of .001 and .05; for shallow features 600 steps at batch 100, 256 units and a first rate of .01 keep
as much of what images and texts have in common (by a CCA between the layers on validation pairs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from xgacmn_tf.baselines import TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.rbm import RBM, Schedule, train_rbm
from xgacmn_tf.baselines.rbm_layers import Counts
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import InputMap, Standardize
from xgacmn_tf.model.layers import Chain
from xgacmn_tf.model.map_choice import choose_map

WORDS_OF_PROPORTIONS = 100.0
TEXT_UNITS = ("auto", "softmax", "gaussian")


@dataclasses.dataclass(frozen=True)
class StackSettings:
    """rbm_steps, rbm_batch: of every RBM. widths: of both RBMs of a modality. text_units: "auto" as
    the module says, or "softmax", "gaussian". *_rates: the learning rates of both, from below;
    replicated softmax units divide theirs by the mean number of words, and Gaussian texts begin
    with the images' rate.
    """

    rbm_steps: int = 600
    rbm_batch: int = 100
    widths: tuple[int, ...] = (256, 256)
    text_units: str = "auto"
    image_rates: tuple[float, ...] = (1e-2, 5e-2)
    text_rates: tuple[float, ...] = (1e-1, 1e-2)

    def __post_init__(self) -> None:
        if self.text_units not in TEXT_UNITS:
            raise InputError(
                f"--model_settings=text_units={self.text_units}: expected one of "
                f"{', '.join(TEXT_UNITS)}"
            )
        check_at_least(1, rbm_batch=self.rbm_batch, widths=min(self.widths))
        check_at_least(0, rbm_steps=self.rbm_steps)
        for name in ("image_rates", "text_rates"):
            for rate in getattr(self, name):
                check_at_least(0, **{name: rate})
        if not len(self.widths) == len(self.image_rates) == len(self.text_rates):
            raise InputError(
                f"--model_settings=widths has {len(self.widths)} layers: expected as many "
                f"image_rates and text_rates, found {len(self.image_rates)} and "
                f"{len(self.text_rates)}"
            )


def pretrained(data: TrainingData, settings: StackSettings) -> CommonSpaceEncoder:
    """Both stacks, trained; codes are the uppermost layers' hidden probabilities."""
    image_map: InputMap = Standardize(data.image.shape[1])
    image_map.fit(data.image)
    text_map, units = _text_map(data.text, settings.text_units)
    text_rates = settings.text_rates
    if units == "gaussian":
        # Ten times the rate at which Gaussian units learn is the rate at which they diverge.
        text_rates = (settings.image_rates[0], *text_rates[1:])
    stacks = []
    for number, (x, kind, rates, decay) in enumerate(
        (
            (image_map(data.image), "gaussian", settings.image_rates, 1e-3),
            (text_map(data.text), units, text_rates, 1e-4),
        )
    ):
        stacks.append(_stack(np.asarray(x), kind, rates, decay, settings, data, number))
    return CommonSpaceEncoder(image_map, text_map, stacks[0], stacks[1], None)


def with_codes(data: TrainingData, encoder: CommonSpaceEncoder) -> TrainingData:
    """`data` with the codes of `encoder` in place of its features."""
    image, text = (codes.numpy() for codes in encoder.codes(data.image, data.text))
    validation = data.validation
    if validation is not None:
        codes = (codes.numpy() for codes in encoder.codes(*validation[:2]))
        validation = (*codes, validation[2])
    return dataclasses.replace(data, image=image, text=text, validation=validation)


def on_top(bottom: CommonSpaceEncoder, top: CommonSpaceEncoder) -> CommonSpaceEncoder:
    """`top`, whose input maps are identities, on the codes of `bottom`."""
    return CommonSpaceEncoder(
        bottom.image_map,
        bottom.text_map,
        Chain([bottom.image_encoder, top.image_encoder]),
        Chain([bottom.text_encoder, _copy(top.text_encoder, top.text_map.output_dim)]),
        top.class_layer,
    )


def _copy(layer: keras.layers.Layer, input_dim: int) -> keras.layers.Layer:
    """The same layer with weights of its own.

    What both sides share in training, Keras would save once and not find again for the other side.
    """
    copy = type(layer).from_config(layer.get_config())
    if not copy.built:
        copy.build((None, input_dim))
    copy.set_weights(layer.get_weights())
    return copy


def z_scores(width: int, features: np.ndarray | None = None) -> keras.layers.BatchNormalization:
    """A layer (n, width) → z-scores; `set_z_scores` gives it its statistics.

    Args:
      width: number of features.
      features: (m, width) training rows to take the statistics from at once.
    """
    # Keras adds epsilon to the variance, and its default is as large as the variance of some
    # logistic codes.
    layer = keras.layers.BatchNormalization(center=False, scale=False, epsilon=0.0)
    layer.build((None, width))
    if features is not None:
        set_z_scores(layer, features)
    return layer


def set_z_scores(layer: keras.layers.BatchNormalization, features: np.ndarray) -> None:
    """Give the layer the mean and the variance of training rows (n, width).

    A feature that is constant in training is only centered.
    """
    standardize = Standardize(features.shape[1])
    standardize.fit(features)
    layer.moving_mean.assign(standardize.mean)
    layer.moving_variance.assign(standardize.scale**2)


def _text_map(text: np.ndarray, units: str) -> tuple[InputMap, str]:
    """The texts' input map, fitted, and the visible units that go with it."""
    proportions = text.min() >= 0 and np.allclose(text.sum(axis=1), 1, atol=1e-3)
    if units == "softmax" and text.min() < 0:
        raise InputError(
            f"--model_settings=text_units=softmax is for word counts and topic proportions, but "
            f"the training text features go down to {text.min():.4g}; use text_units=gaussian"
        )
    if units == "softmax" or (units == "auto" and (proportions or choose_map(text) == "tfidf")):
        return Counts(text.shape[1], WORDS_OF_PROPORTIONS if proportions else 1.0), "softmax"
    standardize = Standardize(text.shape[1])
    standardize.fit(text)
    return standardize, "gaussian"


def _stack(
    x: np.ndarray,
    kind: str,
    rates: Sequence[float],
    first_decay: float,
    settings: StackSettings,
    data: TrainingData,
    number: int,
) -> Chain:
    """The RBMs on mapped features (n, d), trained from below."""
    layers = []
    for level, (width, rate) in enumerate(zip(settings.widths, rates, strict=True)):
        rbm = RBM(width, "binary" if level else kind)
        if rbm.visible == "softmax":
            rate /= max(x.sum(axis=1).mean(), 1.0)
        schedule = Schedule(
            rate, settings.rbm_steps, settings.rbm_batch, 1e-3 if level else first_decay
        )
        train_rbm(rbm, x, schedule, _seed(data.seed, number, level), data.progress)
        x = rbm(x).numpy()
        layers.append(rbm)
    return Chain(layers)


def _seed(*numbers: int) -> int:
    """An integer of its own for every RBM of every run."""
    return int(np.random.default_rng(numbers).integers(2**31))
