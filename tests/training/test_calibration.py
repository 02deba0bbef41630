"""Calibrated posteriors: what the factors find, and what they leave alone."""

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.baselines.layers import Affine
from xgacmn_tf.checkpoint import load_encoder
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.model.angular_softmax import AngularSoftmax
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.training.calibration import calibrated, calibration_factors

RNG = np.random.default_rng(0)
ROWS = 4000


@pytest.fixture(scope="module")
def encoder():
    """Codes are the features; class c lies along axis c, so logits are the features too."""
    classes = AngularSoftmax(3)
    model = CommonSpaceEncoder(
        Identity(3), Identity(3), Affine.of(np.eye(3)), Affine.of(np.eye(3)), classes
    )
    classes.kernel.assign(np.eye(3))
    return model


def split_with_true_factors(image: float, text: float) -> Split:
    """Labels are drawn from softmax(true logits); the features are those, over the factor."""
    logits = 2 * RNG.normal(size=(ROWS, 3))
    odds = np.exp(logits)
    label = (RNG.random((ROWS, 1)) > np.cumsum(odds / odds.sum(1, keepdims=True), axis=1)).sum(1)
    ids = np.arange(ROWS).astype(str)
    return Split(
        (logits / image).astype(np.float32), (logits / text).astype(np.float32), label, ids
    )


@pytest.mark.parametrize(("image", "text"), [(0.5, 1.5), (1.0, 1.0), (3.0, 0.25)])
def test_factors_are_those_that_the_labels_were_drawn_with(encoder, image, text):
    factors = calibration_factors(encoder, split_with_true_factors(image, text), 3)
    assert factors == pytest.approx({"image": image, "text": text}, rel=0.1)


def test_factors_are_bounded_where_no_mistake_is_made(encoder):
    features = np.eye(3, dtype=np.float32)[np.arange(30) % 3]
    split = Split(features, features, np.arange(30) % 3, np.arange(30).astype(str))
    factors = calibration_factors(encoder, split, 3)
    assert all(9.9 < factor <= 10 for factor in factors.values())


def test_items_with_several_labels_share_their_weight(encoder):
    features = np.tile(np.float32([[0.5, 0.5, 0]]), (20, 1))
    labels = np.tile([[1, 1, 0]], (20, 1))
    factors = calibration_factors(
        encoder, Split(features, features, labels, np.arange(20).astype(str)), 3
    )
    assert factors["image"] > 9.9  # the surer of these two classes, the better


def test_calibrated_encoder_keeps_cosines_and_scales_codes(encoder, tmp_path):
    features = RNG.normal(size=(5, 3)).astype(np.float32)
    ours = calibrated(encoder, {"image": 0.5, "text": 2.0})
    image, text = ours.codes(features, features)
    np.testing.assert_allclose(image, 0.5 * features, rtol=1e-6)
    np.testing.assert_allclose(text, 2.0 * features, rtol=1e-6)
    np.testing.assert_allclose(
        ours.represent(image, "cosine"), tf.math.l2_normalize(features, axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(
        ours.represent(image, "posterior"), tf.nn.softmax(0.5 * features), rtol=1e-5
    )
    ours.save(tmp_path / "best.keras")
    again = load_encoder(tmp_path / "best.keras")
    np.testing.assert_array_equal(again.codes_of("text", features), text)
