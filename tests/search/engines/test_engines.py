"""What holds for every engine: answers, changes, categories, saving, bad input."""

import functools
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import read_json
from xgacmn_tf.search import load_index, make_index

ENGINES = ["exact", "flat", "ivf", "hnsw", "milvus"]
# Along the first axis the items come in the order d, c, b, a; along the second a, b.
ITEMS = {"a": [1.0, 5.0], "b": [2.0, 4.0], "c": [3.0, 0.0], "d": [4.0, 0.0]}
FIRST, SECOND = [1.0, 0.0], [0.0, 1.0]


@pytest.fixture(params=ENGINES)
def empty(request):
    """An index of each kind; of Milvus in a collection of its own."""
    if request.param == "milvus":
        uri = request.getfixturevalue("milvus_uri")
        name = f"test_{uuid.uuid4().hex}"
        return make_index("milvus", milvus_uri=uri, milvus_collection=name)
    if request.param != "exact":
        pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")
    return make_index(request.param)


@pytest.fixture
def index(empty):
    categories = ["sky", "sky, sea", "sea", 'the "sea']
    empty.index(np.array(list(ITEMS.values())), list(ITEMS), categories)
    return empty


def test_the_largest_inner_products_come_first(index):
    hits = index.query(np.array([FIRST, SECOND, [1, 2]]), 2)
    assert hits.ids.tolist() == [["d", "c"], ["a", "b"], ["a", "b"]]
    np.testing.assert_array_equal(hits.scores, [[4, 3], [5, 4], [11, 10]])
    assert hits.scores.dtype == np.float32 and hits.ids.dtype.kind == "U"


def test_more_than_there_are_gives_all(index):
    hits = index.query(np.float32([FIRST]), 99)
    assert hits.ids.tolist() == [["d", "c", "b", "a"]]
    assert len(index) == 4


def test_a_category_is_searched_alone(index):
    def ask(category):
        return index.query(np.float32([FIRST]), 3, category).ids.tolist()

    assert ask("sky") == [["b", "a"]]
    assert ask("sea") == [["c", "b"]]
    assert ask("sky, sea") == [["b"]]
    assert ask('the "sea') == [["d"]]
    # Nothing that a category says is taken for an expression or a pattern.
    for hostile in ('x") or true or ("', "\\", "%", "s", "", "sky, "):
        assert ask(hostile) == [[]]


def test_items_are_added_and_replaced(index):
    index.upsert(["e, a long name", "c"], np.array([[6.0, 0.0], [0.5, 9.0]]), ["far away", "sky"])
    assert len(index) == 5
    hits = index.query(np.array([FIRST]), 5)
    assert hits.ids.tolist() == [["e, a long name", "d", "b", "a", "c"]]
    np.testing.assert_array_equal(hits.scores, [[6, 4, 2, 1, 0.5]])
    assert index.query(np.array([FIRST]), 3, "far away").ids.tolist() == [["e, a long name"]]
    assert index.query(np.array([SECOND]), 3, "sky").ids.tolist() == [["c", "a", "b"]]


def test_items_are_added_without_replacing_any(index):
    index.upsert(["e"], np.array([[2.5, 0.0]]))
    assert index.query(np.array([FIRST]), 5).ids.tolist() == [["d", "c", "e", "b", "a"]]


def test_items_are_removed(index):
    assert index.delete(["d", "nobody", "d", 'x"] or id != "']) == 1
    assert index.query(np.array([FIRST]), 9).ids.tolist() == [["c", "b", "a"]]
    assert index.query(np.array([FIRST]), 9, "sea").ids.tolist() == [["c", "b"]]
    assert index.delete([]) == 0
    assert index.delete(["a", "b", "c"]) == 3
    assert len(index) == 0
    assert index.query(np.array([FIRST, SECOND]), 9).ids.shape == (2, 0)
    index.upsert(["f"], np.array([FIRST]))
    assert index.query(np.array([FIRST]), 9).ids.tolist() == [["f"]]


def test_indexing_again_replaces_everything(index):
    index.index(np.eye(3))
    assert len(index) == 3
    assert index.query(np.array([[0.0, 2.0, 1.0]]), 2).ids.tolist() == [["1", "2"]]
    assert index.query(np.eye(3), 2, "sea").ids.shape == (3, 0)


def test_a_saved_index_answers_alike(index, tmp_path):
    index.effort = max(index.effort, 7) if index.efforts() else 0
    index.save(tmp_path / "kept")
    server = read_json(tmp_path / "kept" / "index.json").get("uri")
    again = load_index(tmp_path / "kept", milvus_uri=server)
    assert (again.kind, again.effort, len(again)) == (index.kind, index.effort, 4)
    for category in (None, "sea"):
        for found, expected in zip(
            again.query(np.array([FIRST, SECOND]), 3, category),
            index.query(np.array([FIRST, SECOND]), 3, category),
            strict=True,
        ):
            np.testing.assert_array_equal(found, expected)
    again.upsert(["e"], np.array([[9.0, 9.0]]))
    assert again.query(np.array([FIRST]), 2).ids.tolist() == [["e", "d"]]
    again.save(tmp_path / "kept")
    assert len(load_index(tmp_path / "kept", milvus_uri=server)) == 5


def test_awkward_ids_come_back_as_they_are(empty):
    ids = [
        'a "quote"',
        "back\\slash",
        "new\nline",
        "naïve 猫 \U0001f600",
        "'",
        "%",
        "0",
        " 0",
        "NULL",
    ]
    empty.index(np.eye(len(ids)), ids)
    assert empty.query(np.eye(len(ids)), 1).ids[:, 0].tolist() == ids
    empty.upsert([ids[1]], -np.eye(len(ids))[[1]])
    assert [empty.delete([name]) for name in ids] == [1] * len(ids)


def test_threads_search_while_others_add_and_delete(index):
    """Whatever the order, each answer is that of some state in between, and none is lost."""

    def change(thread):
        for turn in range(5):
            index.upsert([f"{thread}-{turn}"], np.array([[0.1 * thread, 0.0]]))
            if turn % 2:
                assert index.delete([f"{thread}-{turn}"]) == 1

    def ask(_):
        for _ in range(10):
            hits = index.query(np.array([FIRST]), 4)
            assert hits.ids.tolist() == [["d", "c", "b", "a"]]

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(change, k) for k in range(3)] + [pool.submit(ask, k) for k in range(3)]
        for job in jobs:
            job.result()
    assert len(index) == 4 + 3 * 3
    left = {f"{thread}-{turn}" for thread in range(3) for turn in (0, 2, 4)}
    assert set(index.query(np.array([FIRST]), 99).ids[0].tolist()) == {*ITEMS, *left}


@pytest.mark.parametrize("change", ["index", "upsert"])
def test_a_bad_gallery_changes_nothing(index, change):
    bad = {
        r"the gallery has shape \(0, 2\)": {"embeddings": np.empty((0, 2))},
        r"the gallery has shape \(2,\)": {"embeddings": np.ones(2)},
        "the gallery holds int64": {"embeddings": np.ones((2, 2), int)},
        "holds 1 values of 4 that are NaN": {"embeddings": np.array([[1, 2], [np.nan, 3]])},
        "holds 3 values of 4 that are .* too large": {"embeddings": np.diag([1e300, 1]) - 1e300},
        r"ids has shape \(1,\); give one for each of 2": {"ids": ["a"]},
        "'e' occurs 2 times": {"ids": ["e", "e"]},
        "the one of row 1 is empty": {"ids": ["e", ""]},
        "ids holds float64; give strings": {"ids": [0.5, 1.5]},
        "categories has shape": {"categories": ["a"]},
    }
    for message, arguments in bad.items():
        with pytest.raises(InputError, match=message):
            getattr(index, change)(
                **{"ids": ["e", "f"], "embeddings": 9 * np.ones((2, 2)), **arguments}
            )
    assert index.query(np.array([FIRST]), 9).ids.tolist() == [["d", "c", "b", "a"]]


def test_bad_queries_and_changes_are_named(index):
    with pytest.raises(InputError, match="the query has 3 dimensions and the index 2"):
        index.query(np.ones((1, 3)), 1)
    with pytest.raises(InputError, match=r"the query has shape \(0, 2\)"):
        index.query(np.empty((0, 2)), 1)
    with pytest.raises(InputError, match="k is 0; it must be at least 1"):
        index.query(np.ones((1, 2)), 0)
    with pytest.raises(InputError, match="the gallery has 3 dimensions and the index 2"):
        index.upsert(["e"], np.ones((1, 3)))
    assert index.query(np.array([FIRST]), 9).ids.tolist() == [["d", "c", "b", "a"]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_query_that_is_not_finite_is_rejected_by_its_row(index, value):
    with pytest.raises(
        InputError, match="the query holds 1 values of 6 that .*, the first in row 1"
    ):
        index.query(np.array([FIRST, [0.5, value], SECOND]), 2)


@pytest.mark.parametrize("category", [None, "sea"])
def test_a_query_of_zeros_finds_nothing(index, category):
    """Every item is equally similar to it, so that any order would be arbitrary."""
    hits = index.query(np.array([FIRST, [0.0, -0.0], SECOND]), 2, category)
    expected = index.query(np.array([FIRST, SECOND]), 2, category)
    np.testing.assert_array_equal(hits.ids[[0, 2]], expected.ids)
    np.testing.assert_array_equal(hits.scores[[0, 2]], expected.scores)
    assert hits.ids[1].tolist() == ["", ""] and np.isneginf(hits.scores[1]).all()
    alone = index.query(np.zeros((3, 2)), 2, category)
    assert len(alone.ids) == len(alone.scores) == 3
    assert (alone.ids == "").all() and np.isneginf(alone.scores).all()


@pytest.mark.parametrize("kind", ["exact", "flat", "ivf", "hnsw"])
@settings(max_examples=60, deadline=None)
@given(
    queries=arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.just(3)),
        elements=st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e-3, 1e4, np.nan, np.inf, -np.inf]),
    ),
    k=st.integers(1, 9),
)
def test_hits_exist_or_rows_are_empty_or_queries_are_rejected(kind, queries, k):
    index = _index_of_points(kind)
    if not np.isfinite(queries).all():
        row = np.flatnonzero(~np.isfinite(queries).all(axis=1))[0]
        with pytest.raises(InputError, match=f"the first in row {row};"):
            index.query(queries, k)
        return
    hits = index.query(queries, k)
    assert hits.ids.shape == hits.scores.shape == (len(queries), min(k, 8))
    for query, ids, scores in zip(queries, hits.ids.tolist(), hits.scores, strict=True):
        if not query.any():
            assert set(ids) == {""} and np.isneginf(scores).all()
        else:
            assert len(set(ids)) == len(ids) and "" not in ids
            expected = POINTS[[*map(int, ids)]].astype(np.float64) @ query.astype(np.float64)
            # Sums in float32 are as exact as their largest terms.
            atol = 1e-6 * (1 if kind == "exact" else max(1, np.abs(query).sum()))
            np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=atol)


# The corners of a cube.
POINTS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)


@functools.cache
def _index_of_points(kind):
    if kind != "exact":
        pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")
    index = make_index(kind)
    index.index(POINTS)
    return index


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_what_faiss_cannot_compare_is_no_hit(kind):
    pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")
    index = make_index(kind)
    index.index(np.array([[3e38, -3e38], [-3e38, 3e38], [1.0, 0.0]]), ["huge", "less", "one"])
    # The second item's score is −∞, which FAISS keeps for places that nothing has filled.
    hits = index.query(np.array([[3e38, 3e38]]), 3)
    assert hits.ids.tolist() == [["huge", "one", ""]] and np.isneginf(hits.scores[0, 2])
