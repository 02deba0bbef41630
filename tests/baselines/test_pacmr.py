import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from xgacmn_tf.baselines.pacmr import Settings, cluster, fit, principal_components


def test_is_its_steps_one_after_another(pairs):
    """K-means, affinities, whitened components and logistic regression, the last two by sklearn."""
    image, _ = fit(pairs, Settings(centres=10, components=4, c=0.1)).codes(pairs.image, pairs.text)
    x = pairs.image.astype(np.float64)
    centres = cluster(pairs.image, 10, seed=0).astype(np.float64)
    distance = np.linalg.norm(x[:, None] - centres[None], axis=-1)
    affinities = np.exp(-(distance**2) / (2 * distance.mean() ** 2))
    # sklearn divides the variance by n − 1.
    components = PCA(4, whiten=True).fit_transform(affinities) * np.sqrt(60 / 59)
    reference = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000)
    reference.fit(components, pairs.targets.argmax(axis=1))
    np.testing.assert_allclose(image, reference.predict_proba(components), atol=3e-5)


def test_principal_components_are_white(pairs):
    mean, whiten = principal_components(pairs.image.astype(np.float64), 5)
    white = (pairs.image - mean) @ whiten
    np.testing.assert_allclose(white.T @ white / 60, np.eye(5), atol=1e-9)


def test_fewer_components_where_fewer_directions_vary(pairs):
    values = np.repeat(pairs.image[:, :2].astype(np.float64), 3, axis=1)
    assert principal_components(values, 5)[1].shape == (6, 2)
    assert principal_components(np.ones((4, 3)), 5)[1].shape == (3, 1)


@pytest.mark.parametrize("asked", [1, 7, 200])
def test_no_more_centres_than_items(asked, pairs):
    assert cluster(pairs.image, asked, seed=0).shape == (min(asked, 60), 8)
    image, text = fit(pairs, Settings(centres=asked)).codes(pairs.image, pairs.text)
    np.testing.assert_allclose(np.sum(image, axis=1), 1, atol=1e-5)
    assert np.isfinite(text).all()


def test_seed_draws_the_centres(pairs):
    first, second = cluster(pairs.image, 7, seed=0), cluster(pairs.image, 7, seed=1)
    assert not np.allclose(first, second)
