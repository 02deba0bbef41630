import numpy as np
import pytest
from scipy import linalg

from xgacmn_tf.baselines.cca import Settings, directions, fit
from xgacmn_tf.baselines.linear import center


def test_agrees_with_the_generalised_eigenproblem(pairs):
    """C_vt C_tt⁻¹ C_tv w = ρ² C_vv w and W_t = C_tt⁻¹ C_tv W_v / ρ: the textbook's other way."""
    ridge, n = 0.01, len(pairs.image)
    (v, _), (t, _) = center(pairs.image), center(pairs.text)
    c_vv, c_tt = v.T @ v / n + ridge * np.eye(8), t.T @ t / n + ridge * np.eye(5)
    c_vt = v.T @ t / n
    squares, vectors = linalg.eigh(c_vt @ linalg.solve(c_tt, c_vt.T), c_vv)
    image_weights = vectors[:, ::-1][:, :4]
    text_weights = linalg.solve(c_tt, c_vt.T @ image_weights) / np.sqrt(squares[::-1][:4])
    settings = Settings(components=4, ridge=ridge)
    ours = np.concatenate(directions(v, t, settings))
    theirs = np.concatenate([image_weights, text_weights])
    # Either solution may turn the sign of a component, in both modalities at once.
    sign = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs * sign, atol=1e-9)
    # The encoder applies them in single precision.
    image, text = fit(pairs, settings).codes(pairs.image, pairs.text)
    np.testing.assert_allclose(image, v @ image_weights * sign, atol=1e-5)
    np.testing.assert_allclose(text, t @ text_weights * sign, atol=1e-5)


def test_codes_are_white_and_correlate_component_by_component(pairs):
    image, text = fit(pairs, Settings(components=5, ridge=0.0)).codes(pairs.image, pairs.text)
    image, text = np.float64(image), np.float64(text)
    for codes in (image, text):
        np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(codes.T @ codes / len(codes), np.eye(5), atol=1e-5)
    across = image.T @ text / len(image)
    correlations = np.diag(across)
    np.testing.assert_allclose(across, np.diag(correlations), atol=1e-5)
    assert (np.diff(correlations) < 0).all() and correlations[0] > 0.5


@pytest.mark.parametrize(("asked", "received"), [(3, 3), (9, 5)])
def test_no_more_components_than_there_are(asked, received, pairs):
    image, text = fit(pairs, Settings(components=asked)).codes(pairs.image, pairs.text)
    assert image.shape == text.shape == (60, received)


def test_a_direction_without_variance_is_no_component(pairs):
    # Texts that sum to 1 have one direction less, as topic proportions do.
    share = np.exp(pairs.text.astype(np.float64))
    pairs.text[:] = share / share.sum(axis=1, keepdims=True)
    image, _ = fit(pairs, Settings(components=9)).codes(pairs.image, pairs.text)
    assert image.shape == (60, 4)
