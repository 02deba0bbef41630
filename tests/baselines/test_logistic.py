import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from xgacmn_tf.baselines.logistic import fit_logistic


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_agrees_with_scikit_learn(c, pairs):
    # A large offset of the features makes no difference: the bias takes it up.
    x = pairs.image.astype(np.float64) + 5
    weights, bias = fit_logistic(x, pairs.targets, c)
    reference = LogisticRegression(C=c, tol=1e-10, max_iter=10_000)
    reference.fit(x, pairs.targets.argmax(axis=1))
    ours, theirs = softmax(x @ weights + bias, axis=1), reference.predict_proba(x)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_several_labels_count_as_fractions_of_an_item(pairs):
    """An item with labels a and b is half an item of a and half an item of b."""
    targets = pairs.targets.copy()
    targets[::2, 0] = 1
    rows, labels = np.nonzero(targets)
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
    share = 1 / targets.sum(axis=1)[rows]
    x = pairs.image.astype(np.float64)
    reference.fit(x[rows], labels, sample_weight=share)
    weights, bias = fit_logistic(x, targets, 1.0)
    ours = softmax(x @ weights + bias, axis=1)
    np.testing.assert_allclose(ours, reference.predict_proba(x), atol=2e-5)


def test_by_hand_without_features():
    # Nothing to tell the items apart: the posterior is the share of the classes.
    targets = np.eye(2)[[0, 0, 0, 1]]
    weights, bias = fit_logistic(np.zeros((4, 2)), targets, 1.0)
    np.testing.assert_array_equal(weights, np.zeros((2, 2)))
    np.testing.assert_allclose(softmax(bias), [0.75, 0.25], atol=1e-5)


def test_the_start_makes_no_difference(pairs):
    x = pairs.image.astype(np.float64) + 5
    cold = fit_logistic(x, pairs.targets, 1.0, gradient=1e-9)
    rough = fit_logistic(x, pairs.targets, 0.1, gradient=1e-2)
    assert np.abs(rough[0] - cold[0]).max() > 0.1
    warm = fit_logistic(x, pairs.targets, 1.0, start=rough, gradient=1e-9)
    for ours, theirs in zip(warm, cold, strict=True):
        np.testing.assert_allclose(ours - ours.mean(), theirs - theirs.mean(), atol=1e-5)
