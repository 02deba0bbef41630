"""FAISS: what is particular to lists and graphs, and that a file cannot lead them astray."""

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.search import load_index, make_index

faiss = pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")


def topics(rows: int, seed: int = 0) -> np.ndarray:
    """(rows, 16) items of 50 topics, of very different lengths."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(50, 16))
    items = centres[generator.integers(50, size=rows)] + 0.5 * generator.normal(size=(rows, 16))
    return (items * np.exp(generator.normal(size=(rows, 1)))).astype(np.float32)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_looking_at_all_is_exact(kind):
    gallery, queries = topics(2000), topics(30, seed=1)
    exact, index = make_index("exact"), make_index(kind)
    for each in (exact, index):
        each.index(gallery, categories=np.arange(2000) % 3)
    if index.efforts():
        index.effort = index.efforts()[-1]
    for category in (None, "2"):
        hits, truth = index.query(queries, 20, category), exact.query(queries, 20, category)
        np.testing.assert_array_equal(hits.ids, truth.ids)
        np.testing.assert_allclose(hits.scores, truth.scores, rtol=1e-6)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_results_depend_on_the_seed_alone(kind):
    gallery, queries = topics(3000), topics(100, seed=1)
    threads = faiss.omp_get_max_threads()
    found = []
    for seed, many in ((5, 1), (5, 2), (6, 1)):
        faiss.omp_set_num_threads(many)
        index = make_index(kind, seed=seed)
        index.index(gallery)
        index.effort = 1
        found.append(index.query(queries, 3).ids)
    faiss.omp_set_num_threads(threads)
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_lists_that_hold_too_few_are_made_up_for():
    gallery = topics(2000)
    index, exact = make_index("ivf"), make_index("exact")
    for each in (index, exact):
        each.index(gallery)
    index.effort = 1
    # 51 lists of some 40 items each: no list has 1000, so that all are looked at.
    hits = index.query(topics(5, seed=1), 1000)
    assert np.isfinite(hits.scores).all()
    np.testing.assert_array_equal(hits.ids, exact.query(topics(5, seed=1), 1000).ids)


@pytest.mark.parametrize(("rows", "lists"), [(1, 1), (77, 1), (78, 2), (20_000, 283)])
def test_lists_grow_with_the_gallery(rows, lists):
    index = make_index("ivf")
    assert index.efforts() == ()
    index.index(topics(rows))
    assert index.efforts()[-1] == lists
    assert all(a < b for a, b in zip(index.efforts(), index.efforts()[1:], strict=False))


def test_lists_are_made_anew_once_a_gallery_has_outgrown_them():
    index = make_index("ivf")
    index.index(topics(400))
    index.upsert([f"new {row}" for row in range(200)], topics(200, seed=1))
    assert index.efforts()[-1] == 10
    index.upsert([f"more {row}" for row in range(30)], topics(30, seed=2))
    assert (len(index), index.efforts()[-1]) == (630, 16)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_deleted_items_are_tombstones_until_a_third_is_dead(kind, monkeypatch):
    index, exact = make_index(kind), make_index("exact")
    for each in (index, exact):
        each.index(topics(600), categories=np.arange(600) % 3)
    builds = []
    monkeypatch.setattr(index, "_build", lambda v, build=index._build: builds.append(1) or build(v))
    index.effort = index.efforts()[-1] if index.efforts() else 0

    def same():
        for category in (None, "1"):
            hits, truth = (each.query(topics(40, 1), 9, category) for each in (index, exact))
            np.testing.assert_array_equal(hits.ids, truth.ids)

    for each in (index, exact):
        assert each.delete([str(row) for row in range(150)]) == 150
        each.upsert([str(row) for row in range(100, 200)], topics(100, seed=5), ["1"] * 100)
    assert len(index) == 500 and not builds  # 200 of 700 rows are dead
    same()
    for each in (index, exact):
        each.delete([str(row) for row in range(200, 300)])
    assert builds == [1] and len(index) == 400
    same()


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_tombstones_are_saved(kind, tmp_path):
    index = make_index(kind)
    index.index(topics(300))
    index.delete(["7", "8"])
    index.save(tmp_path)
    again = load_index(tmp_path)
    assert len(again) == 298
    hits = again.query(topics(300)[[7]], 298)
    assert not {"7", "8"} & set(hits.ids[0].tolist())


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_a_changed_file_never_reaches_faiss(kind, tmp_path, monkeypatch):
    index = make_index(kind)
    index.index(topics(300))
    index.save(tmp_path)
    monkeypatch.setattr(faiss, "read_index", None)
    file = tmp_path / "index.faiss"
    whole = file.read_bytes()
    for content in (whole[:-1], whole + b"0", whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        file.write_bytes(content)
        with pytest.raises(InputError, match="index.faiss is damaged .*; index the gallery again"):
            load_index(tmp_path)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_loaded_index_answers_alike_and_grows(kind, tmp_path):
    index, exact, queries = make_index(kind), make_index("exact"), topics(50, seed=1)
    for each in (index, exact):
        each.index(topics(1000))
    index.effort = 4
    index.save(tmp_path)
    again = load_index(tmp_path)
    for found, expected in zip(again.query(queries, 9), index.query(queries, 9), strict=True):
        np.testing.assert_array_equal(found, expected)
    index.index(topics(500, seed=3))
    again.index(topics(500, seed=3))
    np.testing.assert_array_equal(again.query(queries, 9).ids, index.query(queries, 9).ids)
    again = load_index(tmp_path)
    for each in (again, exact):
        each.upsert([f"new {row}" for row in range(100)], topics(100, seed=2))
    again.effort = again.efforts()[-1]
    hits = again.query(queries, 9)
    np.testing.assert_array_equal(hits.ids, exact.query(queries, 9).ids)
    assert np.char.startswith(hits.ids, "new").any()
