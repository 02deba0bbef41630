"""Recall against exact search: ties, oneself, and effort raised until it suffices."""

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
    assert str(measured) == (
        "recall@10 1.000, recall@50 1.000 against exact search (1 queries, effort 4)"
    )


def test_a_target_out_of_reach_is_told():
    index = Forgetful()
    index.efforts = lambda: (1, 2)
    index.index(line(40))
    measured = tune(index, line(40), queries=np.float32([[1, 0], [-1, 0]]))
    # The second query wants rows 0 to 9, which are known.
    assert (measured.at10, measured.reached, index.effort) == (0.5, False, 2)
    assert str(measured).endswith("(2 queries, effort 2); 0.99 was out of reach")


def test_an_item_does_not_count_for_finding_itself():
    # Each item is its own best, and its only other half is unknown to the forgetful index.
    pairs = np.concatenate([np.eye(12), np.eye(12)]).astype(np.float32)
    ids = [f"{row}" for row in range(24)]
    truth = recall.exact_scores(pairs, pairs, np.arange(24))
    np.testing.assert_array_equal(truth[:, 0], 1)
    assert truth.shape == (24, 23) and (truth[:, 1:] == 0).all()
    index = ExactIndex()
    index.index(pairs, ids)
    assert tune(index, pairs, ids).at10 == 1
    np.testing.assert_array_equal(
        recall._best_but(np.array(["1"]), np.array([["1", "13", "0"]]), np.float32([[1, 1, 0]])),
        [[1, 0, -np.inf]],
    )


def test_a_large_gallery_is_compared_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    gallery, queries = generator.normal(size=(230, 8)), generator.normal(size=(5, 8))
    whole = recall.exact_scores(queries, gallery, np.full(5, -1))
    monkeypatch.setattr(recall, "ROWS_AT_ONCE", 60)
    np.testing.assert_array_equal(recall.exact_scores(queries, gallery, np.full(5, -1)), whole)
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
    measured = tune(index, items, sample=100)
    assert measured.reached and measured.queries == 100
    # The same queries, each without itself, against a sort of all inner products.
    drawn = np.random.default_rng(0).permutation(5000)[:100]
    scores = items[drawn] @ items.T
    scores[np.arange(100), drawn] = -np.inf
    hits = index.query(items[drawn], 11)
    others = [row[row != own][:10] for row, own in zip(hits.ids.astype(int), drawn, strict=True)]
    least = np.sort(scores, axis=1)[:, -10]
    found = [scores[row, other] >= least[row] * (1 - 1e-6) for row, other in enumerate(others)]
    assert measured.at10 == pytest.approx(np.mean(found), abs=0.002)


def test_one_item_and_few_items_are_measured_too():
    index = make_index("exact")
    for rows in (1, 2, 5):
        index.index(line(rows))
        assert tune(index, line(rows)).at50 == 1


def test_what_does_not_fit_is_named():
    index = make_index("exact")
    index.index(line(5))
    with pytest.raises(InputError, match="query has 3 dimensions"):
        tune(index, line(5), queries=np.ones((1, 3)))
