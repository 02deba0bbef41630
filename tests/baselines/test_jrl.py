"""JRL: its graph, its rounds and its neighbours' votes against the formulas."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from xgacmn_tf.baselines import jrl
from xgacmn_tf.baselines.linear import row_norms
from xgacmn_tf.baselines.neighbour_layers import NeighbourClasses
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.checkpoint import load_encoder

SMALL = jrl.Settings(sparsity=2.0, graph=0.5, pairs=0.7, labels=1.3, neighbours=4, voters=7)


def problem(data, settings):
    """Views, targets and weights to start from, in double precision."""
    targets = data.targets.astype(np.float64)
    generator = np.random.default_rng(3)
    views, weights = [], []
    for features in (data.image, data.text):
        x = features - features.mean(axis=0, dtype=np.float64)
        every = np.vstack([x, generator.normal(size=(9, x.shape[1]))])
        views.append(jrl.view_of(x, every, targets, settings))
        weights.append(generator.random((x.shape[1], targets.shape[1])))
    return views, targets, weights


def test_smoothness_of_three_items_on_a_line():
    """At 0, 1 and 3 with one neighbour each: the edges are 0-1 and 1-3."""
    near, far = expit(-1.0), expit(-2.0)
    # Σ over edges of w (x_i / √d_i − x_j / √d_j)²
    degree = near, near + far, far
    expected = near / degree[1] + far * (1 / np.sqrt(degree[1]) - 3 / np.sqrt(degree[2])) ** 2
    assert jrl.smoothness(np.array([[0.0], [1.0], [3.0]]), 1) == pytest.approx(expected)


def test_items_too_far_for_any_weight_stand_alone():
    """sigmoid(−1000) is 0 in double precision: L is then the identity."""
    items = np.array([[0.0], [1000.0]])
    np.testing.assert_allclose(jrl.smoothness(items, 1), items.T @ items)


def test_a_round_solves_the_equations_of_the_module(pairs):
    views, targets, weights = problem(pairs, SMALL)
    new = jrl.improve(views, weights, SMALL)
    partners = (weights[1], new[0])
    for p in (0, 1):
        view, other = views[p], views[1 - p]
        ridge = np.diag(SMALL.sparsity / (2 * row_norms(weights[p])))
        right = SMALL.pairs * view.features.T @ other.features @ partners[p]
        right += SMALL.labels * view.features.T @ targets
        np.testing.assert_allclose(np.linalg.inv(view.system + ridge) @ right, new[p], atol=1e-8)


def test_objective_is_that_of_the_module(pairs):
    views, targets, weights = problem(pairs, SMALL)
    image, text = (v.features @ w for v, w in zip(views, weights, strict=True))
    expected = SMALL.pairs * np.square(image - text).sum()
    for view, weight, fitted in zip(views, weights, (image, text), strict=True):
        smooth = view.system - (SMALL.pairs + SMALL.labels) * view.features.T @ view.features
        expected += SMALL.labels * np.square(fitted - targets).sum()
        expected += SMALL.sparsity * row_norms(weight).sum()
        expected += np.trace(weight.T @ smooth @ weight)
    assert jrl.objective(views, targets, weights, SMALL) == pytest.approx(expected, rel=1e-9)


def test_every_round_lowers_the_objective(pairs):
    views, targets, weights = problem(pairs, SMALL)
    values = [jrl.objective(views, targets, weights, SMALL)]
    for _ in range(20):
        weights = jrl.improve(views, weights, SMALL)
        values.append(jrl.objective(views, targets, weights, SMALL))
    steps = np.diff(values)
    assert (steps <= 1e-9 * values[0]).all()
    assert steps[0] < -1


def test_neighbours_vote():
    """Of the two nearest, the second has two labels and splits its vote."""
    embeddings = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    targets = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0]])
    layer = NeighbourClasses.of(embeddings, targets, 2)
    items = np.array([[0.2, 0.0], [4.0, 4.0]], np.float32)
    np.testing.assert_allclose(layer(items), [[0.5, 0.25, 0.25], [0.0, 0.75, 0.25]])
    assert NeighbourClasses.of(embeddings, targets, 100).neighbours == 3


def test_codes_are_class_shares_that_tell_classes_apart(pairs):
    image, text = jrl.fit(pairs, SMALL).codes(pairs.image, pairs.text)
    for codes in (image.numpy(), text.numpy()):
        np.testing.assert_allclose(codes.sum(axis=1), 1, rtol=1e-5)
        # A seventh of a vote each.
        np.testing.assert_allclose(codes * 7, np.round(codes * 7), atol=1e-5)
        assert (codes.argmax(axis=1) == pairs.targets.argmax(axis=1)).mean() > 0.8


def test_unlabelled_items_shape_the_graph_but_not_their_pairing(pairs):
    generator = np.random.default_rng(1)
    image, text = (generator.normal(size=(40, d)).astype(np.float32) for d in (8, 5))
    strong = dataclasses.replace(SMALL, graph=100.0, rounds=2)

    def projection(unlabelled):
        data = dataclasses.replace(pairs, unlabelled=unlabelled)
        return jrl.fit(data, strong).image_encoder.layers[0].kernel.numpy()

    given = projection((image, text))
    assert np.abs(projection(None) - given).max() > 0.01 * np.abs(given).max()
    np.testing.assert_allclose(projection((image, text[::-1])), given, rtol=1e-4, atol=1e-8)


def test_same_seed_same_codes_also_after_reloading(pairs, tmp_path):
    first, again = jrl.fit(pairs, SMALL), jrl.fit(pairs, SMALL)
    first.save(tmp_path / "model.keras")
    loaded = load_encoder(tmp_path / "model.keras")
    assert "posterior" in loaded.similarities()
    for ours, repeated, reloaded in zip(
        *(e.codes(pairs.image, pairs.text) for e in (first, again, loaded)), strict=True
    ):
        np.testing.assert_array_equal(ours, repeated)
        np.testing.assert_array_equal(ours, reloaded)


def test_settings_out_of_range():
    with pytest.raises(InputError, match="--model_settings=voters=0: expected at least 1"):
        jrl.Settings(voters=0)


def test_a_round_of_the_released_code_uses_the_old_weights(pairs):
    settings = dataclasses.replace(SMALL, as_released=True)
    views, targets, weights = problem(pairs, settings)
    new = jrl.improve(views, weights, settings)
    for p in (0, 1):
        view, other = views[p], views[1 - p]
        ridge = np.diag(settings.sparsity / (2 * row_norms(weights[p])))
        right = settings.pairs * view.features.T @ other.features @ weights[1 - p]
        right += settings.labels * view.features.T @ targets
        np.testing.assert_allclose(np.linalg.inv(view.system + ridge) @ right, new[p], atol=1e-8)


def test_weighted_votes_by_hand(tmp_path):
    embeddings, targets = np.array([[0.0], [2.0], [9.0]]), np.eye(3)
    layer = NeighbourClasses.of(embeddings, targets, 2, weighted=True)
    near, far = expit(-0.5), expit(-1.5)
    np.testing.assert_allclose(layer(np.array([[0.5]])), [[near, far, 0] / (near + far)], rtol=1e-5)
    # At distances whose sigmoid is rounded to 0 the nearer one still counts more.
    np.testing.assert_allclose(
        layer(np.array([[-1000.0]])), [[1, np.exp(-2), 0] / (1 + np.exp(-2))]
    )
    assert NeighbourClasses.from_config(layer.get_config()).weighted
    # Layers saved before there were weights have equal votes.
    config = {key: value for key, value in layer.get_config().items() if key != "weighted"}
    assert not NeighbourClasses.from_config(config).weighted


def test_the_released_code_trains_and_survives_reloading(pairs, tmp_path):
    settings = dataclasses.replace(SMALL, as_released=True)
    encoder = jrl.fit(pairs, settings)
    encoder.save(tmp_path / "model.keras")
    ours = encoder.codes(pairs.image, pairs.text)
    again = load_encoder(tmp_path / "model.keras").codes(pairs.image, pairs.text)
    for code, reloaded in zip(ours, again, strict=True):
        np.testing.assert_array_equal(code, reloaded)
        np.testing.assert_allclose(np.sum(code, axis=1), 1, rtol=1e-5)
