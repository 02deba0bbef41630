"""CMDN: several deep networks, stacked: first each modality alone, then both together.

Peng, Huang and Qi, "Cross-media shared representation by hierarchical learning with multiple deep
networks", IJCAI 2016; the paper's [21].

Stages, each trained on the frozen output of those before it:
  1. intra-modal: an autoencoder of ReLU layers a modality, min ‖x − x̂‖²;
  2. inter-modal: the multimodal DBN of `mdbn`, whose joint layer is inferred from one modality;
  3. an RBM (CD-1) a modality over the z-scores of [intra, inter];
  4. a ReLU network of three layers and a softmax a modality, min CE; its third layer stays;
  5. bimodal autoencoders (`bimodal_ae`) one on another, each under a softmax that both modalities
     share: min ½ ‖r(h(x)) − [v, t]‖² / (d_v + d_t) + CE(h(x)) over x ∈ {[v, 0], [0, t], [v, t]};
  6. z-scores of the last codes, cosine.

Fidelity: reconstruction from the paper's description. The authors' code is public
(PKU-ICST-MIPL/CMDN_IJCAI2016) and has the same chain of stages. Its last z-scores (calMap.py) use
the mean and deviation of the *test* codes; ours use those of the training codes, so that an item
can be encoded alone. The published row is for deep features alone. Its widths (2048-1024 and joint
2048, 1024-512, 1024, 3 × 1024, 512-256-128-64) are for those too: ours are a quarter to a half of
them. The numbers of steps and epochs are ours.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData, mdbn
from xgacmn_tf.baselines.bimodal_ae import reconstruction_loss, three_views
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.epochs import train_epochs
from xgacmn_tf.baselines.rbm import RBM, Schedule, train_rbm
from xgacmn_tf.baselines.rbm_layers import Beside, Parallel
from xgacmn_tf.baselines.rbm_stack import on_top, pretrained, with_codes, z_scores
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.layers import Chain, LinearClasses


@dataclasses.dataclass(frozen=True)
class Settings(mdbn.Settings):
    """intra_widths, joint_width, top_width, network_width, code_widths: of the stages 1 to 5.
    intra_epochs, network_epochs, code_epochs: of the stages 1, 4 and 5, the last for each of its
    autoencoders. network_rate, code_rate: learning rates of 4 and 5. weight_decay: weight of
    ½ ‖W‖² in 4.
    """

    joint_width: int = 512
    intra_widths: tuple[int, ...] = (256, 128)
    top_width: int = 256
    network_width: int = 512
    code_widths: tuple[int, ...] = (256, 128, 64, 32)
    batch_size: int = 100
    intra_epochs: int = 20
    network_epochs: int = 30
    code_epochs: int = 20
    network_rate: float = 1e-2
    code_rate: float = 5e-2
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(
            1,
            intra_widths=min(self.intra_widths),
            top_width=self.top_width,
            network_width=self.network_width,
            code_widths=min(self.code_widths),
            batch_size=self.batch_size,
            intra_epochs=self.intra_epochs,
            network_epochs=self.network_epochs,
            code_epochs=self.code_epochs,
        )
        check_at_least(0, network_rate=self.network_rate, code_rate=self.code_rate)
        check_at_least(0, weight_decay=self.weight_decay)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    stack = pretrained(data, settings)
    inter = on_top(stack, mdbn.inference(with_codes(data, stack), settings, "hidden"))
    maps = CommonSpaceEncoder(stack.image_map, stack.text_map, Chain([]), Chain([]), None)
    intra = on_top(maps, intra_modal(with_codes(data, maps), settings))
    encoder = CommonSpaceEncoder(
        stack.image_map,
        stack.text_map,
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
    return on_top(encoder, _tops(codes, *_scales(codes)))


def intra_modal(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Stage 1, on mapped features."""
    scales = _scales(data)
    encoders, decoders = [], []
    for scale, x in zip(scales, (data.image, data.text), strict=True):
        encoders.append(Chain([scale, *_dense(settings.intra_widths, "relu")]))
        mirrored = (*settings.intra_widths[-2::-1],)
        outputs = keras.layers.Dense(x.shape[1])
        decoders.append(Chain([*_dense(mirrored, "relu"), outputs]))
        decoders[-1].build((None, settings.intra_widths[-1]))
    encoder = _tops(data, *encoders)

    def loss(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        del targets
        return tf.add_n(
            [
                tf.reduce_mean(tf.square(decoder(side(x)) - scale(x)))
                for x, side, scale, decoder in zip(
                    (image, text), encoders, scales, decoders, strict=True
                )
            ]
        )

    optimizer = keras.optimizers.Adam(1e-3)
    _train(_without_validation(data), encoder, decoders, loss, optimizer, settings, "intra_epochs")
    return encoder


def top_rbms(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Stage 3, on [intra, inter]."""
    sides = []
    for number, (x, scale) in enumerate(zip((data.image, data.text), _scales(data), strict=True)):
        rbm = RBM(settings.top_width, "gaussian")
        schedule = Schedule(settings.image_rates[0], settings.rbm_steps, settings.rbm_batch)
        train_rbm(rbm, np.asarray(scale(x)), schedule, data.seed + number, data.progress)
        sides.append(Chain([scale, rbm]))
    return _tops(data, *sides)


def label_networks(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Stage 4, on the RBMs' hidden layers."""
    sides, classes = [], []
    for scale in _scales(data):
        sides.append(Chain([scale, *_dense([settings.network_width] * 3, "relu")]))
        classes.append(LinearClasses(data.targets.shape[1]))
        classes[-1].build((None, settings.network_width))
    encoder = _tops(data, *sides)
    kernels = [w for side in sides for w in side.trainable_weights if w.name == "kernel"]

    def loss(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        decay = settings.weight_decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
        layers = zip(classes, sides, (image, text), strict=True)
        logits = (layer(side(x)) for layer, side, x in layers)
        return decay + tf.add_n([cross_entropy(targets, x) for x in logits])

    optimizer = keras.optimizers.SGD(settings.network_rate, 0.9)
    quiet = _without_validation(data)
    _train(quiet, encoder, classes, loss, optimizer, settings, "network_epochs")
    return encoder


def label_autoencoder(data: TrainingData, settings: Settings, width: int) -> CommonSpaceEncoder:
    """One autoencoder of stage 5, with the epoch whose posteriors retrieve validation pairs best.

    Its inputs are z-scores, so that the zeros of a missing modality are that modality's mean.
    """
    scales = _scales(data)
    d_v, d_t = data.image.shape[1], data.text.shape[1]
    joint, decoder = keras.layers.Dense(width, "sigmoid"), keras.layers.Dense(d_v + d_t)
    classes = LinearClasses(data.targets.shape[1])
    joint.build((None, d_v + d_t))
    decoder.build((None, width))
    classes.build((None, width))
    encoder = _tops(
        data,
        Chain([scales[0], Beside(d_t, first=True), joint]),
        Chain([scales[1], Beside(d_v, first=False), joint]),
        classes,
    )

    def loss(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        inputs, wanted = three_views(scales[0](image), scales[1](text))
        codes = joint(inputs)
        reconstruction = reconstruction_loss(decoder(codes), wanted) / (d_v + d_t)
        return reconstruction + cross_entropy(tf.tile(targets, (3, 1)), classes(codes))

    optimizer = keras.optimizers.SGD(settings.code_rate, 0.9)
    _train(data, encoder, [decoder], loss, optimizer, settings, "code_epochs", "posterior")
    return encoder


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean over (b, c) rows; an item with several labels shares its weight among them."""
    shares = targets / tf.reduce_sum(targets, axis=1, keepdims=True)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(shares, logits))


def _train(
    data: TrainingData,
    encoder: CommonSpaceEncoder,
    others: Sequence[keras.layers.Layer],
    loss: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
    optimizer: keras.optimizers.Optimizer,
    settings: Settings,
    epochs: str,
    similarity: str = "cosine",
) -> None:
    """Trains `encoder` and the `others` by `loss` (image, text, targets) for settings.`epochs`."""
    weights = [w for layer in (encoder, *others) for w in layer.trainable_weights]
    variables = list({id(w): w for w in weights}.values())
    optimizer.build(variables)

    def step(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, share: tf.Tensor) -> None:
        del share
        with tf.GradientTape() as tape:
            value = loss(image, text, targets)
        optimizer.apply(tape.gradient(value, variables), variables)

    train_epochs(data, encoder, step, getattr(settings, epochs), settings.batch_size, similarity)


def _tops(
    data: TrainingData,
    image_layer: keras.layers.Layer,
    text_layer: keras.layers.Layer,
    class_layer: LinearClasses | None = None,
) -> CommonSpaceEncoder:
    """Layers on the codes that `data` has as features."""
    maps = Identity(data.image.shape[1]), Identity(data.text.shape[1])
    return CommonSpaceEncoder(*maps, image_layer, text_layer, class_layer)


def _scales(data: TrainingData) -> list[keras.layers.Layer]:
    """z-scores of image and text features."""
    return [z_scores(x.shape[1], x) for x in (data.image, data.text)]


def _dense(widths: Sequence[int], activation: str) -> list[keras.layers.Layer]:
    return [keras.layers.Dense(width, activation) for width in widths]


def _without_validation(data: TrainingData) -> TrainingData:
    return dataclasses.replace(data, validation=None, planned_epochs=None)


SYSTEM = System(
    title="CMDN",
    citation="Peng et al., IJCAI 2016",
    fidelity="reconstruction",
    similarity="cosine",
    settings=Settings,
    fit=fit,
)
