"""Angular softmax over a hypersphere that both modalities share (§3.3, Eq. 6–9).

One layer holds the class directions W. Images and texts go through the same layer, so that "close
to class c" means the same angle for both: this is what puts the two modalities on one hypersphere.

Symbols: x is a code of dimension d, W_c a class direction of unit length, θ_c the angle between
them, m the integer margin, ψ the target's angle function of Eq. 9, λ the annealing weight.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import keras
from keras import ops

from xgacmn_tf.model import PACKAGE
from xgacmn_tf.model.counted_rows import mean_of_rows

if TYPE_CHECKING:
    import tensorflow as tf

# Below this length a code counts as zero: it has no direction, and its cosines are taken as 0.
MIN_LENGTH = 1e-6


def psi(cosine: tf.Tensor, m: int) -> tf.Tensor:
    """Return ψ(θ) = (−1)^k cos(mθ) − 2k for θ in [kπ/m, (k+1)π/m] (Eq. 9), given cos θ.

    cos(mθ) is the Chebyshev polynomial T_m(cos θ), which needs no arccos; the gradient therefore
    stays finite at θ = 0 and θ = π, where that of arccos does not.

    Args:
      cosine: cos θ in [−1, 1], float tensor of any shape.
      m: the margin, an integer of at least 1. With m = 1, ψ(θ) = cos θ.

    Returns:
      ψ, same shape and dtype: 1 at θ = 0, falling monotonically to 1 − 2m at θ = π.
    """
    twice = 2.0 * cosine
    previous, chebyshev = ops.ones_like(cosine), cosine
    for _ in range(m - 1):
        previous, chebyshev = chebyshev, twice * chebyshev - previous
    if m == 1:
        return chebyshev
    # k counts how many of the borders π/m, 2π/m, …, (m−1)π/m the angle has passed.
    borders = [math.cos(j * math.pi / m) for j in range(1, m)]
    passed = ops.expand_dims(cosine, -1) <= ops.convert_to_tensor(borders, cosine.dtype)
    k = ops.sum(ops.cast(passed, cosine.dtype), axis=-1)
    sign = 1.0 - 2.0 * ops.mod(k, 2.0)
    return sign * chebyshev - 2.0 * k


def lengths_and_directions(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return ‖x‖ (…, 1) and x/‖x‖ of rows x (…, d), both with finite gradients at x = 0.

    A text without a single word of the vocabulary is a zero vector, and so is its code. There the
    length is 0, the direction is the zero vector, and no gradient flows through the length.
    """
    square = ops.sum(ops.square(x), axis=-1, keepdims=True)
    # The maximum keeps the square root away from 0, whose infinite slope would turn to NaN when
    # multiplied with the zero of `where`.
    divisor = ops.sqrt(ops.maximum(square, MIN_LENGTH**2))
    return ops.where(square > MIN_LENGTH**2, divisor, 0.0), x / divisor


class ClassTerms(NamedTuple):
    """The outputs of a class layer for a batch of codes (…, n, d)."""

    loss: Any  # (…,) float32, mean over the batch
    logits: Any  # (…, n, c), as used at retrieval: no margin
    angle: Any = None  # (…,), mean in degrees between codes and their own classes' directions


@keras.saving.register_keras_serializable(PACKAGE)
class MarginAnnealing:
    """The weight λ of plain cosine beside ψ, as a function of the generators' step.

    The target's logit is ‖x‖ (ψ + λ cos θ) / (1 + λ). Without λ the loss of m = 5 starts near
    4‖x‖ and does not train; SphereFace's released code lets λ fall as
    max(floor, base · (1 + γ · step)^−power). `base=0` keeps λ at its floor throughout.

    Args:
      floor: the smallest λ; 0 ends at the pure ψ of Eq. 8.
      base, gamma, power: the fall from `base`; SphereFace's values are 1000, 0.12 and 1.
    """

    def __init__(
        self, floor: float = 10.0, base: float = 0.0, gamma: float = 0.12, power: float = 1.0
    ):
        if min(floor, base, gamma, power) < 0:
            raise ValueError(
                "the margin's annealing needs floor, base, gamma and power of at least 0, "
                f"received {floor}, {base}, {gamma}, {power}"
            )
        self.floor, self.base, self.gamma, self.power = floor, base, gamma, power

    def __call__(self, step: tf.Tensor | float) -> tf.Tensor:
        """Return λ at `step` (a number or an integer tensor), a float32 scalar."""
        step = ops.cast(step, "float32")
        return ops.maximum(self.floor, self.base * (1.0 + self.gamma * step) ** -self.power)

    def get_config(self) -> dict[str, float]:
        return {
            "floor": self.floor,
            "base": self.base,
            "gamma": self.gamma,
            "power": self.power,
        }

    @classmethod
    def from_config(cls, config: dict[str, float]) -> Self:
        return cls(**config)


def class_loss(
    logits: tf.Tensor,
    target_logits: tf.Tensor,
    targets: tf.Tensor,
    rows: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return the loss of Eq. 6 and 8, the mean over the labels y ∈ P and over items.

    Of one label: −log(e^{t_y} / (e^{t_y} + Σ_{j∉P} e^{f_j})).

    Args:
      logits: f (…, n, c) of every class.
      target_logits: t (…, n, c), what each class has while it is the target.
      targets: (n, c), 1 for the classes of P.
      rows: (…, n) bool, the labeled rows; None for all.

    Returns:
      (…,) float32.
    """
    # −1e30 stands for −∞: an item that has every class has no other class to beat, and the
    # log-sum-exp of nothing but −∞ has a NaN gradient.
    others = ops.logsumexp(ops.where(targets > 0, -1e30, logits), axis=-1, keepdims=True)
    per_label = ops.softplus(others - target_logits)
    labels = ops.sum(targets, axis=-1)
    labels = labels if rows is None else ops.maximum(labels, 1.0)
    return mean_of_rows(ops.sum(per_label * targets, axis=-1) / labels, rows)


class ClassLayer(keras.layers.Layer):
    """Base of the class layers: logits, posteriors and a loss over one or several labels.

    Both losses compare one positive class with all classes that the item does *not* have:
    −log(e^{f_y} / (e^{f_y} + Σ_{j∉P} e^{f_j})), averaged over the item's labels y ∈ P. With one
    label this is Eq. 6 or Eq. 8 to the letter; an item with several labels need not prefer one
    of them to another.
    """

    def __init__(self, num_classes: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the class logits (n, c) of codes (n, d), as used at retrieval: no margin."""
        raise NotImplementedError

    def terms(
        self,
        x: tf.Tensor,
        targets: tf.Tensor,
        margin_weight: tf.Tensor | float,
        rows: tf.Tensor | None = None,
    ) -> ClassTerms:
        """Return the outputs for the training on a batch.

        Args:
          x: (…, n, d) codes; of both modalities at once with a leading axis of two.
          targets: (n, c), 1 where the item has the class, else 0; at least one 1 in each row that
            counts.
          margin_weight: λ ≥ 0, see `MarginAnnealing`. Plain softmax has no margin and ignores it.
          rows: (…, n) bool, the labeled items; None for all. It is passed only in training on pairs
            that lack something.
        """
        raise NotImplementedError

    def loss(self, x: tf.Tensor, targets: tf.Tensor, margin_weight: tf.Tensor | float) -> tf.Tensor:
        """Return the loss of `terms` alone."""
        return self.terms(x, targets, margin_weight).loss

    def posterior(self, x: tf.Tensor, factor: float = 1.0) -> tf.Tensor:
        """Return class posteriors (n, c), the softmax of `factor` times the logits."""
        return ops.softmax(factor * self(x), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(PACKAGE)
class AngularSoftmax(ClassLayer):
    """A-softmax (Eq. 8): unit-length class directions, no bias, margin m on the target's angle.

    Args:
      num_classes: c, at least 2.
      m: the margin, an integer of at least 1; the paper takes 5.

    Example:

    >>> import keras
    >>> import xgacmn_tf as xg
    >>> layer = xg.AngularSoftmax(num_classes=3, m=4)
    >>> codes, targets = keras.ops.ones((2, 8)), keras.ops.one_hot([0, 2], 3)
    >>> layer(codes).shape.as_list()
    [2, 3]
    >>> loss = layer.loss(codes, targets, margin_weight=10.0)
    >>> bool(loss > 0)
    True
    """

    def __init__(self, num_classes: int, m: int = 5, **kwargs: Any):
        super().__init__(num_classes, **kwargs)
        if not isinstance(m, int) or m < 1:
            raise ValueError(f"the margin m must be an integer of at least 1, received {m!r}")
        self.m = m

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        # Only the direction of a column matters. A small start lets Adam turn the columns quickly,
        # since the step's angle is its length over the column's.
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.num_classes),
            initializer=keras.initializers.RandomNormal(stddev=0.1),
            name="class_directions",
        )

    def directions(self) -> tf.Tensor:
        """Return W (d, c) with columns of unit length."""
        _, rows = lengths_and_directions(ops.transpose(ops.cast(self.kernel, "float32")))
        return ops.transpose(rows)

    def cosines(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return ‖x‖ (…, 1) and cos θ (…, c) of codes (…, d) to every class direction."""
        length, direction = lengths_and_directions(ops.cast(x, "float32"))
        cosine = ops.matmul(direction, self.directions())
        # Rounding can carry a cosine past 1, where ψ is not defined.
        return length, ops.clip(cosine, -1.0, 1.0)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        length, cosine = self.cosines(x)
        return length * cosine

    def terms(
        self,
        x: tf.Tensor,
        targets: tf.Tensor,
        margin_weight: tf.Tensor | float,
        rows: tf.Tensor | None = None,
    ) -> ClassTerms:
        targets = ops.cast(targets, "float32")
        length, cosine = self.cosines(x)
        blend = (psi(cosine, self.m) + margin_weight * cosine) / (1.0 + margin_weight)
        logits = length * cosine
        degrees = ops.arccos(ops.stop_gradient(cosine)) * (180.0 / math.pi)
        own = targets if rows is None else targets * ops.cast(rows, targets.dtype)[..., None]
        count = ops.sum(targets)
        if rows is not None:
            count = ops.maximum(ops.sum(own, axis=(-2, -1)), 1.0)
        angle = ops.sum(degrees * own, axis=(-2, -1)) / count
        return ClassTerms(class_loss(logits, length * blend, targets, rows), logits, angle)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "m": self.m}


@keras.saving.register_keras_serializable(PACKAGE)
class PlainSoftmax(ClassLayer):
    """Softmax (Eq. 6) with free weights and biases: the alternative that Table 3 compares with."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.dense = keras.layers.Dense(
            self.num_classes, dtype=self.dtype_policy, name="class_weights"
        )
        self.dense.build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return ops.cast(self.dense(x), "float32")

    def terms(
        self,
        x: tf.Tensor,
        targets: tf.Tensor,
        margin_weight: tf.Tensor | float,
        rows: tf.Tensor | None = None,
    ) -> ClassTerms:
        del margin_weight  # Plain softmax has no margin to weigh.
        logits = self(x)
        loss = class_loss(logits, logits, ops.cast(targets, "float32"), rows)
        return ClassTerms(loss, logits)
