import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from xgacmn_tf.baselines.sm import Settings, fit


def test_codes_are_the_posteriors_of_scikit_learn(pairs):
    encoder = fit(pairs, Settings(c=2.0))
    assert encoder.similarities() == ("posterior", "cosine", "dot")
    labels = pairs.targets.argmax(axis=1)
    for codes, x in zip(
        encoder.codes(pairs.image, pairs.text), (pairs.image, pairs.text), strict=True
    ):
        x = x.astype(np.float64)
        reference = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(x, labels)
        np.testing.assert_allclose(codes, reference.predict_proba(x), atol=3e-5)
        np.testing.assert_array_equal(encoder.represent(codes, "posterior", "text"), codes)
        lengths = np.linalg.norm(encoder.represent(codes, "cosine"), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_centred_codes_are_posteriors_less_their_training_mean(pairs):
    plain, centred = fit(pairs, Settings()), fit(pairs, Settings(centre=True))
    assert centred.similarities() == ("cosine", "dot")
    for codes, moved in zip(
        plain.codes(pairs.image, pairs.text), centred.codes(pairs.image, pairs.text), strict=True
    ):
        np.testing.assert_allclose(moved, codes - np.mean(codes, axis=0), atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_one_class_has_posterior_one(pairs):
    pairs.targets[:] = [0, 1, 0]
    image, _ = fit(pairs, Settings()).codes(pairs.image, pairs.text)
    np.testing.assert_allclose(image, np.broadcast_to([0, 1, 0], (60, 3)), atol=1e-4)
