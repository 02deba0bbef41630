"""Tests and intervals, against values derived by hand, by enumeration and by ranx."""

import itertools

import numpy as np
import pytest
from ranx.statistical_tests.fisher_randomization_test import fisher_randomization_test

from xgacmn_tf.evaluation.significance import (
    holm,
    interval_over_pairs,
    interval_over_seeds,
    mean_by_query,
    randomization_test,
)


def test_p_value_is_the_share_of_exchanges_at_least_as_extreme():
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 9))
    observed = abs((first - second).mean())
    signs = np.array(list(itertools.product([1, -1], repeat=9)))
    expected = (abs((signs * (first - second)).mean(axis=1)) >= observed - 1e-12).mean()
    # 2^9 exchanges are fewer than are drawn, so all of them are taken.
    assert randomization_test(first, second) == pytest.approx(expected)


@pytest.mark.slow  # ranx compiles for a while
def test_p_value_agrees_with_ranx():
    generator = np.random.default_rng(1)
    first = generator.random(200)
    second = first + generator.normal(0.02, 0.15, 200)
    theirs = fisher_randomization_test(first, second, 100_000, 0.01, 0)
    ours = randomization_test(first, second, resamples=100_000)
    # Both are drawn, with a standard deviation of 0.0016 each.
    assert ours == pytest.approx(theirs[0], abs=0.01)


def test_both_queries_of_a_pair_are_exchanged_together():
    """Two queries that say the same count once: 2n of them are no more evidence than n."""
    generator = np.random.default_rng(2)
    first, second = generator.random((2, 12))
    pairs = [str(number) for number in range(12)]
    expected = randomization_test(first, second)
    twice = [np.concatenate([scores, scores]) for scores in (first, second)]
    assert randomization_test(*twice, pairs * 2) == expected
    # Taken for independent, they would make the difference look more certain.
    assert randomization_test(*twice) < 0.8 * expected
    # The order of the queries does not matter, and opposite differences within a pair cancel.
    order = generator.permutation(24)
    mixed = [scores[order] for scores in twice]
    assert randomization_test(*mixed, np.array(pairs * 2)[order]) == pytest.approx(expected)
    opposite = np.concatenate([first, second]), np.concatenate([second, first])
    assert randomization_test(*opposite, pairs * 2) == 1.0


def test_equal_scores_do_not_differ():
    assert randomization_test(np.ones(5), np.ones(5)) == 1.0


def test_holms_correction_by_hand():
    # Ordered .01, .03, .04: times 3, 2, 1, and never below the one before.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_queries_are_averaged_over_the_seeds_that_have_them():
    runs = [{"a": 0.2, "b": 1.0}, {"a": 0.4}]
    assert mean_by_query(runs) == pytest.approx({"a": 0.3, "b": 1.0})


def test_t_interval_by_hand():
    # Mean 2, standard deviation 1, t(.975; 2) = 4.302653: 2 ± 4.302653 / √3.
    assert interval_over_seeds(np.array([1.0, 2.0, 3.0])) == pytest.approx(
        (-0.484138, 4.484138), abs=1e-6
    )
    # Mean .01, deviations ±.01: sd = .0141421, t(.975; 1) = 12.706205: .01 ± 12.706205 · .01.
    assert interval_over_seeds(np.array([0.0, 0.02])) == pytest.approx(
        (-0.117062, 0.137062), abs=1e-6
    )


def test_one_seed_has_no_interval():
    assert interval_over_seeds(np.array([0.1])) is None


@pytest.mark.parametrize("interval", [interval_over_seeds, interval_over_pairs])
def test_equal_differences_leave_no_doubt(interval):
    assert interval(np.full(4, 0.25)) == (0.25, 0.25)


def test_bootstrap_of_two_pairs_by_hand():
    # Samples of two have the means 0, ½, 1 with chances ¼, ½, ¼, so 2.5 % and 97.5 % are 0 and 1.
    assert interval_over_pairs(np.array([0.0, 1.0])) == (0.0, 1.0)


def test_bootstrap_of_many_pairs_is_the_normal_interval():
    differences = np.random.default_rng(3).normal(0.02, 0.1, 4000)
    half = 1.959964 * differences.std() / np.sqrt(len(differences))
    low, high = interval_over_pairs(differences)
    assert low == pytest.approx(differences.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(differences.mean() + half, abs=0.05 * half)
    assert interval_over_pairs(differences) == (low, high)
