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
    for function in (exact.best, exact._best_of_block):
        assert function.experimental_get_tracing_count() == 1
