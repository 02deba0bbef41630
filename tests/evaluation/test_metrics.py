"""Measures of a ranking against values by hand, enumeration, ranx and scikit-learn."""

import itertools

import numpy as np
import pytest
import ranx
from sklearn.metrics import average_precision_score

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.metrics import (
    average_precision,
    chance_average_precision,
    precision_at,
)

NORMALIZERS = ("relevant", "hits", "min")

# Pairs in each category: the test split that Wikipedia ships with, and all 2,866 pairs.
WIKIPEDIA_TEST = (34, 88, 96, 85, 65, 58, 51, 41, 71, 104)
WIKIPEDIA_ALL = (172, 360, 340, 333, 267, 236, 237, 185, 285, 451)


def ranking(text: str) -> np.ndarray:
    """One query's relevance: "1" is relevant, "." is not, best rank first."""
    return np.array([[mark == "1" for mark in text]])


@pytest.mark.parametrize(
    ("case", "relevance", "relevant", "depth", "by_relevant", "by_hits", "by_min"),
    [
        ("perfect", "11..", 2, None, 1.0, 1.0, 1.0),
        ("second place", ".1..", 1, None, 1 / 2, 1 / 2, 1 / 2),
        ("worst", "..11", 2, None, (1 / 3 + 2 / 4) / 2, (1 / 3 + 2 / 4) / 2, (1 / 3 + 2 / 4) / 2),
        ("nothing relevant", "....", 0, None, 0.0, 0.0, 0.0),
        # The worked example: 1/1 + 2/3 + 3/6 over 3, and what is left of it at 5 and 2.
        ("apart", "1.1..1", 3, None, 13 / 18, 13 / 18, 13 / 18),
        ("apart, first 5", "1.1..1", 3, 5, 5 / 9, 5 / 6, 5 / 9),
        ("apart, first 2", "1.1..1", 3, 2, 1 / 3, 1.0, 1 / 2),
        ("relevant items beyond the depth only", "..11", 2, 2, 0.0, 0.0, 0.0),
        ("depth longer than the gallery", ".1", 1, 50, 1 / 2, 1 / 2, 1 / 2),
    ],
)
def test_average_precision(case, relevance, relevant, depth, by_relevant, by_hits, by_min):
    expected = dict(zip(NORMALIZERS, (by_relevant, by_hits, by_min), strict=True))
    for normalizer in NORMALIZERS:
        found = average_precision(ranking(relevance), [relevant], depth, normalizer)
        np.testing.assert_allclose(found, [expected[normalizer]], rtol=1e-9, err_msg=normalizer)


def test_average_precision_of_several_queries_is_that_of_each():
    both = np.concatenate([ranking("1.1."), ranking(".1..")], axis=0)
    np.testing.assert_allclose(average_precision(both, [2, 1]), [5 / 6, 1 / 2], rtol=1e-9)


def test_unknown_normalizer_is_an_error_that_lists_the_known():
    with pytest.raises(InputError, match="'total' is unknown; use 'relevant', 'hits' or 'min'"):
        average_precision(ranking("1"), [1], normalizer="total")
    with pytest.raises(InputError, match="'total' is unknown; use 'relevant', 'hits' or 'min'"):
        chance_average_precision([1], 3, normalizer="total")


def test_precision_at_one_depth_and_at_several():
    # 1, 1/2, 2/3, and 2/5 at a depth of 5: there is no fourth and fifth item to find.
    np.testing.assert_allclose(precision_at(ranking("1.1"), 2), [1 / 2])
    found = precision_at(ranking("1.1"), [1, 2, 3, 5])
    np.testing.assert_allclose(found, [[1, 1 / 2, 2 / 3, 2 / 5]], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 5, 20, 40])
def test_random_rankings_agree_with_ranx(depth):
    generator = np.random.default_rng(depth)
    relevance = generator.random((30, 40)) < 0.2
    relevance[:, 17] = True  # ranx knows no query without relevant items.
    # ranx sees document k at rank k.
    qrels, run = {}, {}
    for query, row in enumerate(relevance):
        qrels[f"q{query}"] = {f"d{item}": 1 for item in np.flatnonzero(row)}
        run[f"q{query}"] = {f"d{item}": float(40 - item) for item in range(40)}
    qrels, run = ranx.Qrels(qrels), ranx.Run(run)
    relevant = relevance.sum(axis=1)
    for metric, found in (
        (f"map@{depth}", average_precision(relevance, relevant, depth)),
        (f"precision@{depth}", precision_at(relevance, depth)),
        ("map", average_precision(relevance, relevant)),
    ):
        ranx.evaluate(qrels, run, metric)
        expected = [run.scores[metric][f"q{query}"] for query in range(30)]
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=metric)


def test_random_rankings_agree_with_scikit_learn():
    generator = np.random.default_rng(0)
    relevance = generator.random((20, 300)) < 0.1
    relevance[:, 5] = True
    scores = -np.arange(300)
    expected = [average_precision_score(row, scores) for row in relevance]
    found = average_precision(relevance, relevance.sum(axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_chance_is_the_mean_over_all_rankings_of_a_small_gallery(normalizer):
    items = 7
    for relevant in range(items + 1):
        places = itertools.combinations(range(items), relevant)
        relevance = np.array([np.isin(np.arange(items), place) for place in places])
        counts = np.full(len(relevance), relevant)
        for depth in (None, 1, 2, 3, 6, 7, 12):
            every = average_precision(relevance, counts, depth, normalizer)
            expected = np.mean(every, dtype=np.float64)
            found = chance_average_precision([relevant], items, depth, normalizer)
            np.testing.assert_allclose(found, [expected], rtol=1e-9, err_msg=f"{relevant} {depth}")


def test_chance_of_the_worked_example():
    np.testing.assert_allclose(chance_average_precision([1], 3), [11 / 18])
    for normalizer in NORMALIZERS:
        np.testing.assert_allclose(chance_average_precision([1], 3, 2, normalizer), [0.5])


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("depth", [None, 50])
def test_chance_is_what_shuffling_gives(normalizer, depth):
    generator = np.random.default_rng(1)
    relevance = generator.permuted(np.tile(np.arange(300) < 30, (4000, 1)), axis=1)
    every = average_precision(relevance, np.full(4000, 30), depth, normalizer)
    error = every.std() / np.sqrt(len(every))
    found = chance_average_precision([30], 300, depth, normalizer)
    assert abs(every.mean() - found[0]) < 4 * error


def test_chance_needs_one_item_and_no_more_relevant_than_items():
    np.testing.assert_array_equal(chance_average_precision([0, 1], 1), [0, 1])
    with pytest.raises(InputError, match="gallery_size is 0"):
        chance_average_precision([0], 0)
    with pytest.raises(InputError, match="depth is 0"):
        chance_average_precision([1], 5, 0)
    with pytest.raises(InputError, match="between 0 and gallery_size = 5"):
        chance_average_precision([6], 5)


def test_chance_of_a_large_gallery_is_the_share_of_relevant_items():
    # For R and N growing together H(N)/N vanishes and AP tends to R/N.
    np.testing.assert_allclose(chance_average_precision([100_000], 1_000_000), [0.1], rtol=2e-4)
    found = chance_average_precision([100_000], 1_000_000, 50, "hits")
    # So many items are drawn as if each were relevant with probability .1: a simulation of a
    # million such lists of 50 gave .16392 ± .00011.
    np.testing.assert_allclose(found, [0.1639], atol=4e-4)


def mean_chance(counts: np.ndarray, depth: int | None, normalizer: str) -> float:
    """Chance over a gallery with so many items a class, every item a query."""
    chance = chance_average_precision(counts, int(counts.sum()), depth, normalizer)
    return float(np.average(chance, weights=counts))


@pytest.mark.parametrize(
    ("protocol", "counts", "full", "hits"),
    [
        # Means over 20 random rankings of the whole gallery for every query, with their errors:
        # .1184 and .1734 ± .0010, .1308 and .1875 ± .0007.
        ("2173/693", np.array(WIKIPEDIA_TEST), 0.1184, 0.1734),
        ("1300/1566", np.array(WIKIPEDIA_ALL) - 130, 0.1308, 0.1875),
    ],
)
def test_chance_levels_on_wikipedia(protocol, counts, full, hits):
    assert counts.sum() == int(protocol.split("/")[1])
    assert mean_chance(counts, None, "relevant") == pytest.approx(full, abs=2e-4)
    assert mean_chance(counts, 50, "hits") == pytest.approx(hits, abs=2e-3)


def test_category_counts_are_those_of_the_data_set(wikipedia_dir):
    def counts(name: str) -> np.ndarray:
        rows = (wikipedia_dir / name).read_text(encoding="utf-8").split("\n")
        return np.bincount([int(row.split()[-1]) for row in rows if row.strip()], minlength=11)[1:]

    test = counts("testset_txt_img_cat.list")
    np.testing.assert_array_equal(test, WIKIPEDIA_TEST)
    np.testing.assert_array_equal(test + counts("trainset_txt_img_cat.list"), WIKIPEDIA_ALL)
