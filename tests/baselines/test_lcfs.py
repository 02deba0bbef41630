import numpy as np

from xgacmn_tf.baselines import lcfs
from xgacmn_tf.baselines.lcfs import Settings
from xgacmn_tf.baselines.linear import SMOOTHING, center, row_norms


def prepared(pairs):
    views = [center(x)[0] for x in (pairs.image, pairs.text)]
    return views, [view.T @ view for view in views], pairs.targets.astype(np.float64)


def start(views, targets):
    return [np.eye(view.shape[1], targets.shape[1]) for view in views]


def objective(views, targets, weights, settings):
    """The value that the rounds decrease, with smoothed norms."""
    projected = [view @ weight for view, weight in zip(views, weights, strict=True)]
    values = np.linalg.svd(np.hstack(projected), compute_uv=False)
    total = 2 * settings.low_rank * np.sqrt(values**2 + SMOOTHING).sum()
    total += sum(np.square(x - targets).sum() for x in projected)
    return total + settings.sparsity * sum(row_norms(weight).sum() for weight in weights)


def test_a_round_is_the_published_formula_with_the_matrix_formed(pairs):
    settings = Settings(sparsity=0.3, low_rank=0.02)
    views, grams, targets = prepared(pairs)
    weights = start(views, targets)
    ours = lcfs.improve(views, grams, targets, weights, settings)

    square = sum(x @ u @ u.T @ x.T for x, u in zip(views, weights, strict=True))
    values, vectors = np.linalg.eigh(square + 1e-7 * np.eye(60))
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    for x, u, new in zip(views, weights, ours, strict=True):
        r = [1 / (2 * np.sqrt(row @ row + 1e-7)) for row in u]
        system = x.T @ x + 0.3 * np.diag(r) + 0.02 * x.T @ inverse @ x
        # 1e-7^-½ multiplies the rounding of the decompositions.
        np.testing.assert_allclose(new, np.linalg.inv(system) @ x.T @ targets, atol=1e-6)


def test_every_round_lowers_the_objective(pairs):
    settings = Settings(sparsity=2.0, low_rank=0.5)
    views, grams, targets = prepared(pairs)
    weights = start(views, targets)
    values = [objective(views, targets, weights, settings)]
    for _ in range(30):
        weights = lcfs.improve(views, grams, targets, weights, settings)
        values.append(objective(views, targets, weights, settings))
    assert (np.diff(values) <= 1e-9 * values[0]).all()
    assert values[-1] < 0.9 * values[0]


def test_sparsity_drops_features_that_say_nothing(pairs):
    noise = np.random.default_rng(1).normal(size=(60, 4))
    views, grams, targets = prepared(pairs)
    views[0] = center(np.hstack([views[0], noise]))[0]
    grams[0] = views[0].T @ views[0]
    weights = start(views, targets)
    for _ in range(50):
        weights = lcfs.improve(views, grams, targets, weights, Settings(sparsity=5.0))
    lengths = np.linalg.norm(weights[0], axis=1)
    assert lengths[8:].max() < 0.1 * lengths[:8].max()


def test_encoder_is_the_centred_projection(pairs):
    settings = Settings(rounds=2)
    views, grams, targets = prepared(pairs)
    weights = start(views, targets)
    for _ in range(2):
        weights = lcfs.improve(views, grams, targets, weights, settings)
    codes = lcfs.fit(pairs, settings).codes(pairs.image, pairs.text)
    for ours, view, weight in zip(codes, views, weights, strict=True):
        np.testing.assert_allclose(ours, view @ weight, atol=1e-5)
