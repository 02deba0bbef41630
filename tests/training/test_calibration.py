"""Calibrated posteriors: what the factors find, and what they leave alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.errors import InputError
from xgacmn_tf.model.angular_softmax import AngularSoftmax, PlainSoftmax
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.layers import Affine, Chain, LinearClasses, Posteriors
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.training import calibration
from xgacmn_tf.training.calibration import calibration_factors

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


def pairs_with_true_factors(image: float, text: float) -> tuple[np.ndarray, ...]:
    """Labels are drawn from softmax(true logits); the features are those, over the factor."""
    logits = 2 * RNG.normal(size=(ROWS, 3))
    odds = np.exp(logits)
    label = (RNG.random((ROWS, 1)) > np.cumsum(odds / odds.sum(1, keepdims=True), axis=1)).sum(1)
    features = ((logits / factor).astype(np.float32) for factor in (image, text))
    return (*features, np.eye(3)[label])


@pytest.mark.parametrize(("image", "text"), [(0.5, 1.5), (1.0, 1.0), (3.0, 0.25)])
def test_factors_are_those_that_the_labels_were_drawn_with(encoder, image, text):
    factors = calibration_factors(encoder, *pairs_with_true_factors(image, text))
    assert factors == pytest.approx({"image": image, "text": text}, rel=0.1)


def test_factors_are_bounded_where_no_mistake_is_made(encoder):
    features = np.eye(3, dtype=np.float32)[np.arange(30) % 3]
    factors = calibration_factors(encoder, features, features, features)
    assert all(9.9 < factor <= 10 for factor in factors.values())


def test_items_with_several_labels_share_their_weight(encoder):
    features = np.tile(np.float32([[0.5, 0.5, 0]]), (20, 1))
    labels = np.tile([[1, 1, 0]], (20, 1))
    factors = calibration_factors(encoder, features, features, labels)
    assert factors["image"] > 9.9  # the surer of these two classes, the better


def test_calibration_leaves_codes_and_cosines_as_trained(encoder, tmp_path):
    features = RNG.normal(size=(5, 3)).astype(np.float32)
    ours = encoder.replaced(calibration={"image": 0.5, "text": 2.0})
    for similarity in ("dot", "cosine"):
        for mine, theirs in zip(
            ours.represent_pairs(features, features, similarity),
            encoder.represent_pairs(features, features, similarity),
            strict=True,
        ):
            np.testing.assert_array_equal(mine, theirs)
    ours.save(tmp_path / "best.keras")
    again = load_encoder(tmp_path / "best.keras")
    assert again.calibration == ours.calibration == {"image": 0.5, "text": 2.0}
    for kept in (ours, again):
        posteriors = kept.represent_pairs(features, features, "posterior")
        for posterior, factor in zip(posteriors, (0.5, 2.0), strict=True):
            np.testing.assert_allclose(posterior, tf.nn.softmax(factor * features), rtol=1e-5)
    # The encoder that was calibrated is not.
    assert encoder.calibration == {"image": 1.0, "text": 1.0}


@pytest.mark.parametrize("classes", [AngularSoftmax, PlainSoftmax, LinearClasses])
def test_a_factor_multiplies_the_logits_of_every_class_layer(classes):
    layer = classes(4)
    layer.build((None, 3))
    for weight in layer.weights:
        weight.assign(RNG.normal(size=weight.shape))
    codes = RNG.normal(size=(6, 3)).astype(np.float32)
    logits = layer(codes)
    np.testing.assert_allclose(layer.posterior(codes, 0.3), tf.nn.softmax(0.3 * logits), rtol=1e-5)
    np.testing.assert_array_equal(layer.posterior(codes), tf.nn.softmax(logits))


def test_posteriors_without_logits_take_the_power_of_the_factor():
    logits = 3 * RNG.normal(size=(6, 4))
    posteriors = tf.nn.softmax(logits.astype(np.float32))
    layer = Posteriors()
    np.testing.assert_array_equal(layer.posterior(posteriors), posteriors)
    for factor in (0.1, 0.7, 10.0):
        np.testing.assert_allclose(
            layer.posterior(posteriors, factor), tf.nn.softmax(factor * logits), atol=1e-6
        )
    # A class without any share stays so, and a row without any class is not divided by zero.
    rows = np.float32([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [1e-30, 1e-32, 0.0]])
    found = np.asarray(layer.posterior(rows, 2.0))
    np.testing.assert_allclose(found[:2], rows[:2])
    np.testing.assert_allclose(found[2], [1.0, 1e-4, 0.0], rtol=1e-3)


def test_a_config_of_an_earlier_version_has_factors_of_one():
    encoder = CommonSpaceEncoder(Identity(4), Identity(2), Affine(5), Affine(5), AngularSoftmax(3))
    config = encoder.get_config()
    del config["calibration"]
    assert CommonSpaceEncoder.from_config(config).calibration == {"image": 1.0, "text": 1.0}


def test_a_checkpoint_with_a_layer_of_an_earlier_version_names_the_remedy(tmp_path):
    """Early versions multiplied the codes by a layer `Factor`."""

    @keras.saving.register_keras_serializable("xgacmn_tf")
    class Factor(keras.layers.Layer):
        def compute_output_shape(self, input_shape):
            return input_shape

    try:
        scaled = Chain([Affine(5), Factor()])
        encoder = CommonSpaceEncoder(Identity(4), Identity(2), scaled, Affine(5), AngularSoftmax(3))
        encoder.save(tmp_path / "best.keras")
    finally:
        keras.saving.get_custom_objects().pop("xgacmn_tf>Factor")
    with pytest.raises(InputError, match="a layer Factor .* train the run again"):
        load_encoder(tmp_path / "best.keras")


@pytest.mark.parametrize(
    "broken", [{"image": 1.0}, {"image": 0.0, "text": 1.0}, {"image": "a", "text": 1.0}, [1, 2]]
)
def test_damaged_factors_are_rejected(encoder, broken, tmp_path, monkeypatch):
    config = encoder.get_config()
    monkeypatch.setattr(
        CommonSpaceEncoder, "get_config", lambda self: {**config, "calibration": broken}
    )
    encoder.save(tmp_path / "best.keras")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        load_encoder(tmp_path / "best.keras")


def test_posteriors_ask_for_the_modality(encoder):
    with pytest.raises(ValueError, match="modality None: expected image or text"):
        encoder.represent(np.zeros((1, 3), np.float32), "posterior")


def test_blocks_and_labels_give_the_same_factors(encoder, monkeypatch):
    image, text, targets = pairs_with_true_factors(2.0, 0.5)
    whole = calibration_factors(encoder, image, text, targets)
    assert calibration_factors(encoder, image, text, targets.argmax(axis=1)) == whole
    monkeypatch.setattr(calibration, "MAX_NUMBERS", 3 * ROWS // 7)
    blocks = calibration_factors(encoder, image, text, targets.argmax(axis=1))
    assert blocks == pytest.approx(whole, rel=1e-3)
