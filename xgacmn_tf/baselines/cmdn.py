"""CMDN: cross-media multiple deep networks, of each modality and then of both.

Peng, Huang and Qi, "Cross-media shared representation by hierarchical learning with multiple deep
networks", IJCAI 2016; the paper's [21].

Objective, in stages, each trained on the frozen output of the previous ones:
  1. intra-modal: an autoencoder of ReLU layers for each modality, min ‖x − x̂‖²;
  2. inter-modal: the multimodal DBN of `mdbn`, whose joint layer is inferred from one modality;
  3. an RBM (CD-1) for each modality over the z-scores of [intra, inter];
  4. a ReLU network of three layers and a softmax for each modality, min CE; without the softmax;
  5. stacked bimodal autoencoders (`bimodal_ae`), each below a softmax that both modalities share:
     min ½ ‖r(h(x)) − [v, t]‖² / (d_v + d_t) + CE(h(x)) over x ∈ {[v, 0], [0, t], [v, t]};
  6. z-scores of the last codes, which are compared by the cosine.

Fidelity: reconstruction from the paper's description. The authors' code is public
(PKU-ICST-MIPL/CMDN_IJCAI2016) and has the same stages. Its last z-scores (calMap.py) use the mean
and the deviation of the *test* codes; ours use those of the training codes, so that an item can be
encoded alone. The published row is for deep features only. Its widths (2048-1024 and joint 2048,
1024-512, 1024, 3 × 1024, 512-256-128-64) are for those too; ours are a quarter to a half of them.
The numbers of steps and epochs are ours.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData, mdbn
from xgacmn_tf.baselines.bimodal_ae import reconstruction_loss, three_views
from xgacmn_tf.baselines.epochs import cross_entropy, gradient_step, train_epochs
from xgacmn_tf.baselines.rbm import RBM, Schedule, train_rbm
from xgacmn_tf.baselines.rbm_layers import Beside, Parallel
from xgacmn_tf.baselines.rbm_stack import on_top, pretrained, with_codes, z_scores
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Chain, LinearClasses
from xgacmn_tf.settings.fields import setting


@dataclasses.dataclass(frozen=True)
class Settings(mdbn.Settings):
    """Settings of the RBMs and of the stages of the module."""

    joint_width: int = setting(512, "units of the joint layer (2)", minimum=1)
    intra_widths: tuple[int, ...] = setting((256, 128), "units of the layers (1)", minimum=1)
    top_width: int = setting(256, "hidden units (3)", minimum=1)
    network_width: int = setting(512, "units of each layer (4)", minimum=1)
    code_widths: tuple[int, ...] = setting((256, 128, 64, 32), "dimensions of h (5)", minimum=1)
    batch_size: int = setting(100, "pairs in a batch (1, 4, 5)", minimum=1)
    intra_epochs: int = setting(20, "epochs (1)", minimum=1)
    network_epochs: int = setting(30, "epochs (4)", minimum=1)
    code_epochs: int = setting(20, "maximum number of epochs of each autoencoder (5)", minimum=1)
    network_rate: float = setting(1e-2, "learning rate (4)", minimum=0)
    code_rate: float = setting(5e-2, "learning rate (5)", minimum=0)
    weight_decay: float = setting(1e-3, "weight of ½ ‖W‖² (4)", minimum=0)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder trained on the training pairs."""
    stack = pretrained(data, settings)
    inter = on_top(stack, mdbn.inference(with_codes(data, stack), settings, "hidden"))
    maps = stack.image_map, stack.text_map
    mapped = CommonSpaceEncoder(*maps, Chain([]), Chain([]), None)
    intra = on_top(mapped, intra_modal(with_codes(data, mapped), settings))
    encoder = CommonSpaceEncoder(
        *maps,
        Parallel([intra.image_encoder, inter.image_encoder]),
        Parallel([intra.text_encoder, inter.text_encoder]),
        None,
    )
    stages: list[Callable[..., CommonSpaceEncoder]] = [top_rbms, label_networks]
    stages += [partial(label_autoencoder, width=width) for width in settings.code_widths]
    codes = with_codes(data, encoder)
    for stage in stages:
        top = stage(codes, settings)
        encoder, codes = on_top(encoder, top), with_codes(codes, top)
    return on_top(encoder, codes.encoder(*_scales(codes)))


def intra_modal(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the autoencoders of stage 1, trained on mapped features."""
    scales = _scales(data)
    encoders, decoders = [], []
    for scale, x in zip(scales, (data.image, data.text), strict=True):
        encoders.append(Chain([scale, *_relu(settings.intra_widths)]))
        outputs = keras.layers.Dense(x.shape[1])
        decoders.append(Chain([*_relu(settings.intra_widths[-2::-1]), outputs]))
        decoders[-1].build((None, settings.intra_widths[-1]))
    encoder = data.encoder(*encoders)

    def loss(image: tf.Tensor, text: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        sides = zip((image, text), encoders, scales, decoders, strict=True)
        return tf.add_n(
            [
                tf.reduce_mean(tf.square(decoder(side(x)) - scale(x)))
                for x, side, scale, decoder in sides
            ]
        )

    layers, quiet = [encoder, *decoders], _without_validation(data)
    sizes = settings.intra_epochs, settings.batch_size
    train_epochs(gradient_step(loss, layers, keras.optimizers.Adam(1e-3)), quiet, encoder, *sizes)
    return encoder


def top_rbms(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the RBMs of stage 3, trained on [intra, inter]."""
    sides = []
    for number, (x, scale) in enumerate(zip((data.image, data.text), _scales(data), strict=True)):
        rbm = RBM(settings.top_width, "gaussian")
        schedule = Schedule(settings.image_rates[0], settings.rbm_steps, settings.rbm_batch)
        train_rbm(rbm, np.asarray(scale(x)), schedule, data.seed + number, data.progress)
        sides.append(Chain([scale, rbm]))
    return data.encoder(*sides)


def label_networks(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the networks of stage 4, trained on the hidden layers of the RBMs."""
    sides, classes = [], []
    for scale in _scales(data):
        sides.append(Chain([scale, *_relu([settings.network_width] * 3)]))
        classes.append(LinearClasses(data.targets.shape[1]))
        classes[-1].build((None, settings.network_width))
    encoder = data.encoder(*sides)
    kernels = [w for side in sides for w in side.trainable_weights if w.name == "kernel"]

    def loss(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        decay = settings.weight_decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
        layers = zip(classes, sides, (image, text), strict=True)
        logits = (layer(side(x)) for layer, side, x in layers)
        return decay + tf.add_n([cross_entropy(targets, x) for x in logits])

    optimizer, quiet = keras.optimizers.SGD(settings.network_rate, 0.9), _without_validation(data)
    sizes = settings.network_epochs, settings.batch_size
    train_epochs(gradient_step(loss, [encoder, *classes], optimizer), quiet, encoder, *sizes)
    return encoder


def label_autoencoder(data: TrainingData, settings: Settings, width: int) -> CommonSpaceEncoder:
    """Return an autoencoder of stage 5, of the epoch with the best retrieval by posteriors.

    Its inputs are z-scores, so that the zeros of a missing modality are its mean.
    """
    scales = _scales(data)
    d_v, d_t = data.image.shape[1], data.text.shape[1]
    joint, decoder = keras.layers.Dense(width, "sigmoid"), keras.layers.Dense(d_v + d_t)
    classes = LinearClasses(data.targets.shape[1])
    joint.build((None, d_v + d_t))
    decoder.build((None, width))
    classes.build((None, width))
    beside = Beside(d_t, first=True), Beside(d_v, first=False)
    chains = [Chain([scale, pad, joint]) for scale, pad in zip(scales, beside, strict=True)]
    encoder = data.encoder(chains[0], chains[1], classes)

    def loss(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        inputs, expected = three_views(scales[0](image), scales[1](text))
        codes = joint(inputs)
        reconstruction = reconstruction_loss(decoder(codes), expected) / (d_v + d_t)
        return reconstruction + cross_entropy(tf.tile(targets, (3, 1)), classes(codes))

    optimizer = keras.optimizers.SGD(settings.code_rate, 0.9)
    sizes = settings.code_epochs, settings.batch_size
    train_epochs(
        gradient_step(loss, [encoder, decoder], optimizer), data, encoder, *sizes, "posterior"
    )
    return encoder


def _scales(data: TrainingData) -> list[keras.layers.Layer]:
    """Return layers that compute z-scores of image and of text features."""
    return [z_scores(x.shape[1], x) for x in (data.image, data.text)]


def _relu(widths: Sequence[int]) -> list[keras.layers.Layer]:
    return [keras.layers.Dense(width, "relu") for width in widths]


def _without_validation(data: TrainingData) -> TrainingData:
    return dataclasses.replace(data, validation=None, planned_epochs=None)


SYSTEM = System("CMDN", "Peng et al., IJCAI 2016", "reconstruction", "cosine", Settings, fit)
