"""Bimodal-AE and Corr-AE: their objectives by hand, and what every trained system must do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf import baselines
from xgacmn_tf.baselines import bimodal_ae, corr_ae, rbm_stack
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.checkpoint import load_encoder

AUTOENCODERS = ("bimodal_ae", "corr_ae")
SMALL = ("rbm_steps=4", "widths=6x5", "epochs=2", "batch_size=8", "code_dim=4")


def trained(name, data):
    keras.utils.set_random_seed(0)
    return baselines.system(name).fit(data, baselines.parse_settings(name, SMALL))


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_same_seed_same_codes_also_after_reloading(name, pairs, tmp_path):
    first, second = trained(name, pairs), trained(name, pairs)
    first.save(tmp_path / "model.keras")
    loaded = load_encoder(tmp_path / "model.keras")
    for ours, again, reloaded in zip(
        *(encoder.codes(pairs.image, pairs.text) for encoder in (first, second, loaded)),
        strict=True,
    ):
        assert ours.shape == (60, 4) and np.isfinite(ours).all()
        np.testing.assert_array_equal(ours, again)
        np.testing.assert_array_equal(ours, reloaded)


def test_views_of_a_pair():
    image, text = tf.constant([[1.0, 2.0]]), tf.constant([[3.0]])
    inputs, wanted = bimodal_ae.three_views(image, text)
    np.testing.assert_array_equal(inputs, [[1, 2, 0], [0, 0, 3], [1, 2, 3]])
    np.testing.assert_array_equal(wanted, [[1, 2, 3]] * 3)


def test_objective_of_corr_ae_by_hand():
    codes = tf.constant([[1.0, 0.0], [0.0, 0.0]]), tf.constant([[0.0, 2.0], [0.0, 2.0]])
    decoded = tf.constant([[1.0], [3.0]]), tf.constant([[0.0], [0.0]])
    wanted = tf.constant([[0.0], [0.0]]), tf.constant([[2.0], [0.0]])
    # Halves of the mean squared distances: (1 + 9) / 4, (4 + 0) / 4 and (5 + 4) / 4.
    expected = 0.25 * (2.5 + 1.0) + 0.75 * 2.25
    assert corr_ae.objective(codes, decoded, wanted, 0.75).numpy() == pytest.approx(expected)


def test_codes_are_z_scores_of_the_given_rows():
    rows = np.array([[1.0, 5.0], [3.0, 9.0]], np.float32)
    scores = rbm_stack.z_scores(2, rows)(rows)
    np.testing.assert_allclose(scores, [[-1, -1], [1, 1]], atol=1e-6)


def test_z_scores_of_small_deviations_are_not_shrunk():
    rows = np.array([[0.5, 0.3], [0.5002, 0.3], [0.5001, 0.3]], np.float32)
    scores = np.asarray(rbm_stack.z_scores(2, rows)(rows))
    np.testing.assert_allclose(scores[:, 0].std(), 1, rtol=1e-3)
    # A constant feature is only centered, also where a test row differs from it.
    np.testing.assert_allclose(scores[:, 1], 0, atol=1e-6)
    layer = rbm_stack.z_scores(2, rows)
    np.testing.assert_allclose(layer(np.array([[0.5, 0.8]], np.float32))[0, 1], 0.5, rtol=1e-5)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_training_codes_are_z_scores(name, pairs):
    codes = trained(name, pairs).codes(pairs.image, pairs.text)
    for code in codes:
        # Two epochs leave codes that hardly differ, so that single precision rounds them coarsely.
        np.testing.assert_allclose(np.mean(code, axis=0), 0, atol=0.05)
        np.testing.assert_allclose(np.std(code, axis=0), 1, atol=0.05)


@pytest.mark.parametrize(
    ("text", "units", "mapped"),
    [
        ([[0.25, 0.75], [0.5, 0.5]], "softmax", [[25, 75], [50, 50]]),
        ([[0, 3, 0, 0], [1, 0, 0, 0]], "softmax", [[0, 3, 0, 0], [1, 0, 0, 0]]),
        ([[-1, 4], [3, 6]], "gaussian", [[-1, -1], [1, 1]]),
    ],
)
def test_texts_choose_their_visible_units(text, units, mapped):
    text = np.array(text, np.float32)
    text_map, chosen = rbm_stack._text_map(text, "auto")
    assert chosen == units
    np.testing.assert_allclose(text_map(text), mapped, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("corr_ae", "variant=both", "variant=both: expected one of corr, cross, full"),
        ("corr_ae", "text_units=words", "text_units=words: expected one of auto, softmax"),
        ("bimodal_ae", "widths=8", "widths has 1 layers: expected as many image_rates"),
        ("mdbn", "text_rates=0.1xnan", "text_rates=0.1,nan: expected a finite number"),
        ("cmdn", "code_rate=-1", "code_rate=-1.0: expected at least 0"),
        ("bimodal_ae", "epochs=0", "epochs=0: expected at least 1"),
    ],
)
def test_settings_out_of_range(name, given, message):
    with pytest.raises(InputError, match=message):
        baselines.parse_settings(name, (given,))


def test_negative_texts_are_no_counts():
    with pytest.raises(InputError, match="go down to -1; use text_units=gaussian"):
        rbm_stack._text_map(np.array([[-1.0, 2.0]], np.float32), "softmax")
