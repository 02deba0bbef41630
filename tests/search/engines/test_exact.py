"""Exact search gives the order that evaluation scores."""

import numpy as np
import pytest

from xgacmn_tf.evaluation.ranking import rank_gallery
from xgacmn_tf.search import exact, make_index


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(9, 100)), generator.normal(size=(70, 100)).astype(np.float32)


@pytest.mark.parametrize("at_once", [4, 9])
def test_order_and_scores_are_those_of_evaluation(at_once, data, monkeypatch):
    queries, gallery = data
    # Few similarities at once, so that the queries make several blocks, or just one.
    monkeypatch.setattr(exact, "CELLS", 1)
    monkeypatch.setattr(exact, "MIN_AT_ONCE", at_once)
    index = make_index("exact")
    index.index(gallery)
    rows, scores = rank_gallery(queries.astype(np.float32), gallery, 20)
    hits = index.query(queries, 20)
    np.testing.assert_array_equal(hits.ids, rows.astype(str))
    np.testing.assert_array_equal(hits.scores, scores)


def test_equal_items_stay_in_the_order_they_were_added(data):
    queries, gallery = data
    index = make_index("exact")
    index.index(np.concatenate([gallery, gallery]), categories=["even", "odd"] * len(gallery))
    found = index.query(queries, 140).ids.astype(int)
    np.testing.assert_array_equal(found[:, 1::2], found[:, ::2] + len(gallery))
    # An item that is replaced by itself keeps its place.
    index.upsert(["3"], gallery[[3]], ["odd"])
    np.testing.assert_array_equal(index.query(queries, 140).ids.astype(int), found)
    odd = index.query(queries, 140, "odd").ids.astype(int)
    np.testing.assert_array_equal(odd, found[(found % 2 == 1)].reshape(9, 70))


def test_no_size_is_traced_anew(data, monkeypatch):
    _, gallery = data
    monkeypatch.setattr(exact, "MAX_AT_ONCE", 5)
    for items, queries in ((3, 1), (50, 7), (70, 2), (60, 6)):
        index = make_index("exact")
        index.index(gallery[:items])
        index.query(gallery[:queries], queries)
        index.upsert(["0", "new"], gallery[:2])
        index.query(gallery[:queries], queries)
    assert exact._best_of_block.experimental_get_tracing_count() == 1


def test_writes_copy_no_gallery_and_keep_order(data, monkeypatch):
    monkeypatch.setattr(exact, "MAX_RECENT", 5)
    queries, gallery = data
    index = make_index("exact")
    index.index(gallery[:50], categories=["old"] * 50)
    rows = np.arange(50, 70)
    monkeypatch.setattr(index, "_build", None)
    for row in rows:
        first = index._structure.first
        index.upsert([str(row)], gallery[[row]], ["new"])
        assert index._structure.first is first or not len(index._structure.recent)
        # Items of both parts, replaced by others and by themselves again.
        for vectors, category in ((gallery[[0, 1]], "other"), (gallery[[3, row]], "new")):
            index.upsert(["3", str(row)], vectors, [category] * 2)
    index.delete(["7", "69"])
    rows, scores = rank_gallery(queries.astype(np.float32), gallery, 70)
    for category, members in (
        (None, {*range(70)} - {7, 69}),
        ("new", {3, *range(50, 69)}),
        ("other", set()),
    ):
        hits = index.query(queries, 70, category)
        expected = [[(str(r), s) for r, s in zip(*both, strict=True) if r in members]
                    for both in zip(rows.tolist(), scores.tolist(), strict=True)]  # fmt: skip
        assert [
            [*zip(*both, strict=True)] for both in zip(*(h.tolist() for h in hits), strict=True)
        ] == expected
