"""The RBM against its own energy, written out over all hidden states; and its training."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logsumexp, softmax

from xgacmn_tf.baselines.rbm import RBM, VISIBLE, Schedule, cd1_gradients, train_rbm
from xgacmn_tf.baselines.rbm_layers import Beside, Counts, MeanField
from xgacmn_tf.baselines.rbm_stack import StackSettings, pretrained
from xgacmn_tf.errors import DivergenceError

D, E = 3, 4
HIDDEN = np.array(list(itertools.product([0, 1], repeat=E)))  # (16, 4), every state
ROWS = {
    "binary": [[1, 0, 1], [0, 0, 0]],
    "gaussian": [[0.5, -1, 2], [0, 1, 0]],
    "softmax": [[4, 0, 1], [0, 0, 0]],
}


def made(visible):
    """An RBM with known weights, and these."""
    generator = np.random.default_rng(1)
    w, b, c = (generator.normal(size=shape) for shape in ((D, E), D, E))
    rbm = RBM(E, visible)
    rbm.build((None, D))
    rbm.set_weights([w, b, c])
    return rbm, w, b, c


def energies(visible, v, w, b, c):
    """−E of the module's formulas with every hidden state: (16,)."""
    length = v.sum() if visible == "softmax" else 1
    own = -((v - b) ** 2).sum() / 2 if visible == "gaussian" else v @ b
    return own + HIDDEN @ (v @ w) + length * HIDDEN @ c


@pytest.mark.parametrize("visible", VISIBLE)
def test_hidden_probabilities_are_those_of_the_energy(visible):
    rbm, w, b, c = made(visible)
    rows = np.array(ROWS[visible], np.float32)
    for v, hidden in zip(rows, rbm(rows), strict=True):
        weights = energies(visible, v, w, b, c)
        np.testing.assert_allclose(hidden, softmax(weights) @ HIDDEN, atol=1e-5)


def test_reconstructions_by_hand():
    hidden = np.array([[1, 0, 0, 1]], np.float32)
    for visible, mean in (
        ("binary", expit),
        ("gaussian", np.asarray),
        ("softmax", lambda x: 7 * softmax(x)),
    ):
        rbm, w, b, _ = made(visible)
        ours = rbm.reconstruction(hidden, np.array([[7.0]], np.float32))
        np.testing.assert_allclose(ours[0], mean(w[:, 0] + w[:, 3] + b), rtol=1e-5)


def test_directions_of_cd1_by_hand():
    """Hidden units that are as good as certain, so that nothing depends on the draw."""
    rbm, w, b, c = made("gaussian")
    c = np.array([90.0, -90, 90, -90])
    rbm.hidden_bias.assign(c)
    rows = np.array(ROWS["gaussian"], np.float32)
    hidden = np.tile([1.0, 0, 1, 0], (2, 1))
    again = hidden @ w.T + b
    activity = tf.Variable([0.5] * E)
    schedule = Schedule(1.0, weight_decay=0.25, sparsity_target=0.2, sparsity_cost=2.0)
    ours = cd1_gradients(rbm, tf.constant(rows), activity, schedule, (0, 0))
    running = 0.9 * 0.5 + 0.1 * hidden[0]
    np.testing.assert_allclose(activity, running, rtol=1e-5)
    np.testing.assert_allclose(ours[0], (rows - again).T @ hidden / 2 - 0.25 * w, atol=1e-5)
    np.testing.assert_allclose(ours[1], (rows - again).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(ours[2], 2 * (0.2 - running), atol=1e-5)


def trained(seed=0, **changes):
    """A binary RBM of the patterns 1100 and 0011."""
    rows = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (10, 1)).astype(np.float32)
    keras.utils.set_random_seed(seed)
    rbm = RBM(E)
    settings = {"steps": 300, "batch_size": 10, "weight_decay": 0.0, "sparsity_cost": 0.0}
    train_rbm(rbm, rows, Schedule(0.3, **(settings | changes)), seed, lambda steps: steps)
    return rbm


def test_training_learns_which_units_go_together():
    """Probabilities by the exact partition function; independent units would give 1/16 each."""
    w, b, c = trained().get_weights()
    # The visible states are as many as the hidden ones, 2⁴.
    probability = softmax([logsumexp(energies("binary", v, w, b, c)) for v in HIDDEN])
    learned = [list(state) in ([1, 1, 0, 0], [0, 0, 1, 1]) for state in HIDDEN]
    assert probability[learned].sum() > 0.8
    assert probability[learned].min() > 0.25


def test_a_rate_that_leaves_the_finite_numbers_is_named():
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    with pytest.raises(
        DivergenceError,
        match="8 gaussian visible units are not finite at a learning rate of 1; lower it",
    ):
        train_rbm(RBM(16, "gaussian"), rows, Schedule(1.0), 0, lambda steps: steps)


def test_gaussian_texts_do_not_learn_at_the_rate_of_counts(pairs):
    """Texts of 5 real numbers left the finite numbers within a few hundred steps at .1."""
    settings = StackSettings()
    assert settings.text_rates[0] == 10 * settings.image_rates[0]
    keras.utils.set_random_seed(0)
    stack = pretrained(pairs, settings)
    lower = stack.text_encoder.layers[0]
    assert lower.visible == "gaussian"
    text = stack.text_map(pairs.text)
    error = np.square(lower.reconstruction(lower(text), 1) - text).mean()
    assert error < 0.5  # Of a variance of 1.


def test_sparsity_lowers_the_mean_activity():
    rows = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], np.float32)
    free, sparse = (np.mean(trained(sparsity_cost=cost)(rows)) for cost in (0.0, 1.0))
    assert sparse < free - 0.05 and sparse < 0.35


def test_same_seed_same_weights():
    first, again, other = (trained(seed, steps=5).kernel.numpy() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_mean_field_by_hand():
    """Two rounds on [image (2), text (1)] with either side clamped."""
    rbm, w, b, c = made("binary")
    for own, known, wanted in (("image", [0, 1], [2]), ("text", [2], [0, 1])):
        x = np.array([[0.3, 0.9][: len(known)]], np.float32)
        other = expit(b[wanted])
        for _ in range(2):
            hidden = expit(x[0] @ w[known] + other @ w[wanted] + c)
            other = expit(w[wanted] @ hidden + b[wanted])
        np.testing.assert_allclose(MeanField(rbm, 2, own, 2, "hidden")(x)[0], hidden, rtol=1e-5)
        sides = {own: x[0] / np.linalg.norm(x[0])}
        sides["text" if own == "image" else "image"] = other / np.linalg.norm(other)
        expected = np.concatenate([sides["image"], sides["text"]])
        np.testing.assert_allclose(MeanField(rbm, 2, own, 2)(x)[0], expected, rtol=1e-5)


def test_counts_of_words_and_of_proportions():
    np.testing.assert_array_equal(Counts(3, 100.0)(np.array([[0.126, 0.874, 0.0]])), [[13, 87, 0]])
    np.testing.assert_array_equal(Counts(3)(np.array([[2.0, 0.0, -1.0]])), [[2, 0, 0]])


def test_zeros_stand_for_the_missing_side():
    np.testing.assert_array_equal(Beside(2, first=True)(np.array([[5.0]])), [[5, 0, 0]])
    np.testing.assert_array_equal(Beside(2, first=False)(np.array([[5.0]])), [[0, 0, 5]])


def test_unknown_visible_units():
    with pytest.raises(ValueError, match="visible='poisson': expected one of binary, gaussian"):
        RBM(3, "poisson")
