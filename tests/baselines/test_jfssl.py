import numpy as np
import pytest

from xgacmn_tf.baselines import jfssl
from xgacmn_tf.baselines.jfssl import Settings
from xgacmn_tf.baselines.linear import center, row_norms


def prepared(pairs, settings):
    features = [center(x)[0] for x in (pairs.image, pairs.text)]
    targets = pairs.targets.astype(np.float64)
    return features, targets, [jfssl.view_of(x, targets, settings) for x in features]


def dense_laplacian(features, targets, neighbours=3):
    """L of the graph over all 2n items, formed whole."""
    near = [jfssl.neighbor_weights(x, neighbours).toarray() for x in features]
    graph = np.block([[near[0], targets @ targets.T], [targets @ targets.T, near[1]]])
    return np.diag(graph.sum(axis=1)) - graph


def start(views):
    return [np.eye(*view.labelled.shape) for view in views]


def objective(features, targets, weights, settings):
    """The value that the rounds decrease, with smoothed norms and the graph formed."""
    projected = [x @ u for x, u in zip(features, weights, strict=True)]
    both = np.vstack(projected)
    total = sum(np.square(x - targets).sum() for x in projected)
    total += settings.sparsity * sum(row_norms(u).sum() for u in weights)
    return total + settings.graph * np.trace(both.T @ dense_laplacian(features, targets) @ both)


def several_labels(pairs):
    pairs.targets[::2, 0] = 1


@pytest.mark.parametrize("change", [lambda pairs: None, several_labels])
def test_a_round_is_the_published_formula_with_the_graph_formed(change, pairs):
    change(pairs)
    settings = Settings(sparsity=0.3, graph=0.02, neighbours=3)
    features, targets, views = prepared(pairs, settings)
    laplacian = dense_laplacian(features, targets)
    weights = start(views)
    ours = jfssl.improve(views, weights, settings)
    for p, rows, others in ((0, slice(0, 60), slice(60, 120)), (1, slice(60, 120), slice(0, 60))):
        x, other = features[p], features[1 - p]
        r = [1 / (2 * np.sqrt(row @ row + 1e-7)) for row in weights[p]]
        own = x.T @ x + 0.3 * np.diag(r) + 0.02 * x.T @ laplacian[rows, rows] @ x
        across = x.T @ laplacian[rows, others] @ other @ weights[1 - p]
        weights[p] = np.linalg.inv(own) @ (x.T @ targets - 0.02 * across)
        np.testing.assert_allclose(ours[p], weights[p], atol=1e-9)


def test_every_round_lowers_the_objective(pairs):
    settings = Settings(sparsity=2.0, graph=0.05, neighbours=3)
    features, targets, views = prepared(pairs, settings)
    weights = start(views)
    values = [objective(features, targets, weights, settings)]
    for _ in range(30):
        weights = jfssl.improve(views, weights, settings)
        values.append(objective(features, targets, weights, settings))
    assert (np.diff(values) <= 1e-9 * values[0]).all()
    assert values[-1] < 0.9 * values[0]


def test_neighbour_weights_by_hand():
    # On a line at 0, 1 and 4 the nearest neighbours are 1, 0 and 1, at distances 1, 1 and 3; the
    # mean is 5/3. An edge counts for both its ends.
    near = jfssl.neighbor_weights(np.array([[0.0], [1.0], [4.0]]), 1).toarray()
    close, far = np.exp(-((3 / 5) ** 2) / 2), np.exp(-((9 / 5) ** 2) / 2)
    np.testing.assert_allclose(near, [[0, close, 0], [close, 0, far], [0, far, 0]])


def test_neighbours_that_coincide_weigh_one():
    near = jfssl.neighbor_weights(np.ones((3, 2)), 5).toarray()
    np.testing.assert_array_equal(near, 1 - np.eye(3))


def test_encoder_is_the_centred_projection(pairs):
    settings = Settings(neighbours=4, rounds=2)
    features, _, views = prepared(pairs, settings)
    weights = start(views)
    for _ in range(2):
        weights = jfssl.improve(views, weights, settings)
    codes = jfssl.fit(pairs, settings).codes(pairs.image, pairs.text)
    for ours, x, weight in zip(codes, features, weights, strict=True):
        np.testing.assert_allclose(ours, x @ weight, atol=1e-5)
