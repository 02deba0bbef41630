"""Which engine is taken, and what a saved index must be."""

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import read_json, write_json
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


def test_a_missing_or_broken_file_is_named(tmp_path, kept):
    with pytest.raises(InputError, match="holds no index: there is no .*nowhere.index.json"):
        load_index(tmp_path / "nowhere")
    (kept / "vectors.npy").unlink()
    with pytest.raises(InputError, match="vectors.npy is damaged"):
        load_index(kept)
    (kept / "index.json").write_text("[" * 9)
    with pytest.raises(InputError, match="index.json is damaged"):
        load_index(kept)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("by another version", {"kind": "scann"}),
        ("by another version", {"format": 0}),
        ("index.json is damaged", {"kind": None}),
        ("vectors.npy is damaged", {"effort": -1}),
        ("vectors.npy is damaged", {"effort": "many"}),
        ("vectors.npy is damaged", {"ids": ["a", "b"], "categories": ["", ""]}),
        ("vectors.npy is damaged", {"ids": ["a", "a", "b"]}),
        ("vectors.npy is damaged", {"ids": ["a", 1, "b"]}),
        ("vectors.npy is damaged", {"ids": 3}),
        ("vectors.npy is damaged", {"categories": None}),
        ("vectors.npy is damaged", {"sha256": "0" * 64}),
    ],
)
def test_a_record_that_does_not_fit_is_rejected(kept, message, change):
    record = read_json(kept / "index.json") | change
    record = {name: value for name, value in record.items() if value is not None}
    write_json(kept / "index.json", record)
    with pytest.raises(InputError, match=message):
        load_index(kept)


def test_a_failed_save_is_noticed(kept, monkeypatch):
    index = make_index("exact")
    with pytest.raises(InputError, match="is empty and cannot be saved"):
        index.save(kept)
    index.index(np.eye(2))
    with monkeypatch.context() as broken:
        broken.setattr(np, "save", lambda path, *_, **__: path.write_bytes(b"half") and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index.save(kept)
    assert len(load_index(kept)) == 3


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    index = make_index("exact")
    index.index(np.eye(2))
    with pytest.raises(InputError, match="file/sub cannot be written .*; name a folder"):
        index.save(tmp_path / "file" / "sub")
