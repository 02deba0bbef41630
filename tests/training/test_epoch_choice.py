"""The choice of the epoch: windows, patience, and values that are no numbers."""

import numpy as np
import pytest

from xgacmn_tf.training.epoch_choice import (
    best_evaluation,
    default_patience,
    is_exhausted,
    window_means,
)


def test_window_is_the_mean_of_the_last_five_evaluations():
    scores = [0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.1]
    expected = [0.9, 0.5, 0.4, 0.375, 0.38, 0.3, 0.3]
    np.testing.assert_allclose(window_means(scores), expected)
    for count in range(1, 8):
        np.testing.assert_allclose(window_means(scores[:count]), expected[:count])


def test_best_evaluation_has_the_highest_window_mean_and_not_the_highest_score():
    rng = np.random.default_rng(0)
    for count in range(1, 40):
        scores = rng.random(count).tolist()
        means = [np.mean(scores[max(0, k - 4) : k + 1]) for k in range(count)]
        assert best_evaluation(scores) == int(np.argmax(means))
    lucky = [0.3, 0.3, 0.2, 0.2, 0.5, 0.31, 0.32, 0.33, 0.34, 0.35]
    assert int(np.argmax(lucky)) == 4
    assert best_evaluation(lucky) == 8


def test_first_of_equals_and_no_nan_is_the_best():
    assert best_evaluation([0.25] * 7) == 0
    assert best_evaluation([0.1, 0.2, float("nan")]) == 1
    assert best_evaluation([float("nan")] * 3) == 0


def test_patience_counts_evaluations_since_the_best():
    scores = [0.1, 0.2, 0.1, 0.1]
    assert is_exhausted(scores, 2) and not is_exhausted(scores, 3)
    assert not is_exhausted([], 1) and not is_exhausted([0.1], 1)


@pytest.mark.parametrize(("evaluations", "patience"), [(1, 10), (40, 10), (60, 15), (100, 25)])
def test_default_patience_is_a_quarter_of_the_evaluations(evaluations, patience):
    assert default_patience(evaluations) == patience
