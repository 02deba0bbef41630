"""Confidence intervals against values derived by hand."""

import numpy as np
import pytest
from xgacmn_tf.paper.intervals import over_pairs, over_seeds


def test_t_interval_by_hand():
    # Mean 2, standard deviation 1, t(.975; 2) = 4.302653: 2 ± 4.302653 / √3.
    assert over_seeds(np.array([1.0, 2.0, 3.0])) == pytest.approx((-0.484138, 4.484138), abs=1e-6)
    # Mean .01, deviations ±.01: sd = .0141421, t(.975; 1) = 12.706205: .01 ± 12.706205 · .01.
    assert over_seeds(np.array([0.0, 0.02])) == pytest.approx((-0.117062, 0.137062), abs=1e-6)


def test_one_seed_has_no_interval():
    assert over_seeds(np.array([0.1])) is None


@pytest.mark.parametrize("interval", [over_seeds, over_pairs])
def test_equal_differences_leave_no_doubt(interval):
    assert interval(np.full(4, 0.25)) == (0.25, 0.25)


def test_bootstrap_of_two_pairs_by_hand():
    # Samples of two have the means 0, ½, 1 with chances ¼, ½, ¼, so 2.5 % and 97.5 % are 0 and 1.
    assert over_pairs(np.array([0.0, 1.0])) == (0.0, 1.0)


def test_bootstrap_of_many_pairs_is_the_normal_interval():
    differences = np.random.default_rng(3).normal(0.02, 0.1, 4000)
    half = 1.959964 * differences.std() / np.sqrt(len(differences))
    low, high = over_pairs(differences)
    assert low == pytest.approx(differences.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(differences.mean() + half, abs=0.05 * half)
    assert over_pairs(differences) == (low, high)
