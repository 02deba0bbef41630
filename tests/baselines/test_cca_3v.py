import dataclasses

import numpy as np
import pytest
from scipy import linalg

from xgacmn_tf.baselines.cca_3v import Settings, directions, fit
from xgacmn_tf.baselines.linear import center


@pytest.mark.parametrize("power", [0.0, 4.0])
def test_agrees_with_the_generalised_eigenproblem(power, pairs):
    ridge, kept = 0.01, 4
    views = [center(x)[0] for x in (pairs.image, pairs.text, pairs.targets)]
    covariance = np.cov(np.hstack(views), rowvar=False, ddof=0) + ridge * np.eye(16)
    blocks = linalg.block_diag(covariance[:8, :8], covariance[8:13, 8:13], covariance[13:, 13:])
    values, vectors = linalg.eigh(covariance, blocks)
    scaled = (vectors * values**power)[:, ::-1][:, :kept]
    settings = Settings(components=kept, power=power, ridge=ridge)
    ours = np.concatenate(directions(views, settings))
    # Either solution may turn the sign of a component, in all views at once.
    scaled = scaled * np.sign((ours * scaled).sum(axis=0))
    np.testing.assert_allclose(ours, scaled, atol=1e-9 * np.abs(scaled).max())
    # The encoder applies them in single precision.
    image, text = fit(pairs, settings).codes(pairs.image, pairs.text)
    np.testing.assert_allclose(image, views[0] @ scaled[:8], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(text, views[1] @ scaled[8:13], rtol=1e-5, atol=1e-3)


def test_views_that_say_the_same(pairs):
    """Three copies of a white view: every μ is 3, and W_p = Q / √3 with Q some rotation."""
    white = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
    data = dataclasses.replace(pairs, image=white, text=white, targets=white)
    image, text = fit(data, Settings(power=2, ridge=0.0)).codes(white, white)
    np.testing.assert_allclose(image, text, atol=1e-5)
    # 9 Q / √3 twice
    np.testing.assert_allclose(image @ np.transpose(image), 27 * white @ white.T, atol=1e-4)


def test_components_that_correlate_with_nothing_are_dropped(pairs):
    # Texts of one direction; labels of two: at most three directions are shared at all.
    pairs.text[:] = pairs.text[:, :1]
    image, text = fit(pairs, Settings(components=20)).codes(pairs.image, pairs.text)
    assert image.shape == text.shape == (60, 3)
