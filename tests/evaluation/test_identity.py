"""What counts as a query's own pair, and galleries that hold each image once."""

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.identity import Identity, directions
from xgacmn_tf.evaluation.metrics import chance_median_rank, chance_of_a_hit
from xgacmn_tf.evaluation.retrieval import chance_levels, evaluate_retrieval, own_ranks


def random_case(seed: int, pairs: int = 60):
    """Pairs of images with one to four captions, some captions equal, some images in two groups."""
    generator = np.random.default_rng(seed)
    images = np.sort(generator.integers(0, 25, pairs))
    texts = generator.integers(0, 50, pairs)
    group = np.where(generator.random(pairs) < 0.2, images + 100, images)
    labels = generator.random((25, 4)) < 0.4
    targets = labels[images] | (generator.random((pairs, 4)) < 0.1)
    image = generator.integers(-2, 3, (25, 4)).astype(float)[images]
    text = generator.integers(-2, 3, (50, 4)).astype(float)[texts]
    return image, text, targets, Identity(group, images, texts)


def oracle(image, text, targets, identity, way, deduplicated):
    """Own rank and average precision of every query, written down as they are defined."""
    pairs = range(len(image))
    first = [p for p in pairs if p == list(identity.image).index(identity.image[p])]
    images = [[q for q in pairs if identity.image[q] == identity.image[p]] for p in first]
    alone = [[p] for p in pairs]
    image_items = images if deduplicated else alone
    queries, gallery = (image_items, alone) if way == "i2t" else (alone, image_items)
    query_codes, gallery_codes = (image, text) if way == "i2t" else (text, image)
    content = identity.text if way == "i2t" else identity.image
    ranks, precisions = [], []
    for query in queries:
        scores = [np.float32(query_codes[query[0]] @ gallery_codes[item[0]]) for item in gallery]
        order = sorted(range(len(gallery)), key=lambda k: (-scores[k], k))
        own = [
            any(
                identity.group[p] == identity.group[g] or content[p] == content[g]
                for p in query
                for g in item
            )
            for item in gallery
        ]
        labels = targets[query].any(axis=0)
        relevant = [bool((labels & targets[item].any(axis=0)).any()) for item in gallery]
        ranks.append(1 + next(k for k, item in enumerate(order) if own[item]))
        hits = [k for k, item in enumerate(order, 1) if relevant[item]]
        precisions.append(np.mean([n / k for n, k in enumerate(hits, 1)]) if hits else 0.0)
    return ranks, precisions


@pytest.mark.parametrize("deduplicated", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_against_an_oracle(seed, deduplicated):
    image, text, targets, identity = random_case(seed)
    result = evaluate_retrieval(
        image, text, targets, identity=identity, deduplicated=deduplicated, block_size=7
    )
    alone = own_ranks(image, text, identity=identity, deduplicated=deduplicated, block_size=7)
    for way in ("i2t", "t2i"):
        ranks, precisions = oracle(image, text, targets, identity, way, deduplicated)
        assert alone[way].tolist() == ranks
        found = result.per_query[way]
        assert found["rank"].tolist() == ranks
        np.testing.assert_allclose(found["AP"], precisions, rtol=1e-12)
        assert result.measures["R@5"][way] == np.mean(np.array(ranks) <= 5)
        assert result.measures["median_rank"][way] == np.median(ranks)
    images = len(np.unique(identity.image)) if deduplicated else 60
    assert {way: len(found["AP"]) for way, found in result.per_query.items()} == {
        "i2t": images,
        "t2i": 60,
    }


def test_perfect_retrieval_of_images_with_five_captions():
    """Where only a query's own row counts, R@1 is .2 and the median rank 3."""
    code = np.repeat(np.eye(24), 5, axis=0)
    for deduplicated in (False, True):
        result = evaluate_retrieval(code, code, code, deduplicated=deduplicated)
        assert result.measures["R@1"] == {"i2t": 1, "t2i": 1, "avg": 1}
        assert result.measures["median_rank"]["avg"] == 1
        assert result.measures["mAP"]["avg"] == 1


def test_codes_that_have_collapsed_find_nothing_for_it():
    """Where all representations are equal, no item is every query's own."""
    code = np.ones((100, 3))
    measures = evaluate_retrieval(code, code, np.eye(4)[np.arange(100) % 4]).measures
    assert measures["R@10"]["avg"] == 0.1
    assert measures["median_rank"]["avg"] == 50.5


def test_images_with_many_captions_are_few_images_in_a_small_test_split():
    """Twelve captions are 6.7 % of this part, and less than 1 % of the data set."""
    images = np.repeat(np.arange(15), 12)
    image, text = np.eye(15)[images], np.random.default_rng(0).normal(size=(180, 15))
    part = Identity.of(image, text, images, rows=1380)
    assert len(directions(part, deduplicated=True)["i2t"].query) == 15
    # Explicit groups are believed, too.
    grouped = Identity.of(image, text, images)
    assert len(directions(grouped, deduplicated=True)["i2t"].query) == 15
    # Without either, so many identical rows may be constant features.
    assert len(directions(Identity.of(image, text), deduplicated=True)["i2t"].query) == 180


def test_groups_count_beside_identical_images_and_texts():
    # Texts 0 and 3 are identical; pairs 1 and 2 are of one group.
    image = np.eye(5)[[0, 1, 2, 3, 4]]
    text = np.eye(5)[[0, 1, 2, 0, 4]]
    identity = Identity.of(image, text, group=["a", "b", "b", "c", "d"])
    i2t, t2i = directions(identity, deduplicated=False).values()
    assert [sorted(set(row)) for row in i2t.own(slice(None)).tolist()] == [
        [0, 3], [1, 2], [1, 2], [0, 3], [4],
    ]  # fmt: skip
    assert i2t.own_count().tolist() == [2, 2, 2, 2, 1]
    assert [sorted(set(row)) for row in t2i.own(slice(None)).tolist()] == [
        [0], [1, 2], [1, 2], [3], [4],
    ]  # fmt: skip


@pytest.mark.parametrize("deduplicated", [False, True])
def test_chance_is_what_random_representations_score(deduplicated):
    generator = np.random.default_rng(0)
    _, _, targets, identity = random_case(5)
    options = {"identity": identity, "deduplicated": deduplicated, "depth": 10}
    draws = []
    for _ in range(400):
        # Every item with a place of its own: which images are identical the identity tells.
        image, text = generator.normal(size=(2, 60, 60))
        draws.append(evaluate_retrieval(image, text, targets, **options).measures)
    chance = chance_levels(targets, **options)
    for measure in ("mAP", "mAP@10", "R@1", "R@5", "R@10"):
        for way in ("i2t", "t2i", "avg"):
            found = [draw[measure][way] for draw in draws]
            error = np.std(found, ddof=1) / np.sqrt(len(found))
            assert abs(np.mean(found) - chance[measure][way]) < 4 * error, (measure, way)


@pytest.mark.parametrize(("own", "items"), [(1, 7), (1, 8), (3, 20), (5, 5)])
def test_chance_of_the_median_rank_by_counting(own, items):
    generator = np.random.default_rng(own)
    ranks = [1 + generator.permutation(items)[:own].min() for _ in range(20_000)]
    # The exact shares of ranks by counting; their median is where half is reached.
    shares = np.cumsum([1 - chance_of_a_hit([own], items, k)[0] for k in range(1, items + 1)])
    assert shares[-1] + 1 == pytest.approx(np.mean(ranks), abs=0.1)
    assert chance_median_rank([own] * 4, items) == pytest.approx(np.median(ranks), abs=0.51)


def test_chance_of_a_hit_by_hand():
    np.testing.assert_allclose(chance_of_a_hit([1, 2, 4], 4, 1), [1 / 4, 1 / 2, 1])
    np.testing.assert_allclose(chance_of_a_hit([2], 4, 2), [5 / 6])
    np.testing.assert_allclose(chance_of_a_hit([1], 4, 9), [1])


def test_an_identity_of_other_pairs_is_rejected():
    image, text, targets, _ = random_case(0)
    with pytest.raises(InputError, match="identity is of 10 pairs, image has 60"):
        evaluate_retrieval(image, text, targets, identity=Identity.of(image[:10], text[:10]))
    with pytest.raises(InputError, match="give one value a pair"):
        Identity.of(image, text, group=np.zeros((60, 2)))
