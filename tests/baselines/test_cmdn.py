"""CMDN: its parts by hand, and what every trained system must do."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf import baselines
from xgacmn_tf.baselines import cmdn
from xgacmn_tf.encoders import load_encoder

SMALL = (
    "rbm_steps=4", "widths=6", "image_rates=0.01", "text_rates=0.1", "joint_width=4",
    "intra_widths=5x4", "top_width=5", "network_width=6", "code_widths=4x3", "batch_size=8",
    "intra_epochs=1", "network_epochs=1", "code_epochs=2",
)  # fmt: skip


def trained(data):
    keras.utils.set_random_seed(0)
    return baselines.system("cmdn").fit(data, baselines.parse_settings("cmdn", SMALL))


def test_codes_are_z_scores_and_survive_reloading(pairs, tmp_path):
    validated = dataclasses.replace(pairs, validation=(pairs.image, pairs.text, pairs.targets))
    encoder = trained(validated)
    encoder.save(tmp_path / "model.keras")
    codes = encoder.codes(pairs.image, pairs.text)
    reloaded = load_encoder(tmp_path / "model.keras").codes(pairs.image, pairs.text)
    for ours, again in zip(codes, reloaded, strict=True):
        assert ours.shape == (60, 3)
        np.testing.assert_allclose(np.mean(ours, axis=0), 0, atol=1e-3)
        np.testing.assert_array_equal(ours, again)


@pytest.mark.slow
def test_same_seed_same_codes(pairs):
    for ours, again in zip(
        *(trained(pairs).codes(pairs.image, pairs.text) for _ in range(2)), strict=True
    ):
        np.testing.assert_array_equal(ours, again)


@pytest.mark.slow
def test_degenerate_data_give_finite_codes(degenerate):
    for codes in trained(degenerate).codes(degenerate.image, degenerate.text):
        assert np.isfinite(codes).all()


def test_items_of_several_labels_share_their_weight():
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).astype(np.float32)
    targets = tf.constant([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    expected = -np.mean([(np.log(0.5) + np.log(0.25)) / 2, np.log(0.8)])
    assert cmdn.cross_entropy(targets, logits).numpy() == pytest.approx(expected, rel=1e-5)
