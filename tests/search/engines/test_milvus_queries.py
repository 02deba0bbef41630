"""Queries to Milvus that need no server: a client that answers in its place."""

import contextlib
import types

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.search import milvus_index, tune

GALLERY = np.eye(3, dtype=np.float32)


class Client:
    """Searches `GALLERY` exactly, and keeps what it was asked."""

    def __init__(self):
        self.queries = []

    def search(self, name, data, limit, **options):
        self.queries += [query.tolist() for query in data]
        return [
            [{"id": f"{row}", "distance": float(GALLERY[row] @ query)} for row in order[:limit]]
            for query in data
            for order in [np.argsort(-(GALLERY @ query), kind="stable")]
        ]


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def index(monkeypatch, client):
    server = types.SimpleNamespace(
        uri="http://localhost", calls=lambda: contextlib.nullcontext(client)
    )
    monkeypatch.setattr(milvus_index, "MilvusServer", lambda *arguments: server)
    index = milvus_index.MilvusIndex("http://localhost")
    index._dim = 3
    return index


def test_a_query_of_zeros_is_not_sent_and_finds_nothing(index, client):
    hits = index.query(np.array([[0.0, 1, 0], [0, 0, 0], [0, 0, 2]]), 2)
    assert hits.ids.tolist() == [["1", "0"], ["", ""], ["2", "0"]]
    np.testing.assert_array_equal(hits.scores, [[1, 0], [-np.inf] * 2, [2, 0]])
    assert client.queries == [[0, 1, 0], [0, 0, 2]]
    hits = index.query(np.zeros((2, 3)), 2)
    assert hits.ids.shape == (2, 0) and len(client.queries) == 2


def test_a_query_that_is_not_finite_is_rejected_by_its_row(index, client):
    with pytest.raises(InputError, match="NaN, infinite .*, the first in row 1"):
        index.query(np.array([[0.0, 1, 0], [0, np.nan, 0]]), 2)
    assert client.queries == []


def test_recall_is_measured_with_the_queries_given(index, client):
    measured = tune(index, GALLERY, np.float32([[1, 2, 3]]), source="text queries")
    assert client.queries == [[1, 2, 3]] * 2  # for recall@10 and recall@50
    assert str(measured).startswith("recall@10 1.000, recall@50 1.000 for 1 text queries at effort")
