"""The adversarial and pair terms, Eq. 1–5 and Eq. 10–11, as pure functions.

Every discriminator returns two logits whose softmax is (D(x), 1 − D(x)): the probability of "real"
for D_I and D_T, of "image" for D_C. Working on logits keeps log D finite where D rounds to 0 or 1.

The classification terms, Eq. 6–9, are in `angular_softmax`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import keras
from keras import ops

from xgacmn_tf.model import PACKAGE
from xgacmn_tf.model.counted_rows import mean_of_rows

if TYPE_CHECKING:
    import tensorflow as tf


def _log_probabilities(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log D(x) and log(1 − D(x)), each (…, n) float32, of two logits (…, n, 2)."""
    log_softmax = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return log_softmax[..., 0], log_softmax[..., 1]


def discriminator_loss(
    first_logits: tf.Tensor,
    second_logits: tf.Tensor,
    first_rows: tf.Tensor | None = None,
    second_rows: tf.Tensor | None = None,
) -> tf.Tensor:
    """Eq. 1–3: −mean(log D(first) + log(1 − D(second))), for one discriminator or for several.

    Args:
      first_logits: (…, n, 2) of what D_I and D_T are to take for real, D_C for images: features
        from the data, codes v_c.
      second_logits: (…, n, 2) of the others: features from the other modality's generator,
        codes t_c.
      first_rows, second_rows: (n,) bool, the rows of either that count; None for all, of both.

    Returns:
      (…,) float32, 2 log 2 while D cannot tell one from the other.
    """
    log_first, _ = _log_probabilities(first_logits)
    _, log_not_second = _log_probabilities(second_logits)
    if first_rows is None:
        return -ops.mean(log_first + log_not_second, axis=-1)
    return -(mean_of_rows(log_first, first_rows) + mean_of_rows(log_not_second, second_rows))


def image_generator_loss(
    generated_text_logits: tf.Tensor | None,
    image_code_logits: tf.Tensor | None,
    rows: tf.Tensor | None = None,
) -> tf.Tensor:
    """Eq. 4, as it must read to oppose Eq. 2 and Eq. 3: −mean(log D_T(G_I(v)) + log(1 − D_C(v_c))).

    As printed and minimized, Eq. 4 would make G_I help D_T, and Eq. 5 G_T help D_I and D_C. This
    form (the non-saturating one of Goodfellow et al.) asks G_I for texts that D_T takes for real
    and for image codes that D_C takes for text.

    Args:
      generated_text_logits: (n, 2) of D_T for texts generated from images; None leaves the term
        out.
      image_code_logits: (n, 2) of D_C for the codes of images; None leaves the term out.
      rows: (n,) bool, the rows with an image; None for all.

    Returns:
      A float32 scalar.
    """
    return _generator_loss(generated_text_logits, image_code_logits, 1, rows)


def text_generator_loss(
    generated_image_logits: tf.Tensor | None,
    text_code_logits: tf.Tensor | None,
    rows: tf.Tensor | None = None,
) -> tf.Tensor:
    """Eq. 5, likewise: −mean(log D_I(G_T(t)) + log D_C(t_c)).

    Args:
      generated_image_logits: (n, 2) of D_I for images generated from texts; None leaves the term
        out.
      text_code_logits: (n, 2) of D_C for the codes of texts; None leaves the term out.
      rows: (n,) bool, the rows with a text; None for all.

    Returns:
      A float32 scalar.
    """
    return _generator_loss(generated_image_logits, text_code_logits, 0, rows)


def _generator_loss(
    feature_logits: tf.Tensor | None,
    code_logits: tf.Tensor | None,
    target: int,
    rows: tf.Tensor | None,
) -> tf.Tensor:
    loss = 0.0
    if feature_logits is not None:
        loss -= mean_of_rows(_log_probabilities(feature_logits)[0], rows)
    if code_logits is not None:
        loss -= mean_of_rows(_log_probabilities(code_logits)[target], rows)
    return loss


def pair_loss(
    image_code: tf.Tensor, text_code: tf.Tensor, rows: tf.Tensor | None = None
) -> tf.Tensor:
    """The l2 term of §3.3: mean squared difference of the codes (n, d) of a pair, over pairs and d.

    Averaging over d as well is what makes the paper's λ1 = 10 balance the other terms. `rows`, (n,)
    bool, are the complete pairs; None for all.

    Example:

    >>> import keras
    >>> from xgacmn_tf import losses
    >>> image, text = keras.ops.ones((3, 4)), keras.ops.zeros((3, 4))
    >>> float(losses.pair_loss(image, text))
    1.0
    """
    difference = ops.cast(image_code, "float32") - ops.cast(text_code, "float32")
    squares = ops.square(difference)
    return ops.mean(squares) if rows is None else mean_of_rows(ops.mean(squares, axis=-1), rows)


def distillation_loss(
    image_logits: tf.Tensor, text_logits: tf.Tensor, rows: tf.Tensor | None = None
) -> tf.Tensor:
    """Beside Eq. 10 and 11, ours: how far an image's class posteriors are from its text's, in nats.

    Texts name their category more surely than SIFT features do, so a text's posteriors are a softer
    and better target for its image than the label alone. Only the image side learns from it.

    Args:
      image_logits, text_logits: class logits (n, c) of the codes of a pair, without the margin.
      rows: (n,) bool, the pairs with an image and a text; None for all.

    Returns:
      A float32 scalar: the mean cross-entropy.
    """
    teacher = ops.stop_gradient(ops.softmax(ops.cast(text_logits, "float32"), axis=-1))
    student = ops.log_softmax(ops.cast(image_logits, "float32"), axis=-1)
    return -mean_of_rows(ops.sum(teacher * student, axis=-1), rows)


def discriminator_accuracy(
    first_logits: tf.Tensor,
    second_logits: tf.Tensor,
    first_rows: tf.Tensor | None = None,
    second_rows: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return the share of the 2n items of (…, n, 2) that D classifies correctly.

    With rows that count, as of `discriminator_loss`, it is the mean of the shares of both halves.
    """
    first = ops.cast(first_logits[..., 0] > first_logits[..., 1], "float32")
    second = ops.cast(second_logits[..., 1] > second_logits[..., 0], "float32")
    if first_rows is None:
        return 0.5 * ops.mean(first + second, axis=-1)
    return 0.5 * (mean_of_rows(first, first_rows) + mean_of_rows(second, second_rows))


def label_smoothing_loss(logits: tf.Tensor, rows: tf.Tensor | None = None) -> tf.Tensor:
    """Beside Eq. 8, ours: the cross-entropy between equal class posteriors and those of the items.

    From label smoothing (Szegedy et al., "Rethinking the Inception architecture for computer
    vision", CVPR 2016, §7).

    Args:
      logits: (…, n, c), without the margin.
      rows: (…, n) bool, the labeled rows; None for all.

    Returns:
      (…,) float32, the mean over rows, in nats.
    """
    log_posteriors = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return -mean_of_rows(ops.mean(log_posteriors, axis=-1), rows)


class AdversarialLoss:
    """The terms of a game between discriminators and generators, for `XGACMN`.

    A subclass that is registered with `keras.saving.register_keras_serializable` is saved with the
    model. All logits are (n, 2), see the module. The arguments for rows are passed only in training
    on incomplete pairs.
    """

    def discriminator(
        self,
        first_logits: tf.Tensor,
        second_logits: tf.Tensor,
        first_rows: tf.Tensor | None = None,
        second_rows: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the loss of one discriminator, a scalar; arguments as of `discriminator_loss`."""
        raise NotImplementedError

    def image_generator(
        self,
        generated_text_logits: tf.Tensor | None,
        image_code_logits: tf.Tensor | None,
        rows: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the loss of G_I, a scalar; arguments as of `image_generator_loss`."""
        raise NotImplementedError

    def text_generator(
        self,
        generated_image_logits: tf.Tensor | None,
        text_code_logits: tf.Tensor | None,
        rows: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the loss of G_T, a scalar; arguments as of `text_generator_loss`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


@keras.saving.register_keras_serializable(PACKAGE)
class CrossEntropy(AdversarialLoss):
    """Eq. 1–5: cross-entropy, in the non-saturating form for the generators.

    Example:

    >>> import keras
    >>> from xgacmn_tf import losses
    >>> undecided = keras.ops.zeros((4, 2))
    >>> round(float(losses.CrossEntropy().discriminator(undecided, undecided)), 4)
    1.3863
    """

    discriminator = staticmethod(discriminator_loss)
    image_generator = staticmethod(image_generator_loss)
    text_generator = staticmethod(text_generator_loss)


def adversarial_loss(given: str | AdversarialLoss) -> AdversarialLoss:
    """Return the adversarial loss of a name, or the one that is given.

    Raises:
        ValueError: there is no such loss.
    """
    if isinstance(given, AdversarialLoss):
        return given
    if given == "cross_entropy":
        return CrossEntropy()
    raise ValueError(
        f"adversarial_loss={given!r}: expected cross_entropy or a losses.AdversarialLoss"
    )


def named_pair_loss(given: str | Callable[..., tf.Tensor]) -> tuple[Callable[..., tf.Tensor], str]:
    """Return a pair loss and the name that a saved model holds.

    Raises:
        ValueError: there is no such loss, or a function that Keras could not find again.
    """
    if callable(given):
        if not hasattr(given, "__name__"):
            raise ValueError(
                f"pair_loss received a {type(given).__name__}; expected a function of image and "
                "text codes that is registered with keras.saving.register_keras_serializable()"
            )
        name = keras.saving.get_registered_name(given)
        if keras.saving.get_registered_object(name) is not given:
            raise ValueError(
                f"pair_loss={name} is not registered; decorate it with "
                "keras.saving.register_keras_serializable(), so that the model can be saved"
            )
        return given, name
    # A file only names a function, which this process must have registered.
    function = pair_loss if given == "l2" else keras.saving.get_registered_object(given)
    if not callable(function) or isinstance(function, type):
        raise ValueError(f"pair_loss={given!r}: expected l2 or a registered function")
    return function, given
