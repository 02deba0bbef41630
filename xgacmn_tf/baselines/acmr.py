"""ACMR: adversarial cross-modal retrieval.

Wang, Yang, Xu, Hanjalic and Shen, "Adversarial cross-modal retrieval", ACM Multimedia 2017; the
paper's [34].

Objective, for encoders f_v, f_t, a label classifier and a modality classifier D:
  min  β · mean(CE(v) + CE(t)) + mean(L(v, t⁺, t⁻) + L(t, v⁺, v⁻)) − γ · mean(CE_D(v) + CE_D(t))
  over the encoders and the label classifier, with L(a, p, n) = [μ + α ‖a − p‖ − ‖a − n‖]₊, where p
  is the partner of a and n the nearest item of another class in the batch;
  min  CE_D over D, through a gradient reversal of weight γ = 2 / (1 + e^{−10 p}) − 1, p the share
  of the training that is done.

Similarity: the inner product of the label classifier's posteriors.

Fidelity: widths, weights and schedule from a public copy of the authors' code
(BMC-SDNU/Cross-Modal-Retrieval, ACMR/models/adv_crossmodal_triplet_wiki.py); the losses as the
article describes them. That code differs from the article and from the default here:
  - the reversed gradient never reaches the encoders, and the label classifier is never trained;
  - n is the partner of that item in the batch whose *input feature* of a's modality is the most
    similar to a's by cosine, among pairs of another class; here n is the nearest *code*;
  - the triplet term is [μ + α D⁺ − D⁻]₊ with D the sum of ½ ‖a − x‖² over the batch, one hinge for
    the whole batch in each direction; here distances are not squared and each item has a hinge.
`as_released=true` follows the code in all of these. The code ranks by Euclidean distance to depth
50. Its learning rate of 1e-4 is for features of deep networks. Like the code, ours does not map
image features: on validation pairs of shallow Wikipedia (mean of five parts) this reaches 0.275,
and X-GACMN's image map 0.270. The similarity of the published rows is unknown. On one of those
parts the posteriors reached 0.292, their cosine 0.266, the codes' inner product 0.262, their cosine
0.254 and their Euclidean distance 0.227.
"""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.epochs import cross_entropy, gradient_step, row_lengths, train_epochs
from xgacmn_tf.baselines.settings import MapSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import LinearClasses
from xgacmn_tf.model.map_choice import fit_maps
from xgacmn_tf.model.networks import Encoder
from xgacmn_tf.names import MAP_NAMES
from xgacmn_tf.settings.fields import setting


@dataclasses.dataclass(frozen=True)
class Settings(MapSettings):
    """Settings; the symbols are those of the module's formula."""

    image_map: str = setting("none", "input map of images", choices=MAP_NAMES)
    epochs: int = setting(60, "maximum number of epochs", minimum=1)
    batch_size: int = setting(64, "pairs in a batch", minimum=1)
    learning_rate: float = setting(1e-3, "learning rate", minimum=0)
    label_weight: float = setting(100.0, "β", minimum=0)
    margin: float = setting(0.1, "μ", minimum=0)
    pair_weight: float = setting(5.0, "α", minimum=0)
    code_dim: int = setting(40, "dimension of the common space", minimum=1)
    as_released: bool = setting(False, "train as the released code does")


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder trained on the training pairs."""
    classes = LinearClasses(data.targets.shape[1])
    encoder = CommonSpaceEncoder(
        *fit_maps(settings, data.image, data.text, data.targets, data.group),
        Encoder((512, 100), settings.code_dim),
        Encoder((40, 100), settings.code_dim),
        classes,
    )
    modality = keras.Sequential([keras.layers.Dense(width) for width in (20, 10, 2)])
    modality.build((None, settings.code_dim))
    layers = [encoder.image_encoder, encoder.text_encoder, modality]
    if not settings.as_released:
        layers.append(classes)

    def loss(image: tf.Tensor, text: tf.Tensor, targets: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        strength = 0.0 if settings.as_released else 2 / (1 + tf.exp(-10 * share)) - 1
        mapped = encoder.image_map(image), encoder.text_map(text)
        v, t = encoder.image_encoder(mapped[0]), encoder.text_encoder(mapped[1])
        labels = cross_entropy(targets, classes(v)) + cross_entropy(targets, classes(t))
        if settings.as_released:
            triplets = _released_triplet(v, t, mapped[0], targets, settings)
            triplets += _released_triplet(t, v, mapped[1], targets, settings)
        else:
            triplets = _triplet(v, t, targets, settings) + _triplet(t, v, targets, settings)
        logits = modality(reverse_gradient(tf.concat([v, t], axis=0), strength))
        side = tf.repeat([0, 1], tf.shape(v)[0])
        adversary = tf.nn.sparse_softmax_cross_entropy_with_logits(side, logits)
        return (
            settings.label_weight * labels
            + tf.reduce_mean(triplets)
            + 2 * tf.reduce_mean(adversary)
        )

    optimizer = keras.optimizers.Adam(settings.learning_rate, beta_1=0.5)
    sizes = settings.epochs, settings.batch_size
    train_epochs(gradient_step(loss, layers, optimizer), data, encoder, *sizes, SYSTEM.similarity)
    return encoder


def _triplet(
    anchor: tf.Tensor, other: tf.Tensor, targets: tf.Tensor, settings: Settings
) -> tf.Tensor:
    """Return (b,) [μ + α d(anchor, its pair) − d(anchor, nearest of another class)]₊."""
    distance = row_lengths(anchor[:, None] - other[None])
    shared = tf.matmul(targets, targets, transpose_b=True) > 0
    # A batch of a single class has no negatives, and then no loss.
    nearest = tf.reduce_min(tf.where(shared, tf.float32.max, distance), axis=1)
    return tf.nn.relu(
        settings.margin + settings.pair_weight * row_lengths(anchor - other) - nearest
    )


def _released_triplet(
    anchor: tf.Tensor,
    other: tf.Tensor,
    features: tf.Tensor,
    targets: tf.Tensor,
    settings: Settings,
) -> tf.Tensor:
    """Return the scalar triplet term of the released code; see the module.

    Args:
      anchor, other: (b, e) codes of the anchors' modality and of the other one.
      features: (b, d) inputs of the anchors' encoder.
      targets: (b, c).
    """
    unit = tf.math.l2_normalize(features, axis=1)
    shared = tf.matmul(targets, targets, transpose_b=True) > 0
    # Below every cosine: pairs of the anchor's class are chosen only if there are no others.
    similarity = tf.where(shared, -2.0, tf.matmul(unit, unit, transpose_b=True))
    negative = tf.gather(other, tf.argmax(similarity, axis=1))
    difference = settings.pair_weight * tf.nn.l2_loss(anchor - other)
    difference -= tf.nn.l2_loss(anchor - negative)
    return tf.nn.relu(settings.margin + difference)


@tf.custom_gradient
def reverse_gradient(
    x: tf.Tensor, strength: tf.Tensor | float
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Return x; its gradient is multiplied by −`strength`."""
    return tf.identity(x), lambda upstream: (-strength * upstream, None)


GRID = {"image_map": ("none", "auto"), "learning_rate": (1e-4, 1e-3)}
CITATION = "Wang et al., ACM Multimedia 2017"
SYSTEM = System("ACMR", CITATION, "after published code", "posterior", Settings, fit, grid=GRID)
