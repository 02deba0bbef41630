"""Which engine is taken, and what a saved index must be."""

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.search import load_index, make_index


@pytest.fixture
def kept(tmp_path):
    index = make_index("exact")
    index.index(np.eye(3))
    index.save(tmp_path)
    return tmp_path


def test_the_size_chooses():
    assert make_index("auto", 100_000).kind == "exact"
    pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")
    assert make_index("auto", 100_001).kind == "ivf"
    assert make_index("faiss", 10_000).kind == "flat"
    assert make_index("faiss", 10_001).kind == "ivf"


def test_without_faiss_search_is_exact(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert make_index("auto", 10**9).kind == "exact"
    with pytest.raises(InputError, match=r'pip install "xgacmn_tf\[faiss\]"'):
        make_index("ivf")


def test_bad_choices_are_named():
    with pytest.raises(InputError, match="--index=annoy: expected one of auto, exact, faiss"):
        make_index("annoy")
    with pytest.raises(InputError, match="needs --milvus_uri, such as http://localhost:19530"):
        make_index("milvus")
    pytest.importorskip("faiss", reason="FAISS is optional: pip install xgacmn_tf[faiss]")
    with pytest.raises(InputError, match="threads is 0"):
        make_index("flat", threads=0)


def test_a_missing_or_broken_file_is_named(tmp_path, kept):
    with pytest.raises(InputError, match="holds no index: there is no .*nowhere.index.npz"):
        load_index(tmp_path / "nowhere")
    file = kept / "index.npz"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(InputError, match="index.npz: damaged"):
        load_index(kept)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("kind is 'scann', none of exact", {"kind": "scann"}),
        ("kind is missing", {"kind": None}),
        ("effort is -1", {"effort": -1}),
        (r"id has shape \(2,\)", {"id": ["a", "b"]}),
        ("'a' occurs 2 times", {"id": ["a", "a", "b"]}),
        ("embedding holds 1 values of 9 that are NaN", {"embedding": np.diag([1, np.nan, 1])}),
        (r"embedding has shape \(3, 1, 1\)", {"embedding": np.ones((3, 1, 1))}),
        ("category is missing", {"category": None}),
        ("holds Python objects, which are never unpickled", {"id": np.array([{}, 1, 2])}),
    ],
)
def test_a_file_that_does_not_fit_is_refused(kept, message, change):
    with np.load(kept / "index.npz") as found:
        arrays = {**found, **change}
    np.savez(kept / "index.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(InputError, match=message):
        load_index(kept)


def test_a_failed_save_leaves_the_old_index(kept, monkeypatch):
    index = make_index("exact")
    with pytest.raises(InputError, match="nothing to save"):
        index.save(kept)
    index.index(np.eye(2))
    with monkeypatch.context() as broken:
        broken.setattr(np, "savez", lambda path, **_: path.write_bytes(b"half") and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index.save(kept)
    assert len(load_index(kept)) == 3
    assert [path.name for path in kept.iterdir()] == ["index.npz"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    index = make_index("exact")
    index.index(np.eye(2))
    with pytest.raises(InputError, match="file/sub cannot be written .*; name a folder"):
        index.save(tmp_path / "file" / "sub")
