"""Stacks of two RBMs for each modality, below M-DBN, Bimodal-AE, Corr-AE and CMDN.

Images have Gaussian visible units (standardized features). Texts that are word counts have
replicated softmax units, as have topic proportions p, which count as round(100 p) words; other
texts have Gaussian units. The originals train 20,000 steps at batch 500 with 1024 units per layer
and image rates of 0.001 and 0.05. For shallow features, 600 steps at batch 100 with 256 units and a
first rate of 0.01 preserve as much of the correlation between images and texts (CCA between the
layers, on validation pairs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import keras
import numpy as np

from xgacmn_tf.baselines import TrainingData
from xgacmn_tf.baselines.rbm import RBM, Schedule, train_rbm
from xgacmn_tf.baselines.rbm_layers import Counts
from xgacmn_tf.baselines.settings import SystemSettings
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import InputMap
from xgacmn_tf.model.layers import Chain
from xgacmn_tf.model.map_choice import choose_map, fit_map
from xgacmn_tf.settings.fields import setting

WORDS_OF_PROPORTIONS = 100.0
TEXT_UNITS = ("auto", "softmax", "gaussian")


@dataclasses.dataclass(frozen=True)
class StackSettings(SystemSettings):
    """Settings of the RBMs.

    Replicated softmax units divide their learning rate by the mean number of words, and Gaussian
    units of texts start with the rate of images.
    """

    rbm_steps: int = setting(600, "updates of each RBM", minimum=0)
    rbm_batch: int = setting(100, "items in a batch of an RBM", minimum=1)
    widths: tuple[int, ...] = setting((256, 256), "hidden units of a modality's RBMs", minimum=1)
    text_units: str = setting("auto", "visible units of texts", choices=TEXT_UNITS)
    image_rates: tuple[float, ...] = setting((1e-2, 5e-2), "learning rates, images", minimum=0)
    text_rates: tuple[float, ...] = setting((1e-1, 1e-2), "learning rates, texts", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.widths) == len(self.image_rates) == len(self.text_rates):
            raise InputError(
                f"--model_settings=widths has {len(self.widths)} layers: expected as many "
                f"image_rates and text_rates, received {len(self.image_rates)} and "
                f"{len(self.text_rates)}"
            )


@dataclasses.dataclass(frozen=True)
class AutoencoderSettings(StackSettings):
    """Settings of the RBMs and of stochastic gradient descent on autoencoders on top of them."""

    batch_size: int = setting(100, "pairs in a batch", minimum=1)
    learning_rate: float = setting(0.05, "learning rate", minimum=0)
    momentum: float = setting(0.9, "momentum", minimum=0, maximum=1)
    weight_decay: float = setting(1e-4, "weight of ½ ‖W‖²", minimum=0)

    def sgd(self) -> keras.optimizers.SGD:
        """Return the optimizer."""
        return keras.optimizers.SGD(self.learning_rate, self.momentum)


AnySettings = TypeVar("AnySettings", bound=StackSettings)


def fit_on_stack(
    data: TrainingData,
    settings: AnySettings,
    fit: Callable[[TrainingData, AnySettings], CommonSpaceEncoder],
) -> CommonSpaceEncoder:
    """Return the trained RBMs with the encoder that `fit` trains on their codes."""
    stack = pretrained(data, settings)
    return on_top(stack, fit(with_codes(data, stack), settings))


def pretrained(data: TrainingData, settings: StackSettings) -> CommonSpaceEncoder:
    """Return the trained RBMs of both modalities; codes are the upper hidden probabilities."""
    image_map = fit_map("zscore", data.image, "image")
    text_map, units = _text_map(data.text, settings.text_units)
    text_rates = settings.text_rates
    if units == "gaussian":
        # Gaussian units diverge at ten times the rate at which they learn.
        text_rates = (settings.image_rates[0], *text_rates[1:])
    sides = (
        (image_map(data.image), "gaussian", settings.image_rates, 1e-3),
        (text_map(data.text), units, text_rates, 1e-4),
    )
    stacks = []
    for number, (x, kind, rates, decay) in enumerate(sides):
        x, layers = np.asarray(x), []
        for level, (width, rate) in enumerate(zip(settings.widths, rates, strict=True)):
            rbm = RBM(width, "binary" if level else kind)
            if rbm.visible == "softmax":
                rate /= max(x.sum(axis=1).mean(), 1.0)
            sizes = settings.rbm_steps, settings.rbm_batch
            schedule = Schedule(rate, *sizes, 1e-3 if level else decay)
            seed = int(np.random.default_rng((data.seed, number, level)).integers(2**31))
            train_rbm(rbm, x, schedule, seed, data.progress)
            x = rbm(x).numpy()
            layers.append(rbm)
        stacks.append(Chain(layers))
    return CommonSpaceEncoder(image_map, text_map, stacks[0], stacks[1], None)


def with_codes(data: TrainingData, encoder: CommonSpaceEncoder) -> TrainingData:
    """Return `data` with the codes of `encoder` instead of its features."""
    image, text = (codes.numpy() for codes in encoder.codes(data.image, data.text))
    validation = data.validation
    if validation is not None:
        codes = (codes.numpy() for codes in encoder.codes(*validation[:2]))
        validation = (*codes, validation[2])
    return dataclasses.replace(data, image=image, text=text, validation=validation)


def on_top(bottom: CommonSpaceEncoder, top: CommonSpaceEncoder) -> CommonSpaceEncoder:
    """Return `top`, whose input maps are identities, on the codes of `bottom`."""
    return CommonSpaceEncoder(
        bottom.image_map,
        bottom.text_map,
        Chain([bottom.image_encoder, top.image_encoder]),
        Chain([bottom.text_encoder, _copy(top.text_encoder, top.text_map.output_dim)]),
        top.class_layer,
    )


def _copy(layer: keras.layers.Layer, input_dim: int) -> keras.layers.Layer:
    """Return a copy of a layer, because Keras cannot load a layer that two encoders share."""
    copy = type(layer).from_config(layer.get_config())
    if not copy.built:
        copy.build((None, input_dim))
    copy.set_weights(layer.get_weights())
    return copy


def z_scores(width: int, features: np.ndarray | None = None) -> keras.layers.BatchNormalization:
    """Return a layer (n, width) → z-scores, whose statistics `set_z_scores` sets.

    Args:
      width: number of features.
      features: (m, width) training rows, of which the statistics are set.
    """
    # Keras adds epsilon to the variance, and some logistic codes vary less than its default.
    layer = keras.layers.BatchNormalization(center=False, scale=False, epsilon=0.0)
    layer.build((None, width))
    if features is not None:
        set_z_scores(layer, features)
    return layer


def set_z_scores(layer: keras.layers.BatchNormalization, features: np.ndarray) -> None:
    """Set the statistics of a layer to those of training rows (n, width).

    Features that are constant in training are only centered.
    """
    standardize = fit_map("zscore", features, "image")
    layer.moving_mean.assign(standardize.mean)
    layer.moving_variance.assign(standardize.scale**2)


def _text_map(text: np.ndarray, units: str) -> tuple[InputMap, str]:
    """Return the fitted input map of texts and its visible units."""
    proportions = text.min() >= 0 and np.allclose(text.sum(axis=1), 1, atol=1e-3)
    if units == "softmax" and text.min() < 0:
        raise InputError(
            f"--model_settings=text_units=softmax is for word counts and topic proportions, but "
            f"the training text features go down to {text.min():.4g}; use text_units=gaussian"
        )
    if units == "softmax" or (units == "auto" and (proportions or choose_map(text) == "tfidf")):
        return Counts(text.shape[1], WORDS_OF_PROPORTIONS if proportions else 1.0), "softmax"
    return fit_map("zscore", text, "text"), "gaussian"
