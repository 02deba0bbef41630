"""Adversarial and pair terms against hand-computed values and closed forms (Eq. 1–5)."""

import math

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.model import losses


def logits(*probabilities):
    """Two logits whose softmax is (p, 1 − p), one row for each p."""
    return np.log([[p, 1 - p] for p in probabilities]).astype(np.float32)


def test_discriminator_loss():
    # Eq. 1 by hand: real judged .8 and .6 real, generated judged .3 and .1 real:
    # −[(ln .8 + ln .7) + (ln .6 + ln .9)] / 2.
    loss = losses.discriminator_loss(logits(0.8, 0.6), logits(0.3, 0.1))
    expected = -(math.log(0.8) + math.log(0.7) + math.log(0.6) + math.log(0.9)) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_discriminator_at_chance_has_loss_two_log_two():
    half = logits(0.5, 0.5, 0.5)
    assert float(losses.discriminator_loss(half, half)) == pytest.approx(2 * math.log(2))


def test_generator_losses_by_hand():
    # G_I: −ln D_T(G_I(v)) − ln(1 − D_C(v_c)); G_T: −ln D_I(G_T(t)) − ln D_C(t_c).
    image = losses.image_generator_loss(logits(0.3), logits(0.9))
    text = losses.text_generator_loss(logits(0.2), logits(0.4))
    assert float(image) == pytest.approx(-math.log(0.3) - math.log(0.1), rel=1e-5)
    assert float(text) == pytest.approx(-math.log(0.2) - math.log(0.4), rel=1e-5)


def test_a_missing_discriminator_leaves_its_term_out():
    assert float(losses.image_generator_loss(None, logits(0.75))) == pytest.approx(math.log(4))
    assert float(losses.text_generator_loss(logits(0.25), None)) == pytest.approx(math.log(4))


def test_generators_oppose_their_discriminators():
    # What raises D's loss must lower G's: the gradients on the logits of generated items and of
    # codes point in opposite directions.
    generated, codes = tf.Variable(logits(0.4)), tf.Variable(logits(0.6))
    with tf.GradientTape(persistent=True) as tape:
        discriminators = losses.discriminator_loss(
            logits(0.5), generated
        ) + losses.discriminator_loss(codes, logits(0.5))
        generator = losses.image_generator_loss(generated, codes)
    for variable in (generated, codes):
        theirs = tape.gradient(discriminators, variable).numpy()
        ours = tape.gradient(generator, variable).numpy()
        assert (np.sign(theirs) == -np.sign(ours)).all()


def test_logits_too_large_for_probabilities_stay_finite():
    sure = np.array([[200.0, -200.0]], np.float32)
    # D is certain and wrong: log D would be −∞ in probabilities, it is −400 on logits.
    assert float(losses.discriminator_loss(-sure, sure)) == pytest.approx(800)


def test_pair_loss_is_the_mean_square():
    # Differences (1, 2) and (0, −2): (1 + 4 + 0 + 4) / 4.
    assert float(losses.pair_loss([[1.0, 2.0], [3.0, 0.0]], [[0.0, 0.0], [3.0, 2.0]])) == 2.25


def test_distillation_is_the_cross_entropy_with_the_text_as_teacher():
    # Texts say .8/.2 and .5/.5, pictures .6/.4 and .9/.1.
    images, texts = (tf.Variable(logits(*p)) for p in ((0.6, 0.9), (0.8, 0.5)))
    with tf.GradientTape() as tape:
        loss = losses.distillation_loss(images, texts)
    expected = 0.8 * math.log(0.6) + 0.2 * math.log(0.4) + 0.5 * (math.log(0.9) + math.log(0.1))
    assert float(loss) == pytest.approx(-expected / 2, rel=1e-5)
    image_gradient, text_gradient = tape.gradient(loss, [images, texts])
    np.testing.assert_allclose(image_gradient[:, 0], [(0.6 - 0.8) / 2, (0.9 - 0.5) / 2], rtol=1e-4)
    assert text_gradient is None


def test_label_smoothing_is_the_cross_entropy_of_equal_posteriors():
    expected = -(math.log(0.8) + math.log(0.2)) / 2, -math.log(0.5)
    loss = losses.label_smoothing_loss(tf.stack([logits(0.8, 0.5), logits(0.5, 0.5)]))
    np.testing.assert_allclose(loss, [np.mean(expected), expected[1]], rtol=1e-5)
    rows = tf.constant([[True, False], [True, True]])
    masked = losses.label_smoothing_loss(tf.stack([logits(0.8, 0.5), logits(0.5, 0.5)]), rows)
    np.testing.assert_allclose(masked, expected, rtol=1e-5)


def test_discriminator_accuracy():
    # First row of each kind is named rightly, second wrongly; of the second kind both are right.
    accuracy = losses.discriminator_accuracy(logits(0.9, 0.2), logits(0.1, 0.4))
    assert float(accuracy) == 0.75
