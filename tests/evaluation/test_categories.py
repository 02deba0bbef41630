"""Scores per category against plain loops, and those of categories without training pairs."""

import numpy as np
import pytest

from xgacmn_tf.evaluation.categories import category_table, unseen_categories
from xgacmn_tf.evaluation.first_results import first_results
from xgacmn_tf.evaluation.identity import Identity, directions
from xgacmn_tf.evaluation.representations import Representations
from xgacmn_tf.evaluation.retrieval import evaluate_retrieval

NAMES = ("apple", "bear", "chair", "dune")


def pairs(n: int = 40, multi: bool = False, seed: int = 0):
    """Representations on a coarse grid, so that there are ties, and labels."""
    rng = np.random.default_rng(seed)
    image, text = rng.integers(-3, 4, (2, n, 6)).astype(np.float32)
    label = rng.integers(0, 4, n)
    if multi:
        hot = rng.random((n, 4)) < 0.3
        hot[np.arange(n), label] = True
        label = hot.astype(np.uint8)
    return image, text, label


def hot(label: np.ndarray) -> np.ndarray:
    return label if label.ndim == 2 else np.eye(4, dtype=np.uint8)[label]


def evaluated(image, text, label, identity, deduplicated=False):
    result = evaluate_retrieval(
        image, text, hot(label), identity=identity, deduplicated=deduplicated
    )
    return {way: scores["AP"] for way, scores in result.per_query.items()}


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("deduplicated", [False, True])
def test_a_table_against_plain_loops(multi, deduplicated):
    image, text, label = pairs(multi=multi)
    group = np.arange(40) // 2
    image = image[group * 2]
    identity = Identity.of(image, text, group)
    scores = evaluated(image, text, label, identity, deduplicated)
    train_pairs = np.array([5, 1, 0, 9])
    first = first_results(image, text, identity, deduplicated)
    table = category_table(NAMES, train_pairs, label, first, scores, identity, deduplicated)
    assert [row["name"] for row in table] == list(NAMES)
    assert [row["train_pairs"] for row in table] == train_pairs.tolist()
    labels = hot(label).astype(bool)
    of_images = labels
    if deduplicated:
        of_images = np.array([labels[identity.image == own].any(axis=0) for own in identity.image])
    for way, direction in directions(identity, deduplicated).items():
        sides = (image, text) if way == "i2t" else (text, image)
        asking, offered = (of_images, labels) if way == "i2t" else (labels, of_images)
        for category, row in enumerate(table):
            wrong, results, precision = np.zeros(4), 0, []
            for number, query in enumerate(direction.query):
                if not asking[query, category]:
                    continue
                precision.append(scores[way][number])
                similarity = sides[1][direction.gallery] @ sides[0][query]
                for item in direction.gallery[np.argsort(-similarity, kind="stable")[:10]]:
                    results += 1
                    if not (asking[query] & offered[item]).any():
                        wrong += offered[item]
            assert row["queries"][way] == len(precision)
            assert row["mAP"][way] == pytest.approx(np.mean(precision))
            confused = row["confused_with"][way]
            if wrong.any():
                assert confused["name"] == NAMES[int(wrong.argmax())]
                assert confused["share"] == pytest.approx(wrong.max() / results, abs=1e-4)
            else:
                assert confused is None


def test_nothing_is_confused_in_a_perfect_ranking_and_absent_categories_are_left_out():
    label = np.repeat([0, 2], 20)
    space = np.eye(4)[label]
    identity = Identity.of(space, space, np.arange(40))
    scores = evaluated(space, space, label, identity)
    table = category_table(
        NAMES, np.ones(4, int), label, first_results(space, space, identity), scores, identity
    )
    assert [row["name"] for row in table] == ["apple", "chair"]
    for row in table:
        assert row["mAP"] == {"i2t": 1.0, "t2i": 1.0}
        assert row["confused_with"] == {"i2t": None, "t2i": None}


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("deduplicated", [False, True])
def test_categories_that_were_never_trained_on_are_scored_apart(multi, deduplicated):
    image, text, label = pairs(multi=multi, seed=3)
    group = np.arange(40) // 2
    image = image[group * 2]
    identity = Identity.of(image, text, group)
    scores = evaluated(image, text, label, identity, deduplicated)
    trained = np.array([5, 0, 0, 9])
    found = unseen_categories(NAMES, trained, label, {"dot": scores}, identity, deduplicated)
    labels = hot(label).astype(bool)
    assert found["pairs"] == {"bear": labels[:, 1].sum(), "chair": labels[:, 2].sum()}
    known = {"t2i": labels[:, trained > 0].any(axis=1)}
    known["i2t"] = known["t2i"]
    if deduplicated:
        images = directions(identity, True)["i2t"].query
        known["i2t"] = np.array([known["t2i"][identity.image == own].any() for own in images])
    for way, seen in known.items():
        assert found["queries"][way] == (~seen).sum() > 0
        assert found["mAP"]["dot"]["seen"][way] == pytest.approx(scores[way][seen].mean())
        assert found["mAP"]["dot"]["unseen"][way] == pytest.approx(scores[way][~seen].mean())
    for means in found["mAP"]["dot"].values():
        assert means["avg"] == pytest.approx((means["i2t"] + means["t2i"]) / 2)


def test_nothing_is_scored_apart_where_all_categories_were_trained_on():
    image, text, label = pairs()
    identity = Identity.of(image, text)
    scores = evaluated(image, text, label, identity)
    assert unseen_categories(NAMES, np.ones(4, int), label, {"dot": scores}, identity) is None


def test_sixty_thousand_categories_take_little_memory():
    """An n × c or a c × c matrix would take gigabytes."""
    n, rng = 3000, np.random.default_rng(0)
    image, text = rng.normal(size=(2, n, 8)).astype(np.float32)
    label = rng.permutation(60_000)[:n]
    identity = Identity(np.arange(n), np.arange(n), np.arange(n))
    scores = {way: np.linspace(0, 1, n) for way in ("i2t", "t2i")}
    names = [f"c{k}" for k in range(60_000)]
    first = first_results(image, text, identity)
    table = category_table(names, np.ones(60_000, int), label, first, scores, identity)
    assert len(table) == n
    assert table[0]["name"] == f"c{label.min()}"


def test_representations_that_do_not_fit_are_read_in_their_blocks():
    image, text, label = pairs()
    identity = Identity.of(image, text)
    rows_at_once = []

    def in_blocks(name: str, values: np.ndarray) -> Representations:
        def compute(rows):
            rows_at_once.append(len(values[rows]))
            return values[rows]

        return Representations(name, values.shape, compute, block=7)

    whole = first_results(image, text, identity)
    blocks = first_results(in_blocks("image", image), in_blocks("text", text), identity)
    for way, results in whole.items():
        np.testing.assert_array_equal(blocks[way].order, results.order)
    assert max(rows_at_once) == 7
