"""CMDN: its parts by hand, and what every trained system must do."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.baselines import epochs
from xgacmn_tf.runs.checkpoint import load_encoder


@pytest.mark.slow
def test_codes_are_z_scores_and_survive_reloading(train_small, pairs, tmp_path):
    validated = dataclasses.replace(pairs, validation=(pairs.image, pairs.text, pairs.targets))
    encoder = train_small("cmdn", validated)
    encoder.save(tmp_path / "model.keras")
    codes = encoder.codes(pairs.image, pairs.text)
    reloaded = load_encoder(tmp_path / "model.keras").codes(pairs.image, pairs.text)
    for ours, again in zip(codes, reloaded, strict=True):
        assert ours.shape == (60, 3)
        np.testing.assert_allclose(np.mean(ours, axis=0), 0, atol=1e-3)
        np.testing.assert_array_equal(ours, again)


@pytest.mark.slow
def test_same_seed_same_codes(train_small, pairs):
    for ours, again in zip(
        *(train_small("cmdn", pairs).codes(pairs.image, pairs.text) for _ in range(2)), strict=True
    ):
        np.testing.assert_array_equal(ours, again)


def test_items_of_several_labels_share_their_weight():
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).astype(np.float32)
    targets = tf.constant([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    expected = -np.mean([(np.log(0.5) + np.log(0.25)) / 2, np.log(0.8)])
    assert epochs.cross_entropy(targets, logits).numpy() == pytest.approx(expected, rel=1e-5)
