"""Recall against exact search: ties, queries of the other modality, and tuning the effort."""

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.search import Hits, make_index, recall, tune
from xgacmn_tf.search.exact import ExactIndex


class Forgetful(ExactIndex):
    """Finds the first half of the items only, unless it makes every effort."""

    effort = 1

    def efforts(self):
        return (1, 2, 4)

    def query(self, embeddings, k, category=None):
        hits = super().query(embeddings, len(self), category)
        if self.effort == 4:
            return Hits(hits.ids[:, :k], hits.scores[:, :k])
        known = hits.ids.astype(int) < len(self) // 2
        scores = np.where(known, hits.scores, -np.inf)
        order = np.argsort(-scores, axis=1)[:, :k]
        return Hits(*(np.take_along_axis(a, order, 1) for a in (hits.ids, scores)))


def line(rows: int) -> np.ndarray:
    """Items whose similarity to (1, 0) is their row."""
    return np.stack([np.arange(rows), np.ones(rows)], axis=1).astype(np.float32)


def test_recall_is_the_share_that_reaches_the_last_exact_score():
    truth = np.float32([[9, 8, 7, 6], [5, 5, 5, 5]])
    assert recall.recall_at(2, np.float32([[9, 7, 6, 5], [5, 5, 4, 4]]), truth) == 3 / 4
    # The second query's items all tie, so that any of them will do.
    assert recall.recall_at(4, np.float32([[9, 8, 7, -np.inf], [5, 5, 5, 5]]), truth) == 7 / 8
    assert recall.recall_at(10, truth, truth) == 1


def test_effort_is_raised_until_recall_suffices():
    index = Forgetful()
    index.index(line(40))
    query = np.float32([[1, 0]])
    # The exact first ten are 39 … 30, of which the forgetful one knows none; of all 40 it knows 20.
    measured = tune(index, line(40), queries=query, target=0.0)
    assert (measured.at10, measured.at50, measured.effort) == (0, 20 / 40, 1)
    measured = tune(index, line(40), queries=query)
    assert (measured.at10, measured.at50, index.effort, measured.reached) == (1, 1, 4, True)
    assert str(measured) == ("recall@10 1.000, recall@50 1.000 for 1 queries at effort 4")


def test_a_target_out_of_reach_is_told():
    index = Forgetful()
    index.efforts = lambda: (1, 2)
    index.index(line(40))
    measured = tune(index, line(40), queries=np.float32([[1, 0], [-1, 0]]))
    # The second query wants rows 0 to 9, which are known.
    assert (measured.at10, measured.reached, index.effort) == (0.5, False, 2)
    assert str(measured).endswith("for 2 queries at effort 2; 0.99 was out of reach")


def test_hits_that_are_missing_are_missed():
    truth = np.float32([[9, 8, 7, 6]])
    assert recall.recall_at(4, np.float32([[9, 8]]), truth) == 2 / 4


def ring(items_a_cluster: int, seed: int = 0) -> np.ndarray:
    """Twelve tight clusters around the first axis, all at the same angle to it."""
    angles = np.repeat(np.arange(12) * np.pi / 6, items_a_cluster)
    centers = np.stack([np.full(len(angles), 0.8), 0.6 * np.cos(angles), 0.6 * np.sin(angles)], 1)
    noise = np.random.default_rng(seed).normal(scale=0.01, size=centers.shape)
    items = (centers + noise).astype(np.float32)
    return items / np.linalg.norm(items, axis=1, keepdims=True)


def test_recall_is_that_of_the_queries_given_and_not_of_the_gallerys_own_items():
    """An item finds its own cluster in two lists; a query between all clusters needs many."""
    pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")
    items = ring(300)
    index = make_index("ivf")
    index.index(items)
    others = np.random.default_rng(1).normal([1, 0, 0], 0.02, size=(100, 3)).astype(np.float32)
    truth = recall.exact_scores(others, items)
    easy = tune(index, items, items)
    assert easy.at10 > 0.99
    assert recall.recall_at(10, index.query(others, 10).scores, truth) < 0.7
    measured = tune(index, items, others)
    assert measured.effort > easy.effort and measured.reached
    assert measured.at10 == recall.recall_at(10, index.query(others, 10).scores, truth)


def test_recall_at_10_is_that_of_searches_for_10_items():
    """IVF looks at everything where its lists hold fewer items than a search wants."""
    pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")
    items = ring(10)
    index = make_index("ivf")
    index.index(items)
    index.effort = 1
    index.efforts = lambda: (1,)
    queries = np.random.default_rng(1).normal([1, 0, 0], 0.02, size=(100, 3)).astype(np.float32)
    truth = recall.exact_scores(queries, items)
    expected = recall.recall_at(10, index.query(queries, 10).scores, truth)
    assert tune(index, items, queries).at10 == expected < 1


def test_queries_must_be_given():
    index = make_index("exact")
    index.index(line(5))
    with pytest.raises(TypeError, match="queries"):
        tune(index, line(5))


def test_a_large_gallery_is_compared_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    gallery, queries = generator.normal(size=(230, 8)), generator.normal(size=(5, 8))
    whole = recall.exact_scores(queries, gallery)
    monkeypatch.setattr(recall, "ROWS_AT_ONCE", 60)
    np.testing.assert_array_equal(recall.exact_scores(queries, gallery), whole)
    expected = -np.sort(-(queries @ gallery.T), axis=1)[:, :50]
    np.testing.assert_allclose(whole, expected, rtol=1e-6)


@pytest.mark.parametrize("lengths", ["unit", "very different", "posteriors"])
def test_lists_reach_the_target_whatever_is_compared(lengths):
    pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")
    generator = np.random.default_rng(0)
    items = generator.normal(size=(5000, 10)) * 2
    if lengths == "unit":
        items /= np.linalg.norm(items, axis=1, keepdims=True)
    if lengths == "posteriors":
        items = np.exp(2 * items) / np.exp(2 * items).sum(axis=1, keepdims=True)
    index = make_index("ivf")
    index.index(items)
    queries = generator.permutation(items)[:300] + generator.normal(size=10) / 100
    measured = tune(index, items, queries, sample=100)
    assert measured.reached and measured.queries == 100
    # The same queries against a sort of all inner products.
    queries = queries[np.random.default_rng(0).permutation(300)[:100]]
    scores = queries @ items.T
    lowest = np.sort(scores, axis=1)[:, -10:-9]
    found = np.take_along_axis(scores, index.query(queries, 10).ids.astype(int), 1)
    assert measured.at10 == pytest.approx(np.mean(found >= lowest - 1e-6 * abs(lowest)), abs=0.002)


def test_one_item_and_few_items_are_measured_too():
    index = make_index("exact")
    for rows in (1, 2, 5):
        index.index(line(rows))
        assert tune(index, line(rows), line(3)).at50 == 1


def test_what_does_not_fit_is_named():
    index = make_index("exact")
    index.index(line(5))
    with pytest.raises(InputError, match="query has 3 dimensions"):
        tune(index, line(5), queries=np.ones((1, 3)))
