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
        index = make_index(kind, seed=seed, threads=many)
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


def test_lists_are_made_anew_once_a_gallery_has_doubled():
    index = make_index("ivf")
    index.index(topics(400))
    index.upsert([f"new {row}" for row in range(400)], topics(400, seed=1))
    assert index.efforts()[-1] == 10
    index.upsert(["one more"], topics(1, seed=2))
    assert (len(index), index.efforts()[-1]) == (801, 20)


@pytest.fixture
def kept(tmp_path):
    """Saves 300 items, some of their arrays changed."""

    def keep(kind, change):
        index = make_index(kind)
        index.index(topics(300))
        index.save(tmp_path)
        with np.load(tmp_path / "index.npz") as found:
            arrays = dict(found)
        change(arrays)
        np.savez(tmp_path / "index.npz", **arrays)
        return tmp_path

    return keep


def set_to(name, value, at=...):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][at] = value

    return change


def cut(name):
    def change(arrays):
        arrays[name] = arrays[name][:-1]

    return change


def name_a_node_on_a_level_where_it_is_not(arrays):
    # Behind the 64 neighbours on level 0 of a node that stands higher come those on level 1.
    high, low = np.argmax(arrays["levels"] > 1), np.argmax(arrays["levels"] == 1)
    room = np.array([0, 64, 96, 128])[arrays["levels"]]
    arrays["neighbours"][room[:high].sum() + 64] = low


@pytest.mark.parametrize(
    ("kind", "message", "change"),
    [
        ("ivf", "centroid has shape", lambda a: a.update(centroid=a["centroid"][:0])),
        ("ivf", r"centroid has shape \(7, 15\)", lambda a: a.update(centroid=a["centroid"][:, 1:])),
        ("ivf", "or NaN", set_to("centroid", np.nan, at=0)),
        ("ivf", "trained_on is 0", set_to("trained_on", 0)),
        ("flat", "seed is -1", set_to("seed", -1)),
        ("hnsw", r"levels has shape \(299,\)", cut("levels")),
        ("hnsw", "levels are out of range", set_to("levels", 0, at=5)),
        ("hnsw", "levels are out of range", set_to("levels", 10**6, at=5)),
        ("hnsw", "neighbours has shape", cut("neighbours")),
        ("hnsw", "a neighbour on level 0 does not exist", set_to("neighbours", 300, at=0)),
        ("hnsw", "a neighbour on level 0 does not exist", set_to("neighbours", -2, at=0)),
        ("hnsw", "a neighbour on level 1", name_a_node_on_a_level_where_it_is_not),
        ("hnsw", "entry is 300", set_to("entry", 300)),
        ("hnsw", "not on all levels", lambda a: a.update(entry=np.argmax(a["levels"] == 1))),
    ],
)
def test_a_file_that_would_mislead_faiss_is_refused(kept, kind, message, change):
    with pytest.raises(InputError, match=message):
        load_index(kept(kind, change))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_loaded_index_answers_alike_and_grows(kind, tmp_path):
    index, exact, queries = make_index(kind, seed=7), make_index("exact"), topics(50, seed=1)
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
