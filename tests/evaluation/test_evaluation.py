"""Whole galleries in both directions, against values by hand, NumPy, ranx and scikit-learn.

With the identity as image representations and Sᵀ as text representations the similarity of image
i and text j is S[i, j], whatever S is.
"""

import tracemalloc

import numpy as np
import pytest
import ranx
import tensorflow as tf
from scipy import sparse
from sklearn.metrics import average_precision_score

from xgacmn_tf.datasets.paired import label_matrix
from xgacmn_tf.datasets.stratified import stratified_part
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation import query_blocks, retrieval
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.metrics import average_precision
from xgacmn_tf.evaluation.ranking import rank_gallery
from xgacmn_tf.evaluation.representations import Representations, represent, unit_length
from xgacmn_tf.evaluation.retrieval import (
    chance_levels,
    evaluate_retrieval,
    mean_average_precision,
    own_ranks,
)
from xgacmn_tf.model import input_maps
from xgacmn_tf.model.angular_softmax import AngularSoftmax
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Affine

# Classes 0, 0, 1, and similarities without ties. Relevance in ranked order:
#   i2t: image 0 ranks texts 1, 2, 0 → 1.1, AP (1 + 2/3) / 2 = 5/6, own rank 3
#        image 1 ranks texts 2, 0, 1 → .11, AP (1/2 + 2/3) / 2 = 7/12, own rank 3
#        image 2 ranks texts 2, 1, 0 → 1.., AP 1, own rank 1
#   t2i: text 0 ranks images 1, 0, 2 → 11., AP 1, own rank 2
#        text 1 ranks images 0, 2, 1 → 1.1, AP 5/6, own rank 3
#        text 2 ranks images 1, 2, 0 → .1., AP 1/2, own rank 2
SCORES = np.array([[0.1, 0.9, 0.2], [0.5, 0.4, 0.7], [0.0, 0.5, 0.6]])
TARGETS = np.eye(2)[[0, 0, 1]]


def pairs(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.eye(len(scores)), np.ascontiguousarray(scores.T)


def random_pairs(seed: int, items: int, classes: int = 4, dim: int = 3):
    """Small integers as representations, so that many similarities tie, and exactly."""
    generator = np.random.default_rng(seed)
    image, text = generator.integers(-2, 3, (2, items, dim)).astype(np.float32)
    return image, text, np.eye(classes)[generator.integers(0, classes, items)]


@pytest.mark.parametrize("deduplicated", [False, True])
def test_labels_give_what_one_hot_targets_give(deduplicated):
    image, text, targets = random_pairs(3, 60)
    image = np.repeat(image[::2], 2, axis=0)
    one, *others = [
        (
            evaluate_retrieval(image, text, form, deduplicated=deduplicated),
            chance_levels(form, identity=Identity.of(image, text), deduplicated=deduplicated),
        )
        for form in (targets, targets.argmax(axis=1), sparse.csr_array(targets))
    ]
    for result, chance in others:
        assert result.measures == one[0].measures and chance == one[1]
        for way in ("i2t", "t2i"):
            np.testing.assert_array_equal(result.precision_scope[way], one[0].precision_scope[way])


@pytest.mark.parametrize("block", [1, 7, 22])
def test_representations_in_blocks_give_what_a_whole_matrix_gives(block):
    image, text, targets = random_pairs(4, 23)
    whole = evaluate_retrieval(image, text, targets)
    blocks = [
        Representations(name, values.shape, lambda rows, values=values: values[rows], block)
        for name, values in (("image", image), ("text", text))
    ]
    found = evaluate_retrieval(*blocks, targets, identity=Identity.of(image, text))
    assert found.measures == whole.measures
    assert mean_average_precision(*blocks, targets) == whole.measures["mAP"]
    ranks = own_ranks(*blocks, identity=Identity.of(image, text))
    for way, scores in whole.per_query.items():
        np.testing.assert_array_equal(ranks[way], scores["rank"])


@pytest.mark.parametrize("block", [2, 5])
def test_rows_are_taken_in_their_order(block):
    values = np.arange(5.0)[:, np.newaxis]
    whole = Representations("image", values.shape, lambda rows: values[rows], block)
    for rows in ([4, 2, 0, 1, 3], [3, 3, 0], [0, 1, 2, 3, 4]):
        assert whole.take(np.array(rows))[:].ravel().tolist() == rows


def test_a_block_that_is_not_finite_is_named():
    image, text, targets = random_pairs(4, 23)
    image[20, 1] = np.nan
    broken = Representations("image", image.shape, lambda rows: image[rows], 7)
    with pytest.raises(InputError, match="image holds 1 values of 21 that are NaN"):
        mean_average_precision(broken, text, targets)


@pytest.mark.slow
def test_many_categories_make_no_matrix_of_all():
    """60,000 categories, of which a matrix with 20,000 items would take 4.8 GB."""
    labels = np.random.default_rng(0).integers(0, 60_000, 20_000)
    tracemalloc.start()
    try:
        counts = chance_levels(labels)
        hot = label_matrix(labels, 60_000)
        held = stratified_part(hot, 0.1, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held.any() and counts["mAP"]["avg"] < 0.01
    assert peak < 100 * 2**20


def test_measures_by_hand():
    result = evaluate_retrieval(*pairs(SCORES), TARGETS, depth=2, recall_depths=(1, 2, 5))
    np.testing.assert_allclose(result.per_query["i2t"]["AP"], [5 / 6, 7 / 12, 1], rtol=1e-12)
    np.testing.assert_allclose(result.per_query["t2i"]["AP"], [1, 5 / 6, 1 / 2], rtol=1e-12)
    np.testing.assert_array_equal(result.per_query["i2t"]["rank"], [3, 3, 1])
    np.testing.assert_array_equal(result.per_query["t2i"]["rank"], [2, 3, 2])
    # The first two only: "1.", ".1", "1." and "11", "1.", ".1".
    np.testing.assert_allclose(result.per_query["i2t"]["AP@2"], [1, 1 / 2, 1])
    np.testing.assert_allclose(result.per_query["t2i"]["AP@2"], [1, 1, 1 / 2])
    expected = {
        "mAP": (29 / 36, 7 / 9),
        "mAP@2": (5 / 6, 5 / 6),
        # By min(2, R): 1/2, (1/2)/2, 1 and 1, 1/2, 1/2.
        "mAP@2/min": (7 / 12, 2 / 3),
        "R@1": (1 / 3, 0),
        "R@2": (1 / 3, 2 / 3),
        "R@5": (1, 1),
        "median_rank": (3, 2),
    }
    assert set(result.measures) == set(expected)
    for measure, (i2t, t2i) in expected.items():
        found = result.measures[measure]
        np.testing.assert_allclose(
            [found["i2t"], found["t2i"], found["avg"]],
            [i2t, t2i, (i2t + t2i) / 2],
            rtol=1e-12,
            err_msg=measure,
        )
    # P(1), P(2), P(3): of 1.1, .11, 1.. and of 11., 1.1, .1.
    np.testing.assert_allclose(result.precision_scope["i2t"], [2 / 3, 1 / 2, 5 / 9], rtol=1e-12)
    np.testing.assert_allclose(result.precision_scope["t2i"], [2 / 3, 2 / 3, 5 / 9], rtol=1e-12)
    assert result.queries_without_relevant == {"i2t": 0, "t2i": 0}


def all_different(items: int) -> Identity:
    """Only a query's own pair counts as such, whatever the representations are."""
    return Identity(np.arange(items), np.arange(items), np.arange(items))


def test_perfect_ranking():
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 2]]
    result = evaluate_retrieval(targets, targets, targets, identity=all_different(7))
    for measure in ("mAP", "mAP@50", "mAP@50/min"):
        assert result.measures[measure] == {"i2t": 1.0, "t2i": 1.0, "avg": 1.0}
    # Within a class all tie, so that the own pair stands at its place among its class.
    np.testing.assert_array_equal(result.per_query["i2t"]["rank"], [1, 1, 1, 2, 2, 2, 3])


def test_second_place():
    # Each item's only relevant item is its own pair, and one other item stands before it.
    scores = np.array([[0.5, 0.9], [0.9, 0.5]])
    result = evaluate_retrieval(*pairs(scores), np.eye(2))
    assert result.measures["mAP"] == {"i2t": 0.5, "t2i": 0.5, "avg": 0.5}
    assert result.measures["R@1"]["avg"] == 0
    assert result.measures["median_rank"]["avg"] == 2


def test_query_without_relevant_items_counts_as_zero_and_is_counted():
    targets = np.array([[1, 0], [0, 0], [1, 0], [0, 1]])
    result = evaluate_retrieval(targets.astype(float), targets.astype(float), targets)
    np.testing.assert_array_equal(result.per_query["i2t"]["AP"], [1, 0, 1, 1])
    assert result.measures["mAP"] == {"i2t": 0.75, "t2i": 0.75, "avg": 0.75}
    assert result.queries_without_relevant == {"i2t": 1, "t2i": 1}


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_ties_are_broken_by_gallery_row(zero):
    # All similarities are equal, so that every ranking is 0, 1, 2, 3 with classes 0, 1, 0, 1.
    image = np.full((4, 2), [1.0, 0.0], np.float32)
    text = np.full((4, 2), [zero, 1.0], np.float32)
    result = evaluate_retrieval(image, text, np.eye(2)[[0, 1, 0, 1]], identity=all_different(4))
    np.testing.assert_array_equal(result.per_query["i2t"]["rank"], [1, 2, 3, 4])
    # 1.1. gives (1 + 2/3) / 2, .1.1 gives (1/2 + 2/4) / 2.
    for direction in ("i2t", "t2i"):
        found = result.per_query[direction]["AP"]
        np.testing.assert_allclose(found, [5 / 6, 1 / 2, 5 / 6, 1 / 2], rtol=1e-12)


def test_depth_and_scope_longer_than_the_gallery_look_at_all_of_it():
    short = evaluate_retrieval(*pairs(SCORES), TARGETS, depth=3, max_scope=3)
    long = evaluate_retrieval(*pairs(SCORES), TARGETS, depth=50, max_scope=1000)
    assert long.measures["mAP@50"] == short.measures["mAP@3"] == long.measures["mAP"]
    np.testing.assert_array_equal(long.precision_scope["i2t"], short.precision_scope["i2t"])


def test_items_that_share_one_of_several_labels_are_relevant():
    # Item 1 shares a label with both others, which share none.
    targets = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]], bool)
    # Image 0 ranks 2, 1, 0 → .11; image 1 ranks 0, 1, 2 → 111; image 2 ranks 0, 1, 2 → .11.
    scores = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    result = evaluate_retrieval(*pairs(scores), targets)
    expected = [(1 / 2 + 2 / 3) / 2, 1, (1 / 2 + 2 / 3) / 2]
    np.testing.assert_allclose(result.per_query["i2t"]["AP"], expected, rtol=1e-12)
    # Two labels in common count once: R is 2, not 3, for image 0.
    assert result.measures["mAP@50/min"]["i2t"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("block_size", [1, 5, 22, 23, 256])
def test_blocks_change_nothing(block_size):
    image, text, targets = random_pairs(0, 23)
    image, text = image + np.float32(0.1), text / np.float32(3)
    one = evaluate_retrieval(image, text, targets, block_size=23)
    many = evaluate_retrieval(image, text, targets, block_size=block_size)
    for direction in ("i2t", "t2i"):
        for name, values in one.per_query[direction].items():
            np.testing.assert_array_equal(many.per_query[direction][name], values)
        np.testing.assert_allclose(
            many.precision_scope[direction], one.precision_scope[direction], rtol=1e-12
        )
    assert many.measures == one.measures
    assert mean_average_precision(image, text, targets, block_size) == one.measures["mAP"]
    assert chance_levels(targets, block_size=block_size) == chance_levels(targets)


@pytest.mark.slow  # ranx compiles for a minute
def test_random_rankings_with_ties_agree_with_ranx():
    items, depth = 60, 20
    image, text, targets = random_pairs(1, items)
    result = evaluate_retrieval(image, text, targets, depth=depth, identity=all_different(items))
    for direction, scores in (("i2t", image @ text.T), ("t2i", text @ image.T)):
        order = np.argsort(-scores, axis=1, kind="stable")
        classes = targets.argmax(axis=1)
        # ranx has an order of its own for ties, so it is told the ranks.
        run = ranx.Run(
            {
                f"q{q}": {f"d{item}": float(items - rank) for rank, item in enumerate(order[q])}
                for q in range(items)
            }
        )
        same_class = ranx.Qrels(
            {
                f"q{q}": {f"d{item}": 1 for item in np.flatnonzero(classes == classes[q])}
                for q in range(items)
            }
        )
        own_pair = ranx.Qrels({f"q{q}": {f"d{q}": 1} for q in range(items)})
        assert result.measures["mAP"][direction] == pytest.approx(
            ranx.evaluate(same_class, run, "map"), rel=1e-9
        )
        for k in (1, 5, 10):
            assert result.measures[f"R@{k}"][direction] == pytest.approx(
                ranx.evaluate(own_pair, run, f"recall@{k}")
            )
            assert result.precision_scope[direction][k - 1] == pytest.approx(
                ranx.evaluate(same_class, run, f"precision@{k}"), rel=1e-9
            )


def test_random_rankings_without_ties_agree_with_scikit_learn():
    generator = np.random.default_rng(2)
    image, text = generator.normal(size=(2, 80, 5))
    labels = generator.integers(0, 6, 80)
    result = evaluate_retrieval(image, text, np.eye(6)[labels])
    for direction, scores in (("i2t", image @ text.T), ("t2i", text @ image.T)):
        expected = [
            average_precision_score(labels == label, row)
            for label, row in zip(labels, scores, strict=True)
        ]
        np.testing.assert_allclose(result.per_query[direction]["AP"], expected, rtol=1e-9)


def test_unit_lengths_are_of_double_precision():
    """Cosines of nearly one-hot codes differ by less than single precision resolves."""
    identity, eye = input_maps.Identity(3), Affine.of(np.eye(3))
    encoder = CommonSpaceEncoder(identity, identity, eye, eye, AngularSoftmax(3))
    codes = np.array([[1, 1e-4, 0], [1, 0, 2e-4], [0, 0, 0]], np.float32)
    found = represent(encoder, codes, "cosine", "image")[:]
    np.testing.assert_allclose(found, unit_length(codes.astype(np.float64)), rtol=1e-15)


def test_chance_levels_are_what_random_representations_score():
    generator = np.random.default_rng(3)
    targets = generator.random((60, 5)) < 0.3
    targets[7] = False
    draws = [
        evaluate_retrieval(*generator.normal(size=(2, 60, 40)), targets, depth=10).measures
        for _ in range(40)
    ]
    chance = chance_levels(targets, depth=10)
    assert set(chance) == set(draws[0])
    for measure, level in chance.items():
        found = [draw[measure]["avg"] for draw in draws]
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        assert abs(np.mean(found) - level["avg"]) < 4 * error, measure
        assert level["i2t"] == level["t2i"] == level["avg"]
    assert chance["R@5"]["avg"] == pytest.approx(5 / 60)
    assert chance["median_rank"]["avg"] == 30.5
    assert chance_levels(targets, recall_depths=(100,))["R@100"]["avg"] == 1


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_order_is_that_of_the_search(dim, monkeypatch):
    """Extreme and tied similarities of both signs, ranked as `rank_gallery` has them."""
    generator = np.random.default_rng(dim)
    # Powers of two, so that no sum is rounded.
    scale = 2.0 ** generator.integers(-50, 56, (2, 150, 1))
    image, text = generator.integers(-2, 3, (2, 150, dim)) * scale
    text[::7] = text[3]
    image[5] = -0.0
    order, _ = rank_gallery(image, text, 150)
    # Every item alone in its class: its own rank is where the pair stands.
    monkeypatch.setattr(query_blocks, "PAIRS", 1000)
    result = evaluate_retrieval(image, text, np.eye(150), depth=150, identity=all_different(150))
    np.testing.assert_array_equal(
        result.per_query["i2t"]["rank"], 1 + np.argmax(order == np.arange(150)[:, None], axis=1)
    )
    labels = generator.integers(0, 5, 150)
    found = evaluate_retrieval(image, text, np.eye(5)[labels]).per_query["i2t"]["AP"]
    for query, row in enumerate(order):
        hits = np.flatnonzero(labels[row] == labels[query]) + 1
        expected = np.mean(np.arange(1, len(hits) + 1) / hits)
        assert found[query] == pytest.approx(expected, rel=1e-12)


def test_subnormal_similarities_tie_in_the_search_and_in_the_evaluation():
    """TensorFlow flushes them to zero; with an order of their own here, the two would differ."""
    image = np.ones((5, 1))
    text = np.array([[1e-39], [2e-39], [3e-39], [2e-38], [-1e-39]])
    order, _ = rank_gallery(image, text, 5)
    result = evaluate_retrieval(image, text, np.eye(5), identity=all_different(5))
    assert order[0].tolist() == [3, 0, 1, 2, 4]
    assert result.per_query["i2t"]["rank"].tolist() == [2, 3, 4, 1, 5]


def test_many_items_with_some_ties_are_ranked_as_by_a_stable_sort():
    # 300 of 2,000 values: a tie here and there, and values that share their last bits.
    generator = np.random.default_rng(10)
    scores = generator.integers(-1000, 1000, (300, 300)) / np.float32(3 * 2**12)
    labels = generator.integers(0, 3, 300)
    result = evaluate_retrieval(*pairs(scores), np.eye(3)[labels])
    order = np.argsort(-scores, axis=1, kind="stable")
    relevance = labels[order] == labels[:, None]
    np.testing.assert_array_equal(
        result.per_query["i2t"]["AP"], average_precision(relevance, relevance.sum(axis=1))
    )
    ranks = 1 + np.argmax(order == np.arange(300)[:, np.newaxis], axis=1)
    np.testing.assert_array_equal(result.per_query["i2t"]["rank"], ranks)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**9, 2.0**100])
def test_similarities_of_any_size_are_ranked_alike(scale):
    image, text, targets = random_pairs(11, 60)
    one, other = (evaluate_retrieval(x, text, targets) for x in (image, image * scale))
    assert one.measures == other.measures


def test_threads_change_nothing(monkeypatch):
    image, text, targets = random_pairs(8, 90)
    results = []
    for threads in ("1", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(evaluate_retrieval(image, text, targets, block_size=7))
    assert results[0].measures == results[1].measures


def test_several_labels_that_are_one_each_give_the_same():
    image, text, targets = random_pairs(9, 50)
    doubled = np.concatenate([targets, targets], axis=1)  # The same sharing, by products.
    one, two = (evaluate_retrieval(image, text, t) for t in (targets, doubled))
    assert one.measures == two.measures
    assert chance_levels(targets) == chance_levels(doubled)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_tensors_of_every_floating_type_are_taken(dtype):
    image, text, targets = random_pairs(4, 12)
    expected = mean_average_precision(image, text, targets)
    found = mean_average_precision(tf.cast(image, dtype), tf.cast(text, dtype), targets)
    assert found == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image": np.array([[1.0], [np.nan], [np.inf]])},
            "image holds 2 values of 3 that",
        ),
        ({"text": np.array([[1.0], [np.nan], [2.0]])}, "text holds 1 values of 3 that are NaN"),
        ({"image": np.ones((3, 2))}, r"image is \(3, 2\) and text \(3, 1\); both"),
        ({"text": np.ones((2, 1))}, r"text \(2, 1\); both must"),
        ({"targets": np.eye(2)}, r"targets \(2, 2\); .* one row per pair"),
        ({"image": np.ones(3)}, r"image has shape \(3,\)"),
        ({"image": np.ones((0, 1))}, r"image has shape \(0, 1\)"),
        ({"image": np.ones((3, 1), int)}, "image holds int64; give floating-point"),
        ({"targets": np.array([0.0, 0.0, 1.0])}, r"targets has shape \(3,\) and .* one-hot"),
        ({"targets": np.array([0, -1, 1])}, "targets holds the label -1; give whole numbers"),
        ({"targets": np.array([[0.0], [2.0], [np.nan]])}, "targets holds 2 values other than 0"),
        ({"depth": 0}, "depth is 0; it must be at least 1"),
        ({"max_scope": 0}, "max_scope is 0"),
        ({"block_size": 0}, "block_size is 0"),
        ({"recall_depths": (1, -5)}, "recall_depths is -5"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {"image": np.ones((3, 1)), "text": np.ones((3, 1)), "targets": TARGETS}
    with pytest.raises(InputError, match=message):
        evaluate_retrieval(**{**good, **change})


@pytest.mark.parametrize("sort", [retrieval._by_one_sort, retrieval._by_radix])
def test_both_sorts_are_stable(sort, monkeypatch):
    generator = np.random.default_rng(0)
    # Scores of either sign with many ties, both zeros among them.
    scores = generator.integers(-50, 50, size=(7, 900)).astype(np.float32) / 10
    scores[:, ::9] = -0.0
    relevant = generator.random(scores.shape) < 0.2
    order = np.argsort(-scores, axis=1, kind="stable")
    monkeypatch.setattr(retrieval, "_one_sort_is_faster", lambda: sort is retrieval._by_one_sort)
    expected = np.take_along_axis(relevant, order, axis=1)
    np.testing.assert_array_equal(retrieval._ranked_relevance(scores, relevant), expected)
