"""The adversarial and pair terms, Eq. 1–5 and Eq. 10–11, as pure functions.

Every discriminator returns two logits whose softmax is (D(x), 1 − D(x)): the probability of "real"
for D_I and D_T, of "image" for D_C. Working on logits keeps log D finite where D rounds to 0 or 1.

The classification terms, Eq. 6–9, stand in `angular_softmax.py`.
"""

from keras import ops


def _log_probabilities(logits):
    """log D(x) and log(1 − D(x)), each (n,) float32, from two logits (n, 2)."""
    log_softmax = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return log_softmax[:, 0], log_softmax[:, 1]


def feature_discriminator_loss(real_logits, generated_logits):
    """Eq. 1 (D_I) and Eq. 2 (D_T): −mean(log D(real) + log(1 − D(generated))).

    Args:
      real_logits: (n, 2) of features from the data.
      generated_logits: (n, 2) of features that the other modality's generator made.

    Returns:
      A float32 scalar, 2 log 2 while D cannot tell one from the other.
    """
    log_real, _ = _log_probabilities(real_logits)
    _, log_not_generated = _log_probabilities(generated_logits)
    return -ops.mean(log_real + log_not_generated)


def common_discriminator_loss(image_logits, text_logits):
    """Eq. 3 (D_C): −mean(log D_C(v_c) + log(1 − D_C(t_c))), with D_C the probability of "image"."""
    return feature_discriminator_loss(image_logits, text_logits)


def image_generator_loss(generated_text_logits, image_code_logits):
    """Eq. 4, as it must read to oppose Eq. 2 and Eq. 3: −mean(log D_T(G_I(v)) + log(1 − D_C(v_c))).

    As printed, log D_T + log D_C minimised together would make G_I help both discriminators. This
    form (the non-saturating one of Goodfellow et al.) asks G_I for texts that D_T takes for real
    and for image codes that D_C takes for text. A term whose logits are None is left out.
    """
    return _generator_loss(generated_text_logits, image_code_logits, wanted=1)


def text_generator_loss(generated_image_logits, text_code_logits):
    """Eq. 5, likewise: −mean(log D_I(G_T(t)) + log D_C(t_c))."""
    return _generator_loss(generated_image_logits, text_code_logits, wanted=0)


def _generator_loss(feature_logits, code_logits, wanted):
    loss = 0.0
    if feature_logits is not None:
        loss -= ops.mean(_log_probabilities(feature_logits)[0])
    if code_logits is not None:
        loss -= ops.mean(_log_probabilities(code_logits)[wanted])
    return loss


def pair_loss(image_code, text_code):
    """The l2 term of §3.3: mean squared difference of the codes (n, d) of a pair, over pairs and d.

    Averaging over d as well is what makes the paper's λ1 = 10 balance the other terms.
    """
    difference = ops.cast(image_code, "float32") - ops.cast(text_code, "float32")
    return ops.mean(ops.square(difference))


def distillation_loss(image_logits, text_logits):
    """Beside Eq. 10 and 11, ours: how far an image's class posteriors are from its text's, in nats.

    Texts name their category more surely than SIFT features do, so a text's posteriors are a softer
    and better target for its picture than the label alone. Only the image side learns from it.

    Args:
      image_logits, text_logits: class logits (n, c) of the codes of a pair, without the margin.

    Returns:
      A float32 scalar: the mean cross-entropy.
    """
    teacher = ops.stop_gradient(ops.softmax(ops.cast(text_logits, "float32"), axis=-1))
    student = ops.log_softmax(ops.cast(image_logits, "float32"), axis=-1)
    return -ops.mean(ops.sum(teacher * student, axis=-1))


def discriminator_accuracy(first_logits, second_logits):
    """Share of the 2n items that a discriminator names rightly: 1 when it wins, 0.5 at chance."""
    first = ops.cast(first_logits[:, 0] > first_logits[:, 1], "float32")
    second = ops.cast(second_logits[:, 1] > second_logits[:, 0], "float32")
    return 0.5 * (ops.mean(first) + ops.mean(second))
