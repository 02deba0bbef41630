"""Milvus: without a server, and what is particular to one that answers."""

import uuid

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import read_json
from xgacmn_tf.search import load_index, make_index, milvus_index

pytest.importorskip("pymilvus", reason="Milvus is optional: pip install xgacmn_tf[milvus]")
# The discard service's port: nobody listens there.
NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("gallery.sqlite: expected http://HOST:PORT", {"milvus_uri": "gallery.sqlite"}),
        ("holds a password", {"milvus_uri": "http://root:secret@localhost:19530"}),
        ("--milvus_collection=a-b: expected a letter", {"milvus_collection": "a-b"}),
    ],
)
def test_bad_settings_are_named(message, settings):
    with pytest.raises(InputError, match=message) as raised:
        make_index("milvus", **{"milvus_uri": NOBODY, **settings})
    assert "secret" not in str(raised.value)


def test_a_server_that_is_away_is_named(capfd):
    index = make_index("milvus", milvus_uri=NOBODY)
    for call in (
        lambda: index.query(np.ones((1, 2)), 1),
        lambda: index.index(np.ones((1, 2))),
        lambda: index.upsert(["a"], np.ones((1, 2))),
        lambda: index.delete(["a"]),
        lambda: len(index),
    ):
        with pytest.raises(InputError, match="Milvus at http://127.0.0.1:9: does not answer") as e:
            call()
        assert "\n" not in str(e.value) and "is the server up" in str(e.value)
    assert "Traceback" not in capfd.readouterr().err


def test_where_a_gallery_is_can_be_saved_without_the_token(tmp_path):
    index = make_index(
        "milvus", milvus_uri=NOBODY, milvus_collection="paintings", milvus_token="root:secret"
    )
    index.effort = 64
    index.save(tmp_path)
    assert "secret" not in (tmp_path / "index.json").read_text()
    again = load_index(tmp_path, milvus_uri=NOBODY, milvus_token="root:other")
    assert (again.kind, again.effort) == ("milvus", 64)
    again.save(tmp_path / "again")
    record = read_json(tmp_path / "again" / "index.json")
    assert (record["uri"], record["collection"]) == (NOBODY, "paintings")


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:8"])
def test_a_saved_index_names_no_other_server_than_the_caller(tmp_path, uri):
    """Else a folder from elsewhere could have the token sent to an address of its own."""
    make_index("milvus", milvus_uri=NOBODY).save(tmp_path)
    with pytest.raises(InputError, match=f"names the Milvus server {NOBODY}, and milvus_uri is"):
        load_index(tmp_path, milvus_uri=uri, milvus_token="root:secret")


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("takes 600 bytes as UTF-8; Milvus takes 512", {"ids": ["ä" * 300]}),
        ("is no valid Unicode", {"ids": ["\ud800"]}),
        (
            "an item has 70 categories; Milvus takes 63",
            {"categories": [", ".join(map(str, range(70)))]},
        ),
        ("category .* takes 513 bytes", {"categories": ["c" * 513]}),
    ],
)
def test_what_milvus_cannot_hold_is_refused_before_it_is_asked(message, arguments):
    with pytest.raises(InputError, match=message):
        make_index("milvus", milvus_uri=NOBODY).index(np.ones((1, 2)), **arguments)


@pytest.fixture
def connect(milvus_uri):
    """Makes indexes of one gallery, as separate processes would."""
    name = f"test_{uuid.uuid4().hex}"
    return lambda: make_index("milvus", milvus_uri=milvus_uri, milvus_collection=name)


def test_a_query_sees_what_was_just_written(connect):
    index = connect()
    index.index(np.eye(4, dtype=np.float32), list("abcd"))
    for turn in range(10):
        index.upsert([f"new {turn}"], 9 * np.eye(4)[[1]])
        assert index.query(np.eye(4)[[1]], 1).ids.tolist() == [[f"new {turn}"]]
        assert index.delete([f"new {turn}"]) == 1
        assert index.query(np.eye(4)[[1]], 1).ids.tolist() == [["b"]]


def test_a_gallery_outlives_its_client_and_is_replaced_for_all(connect):
    first, second = connect(), connect()
    assert len(first) == 0
    with pytest.raises(InputError, match="has no gallery 'test_.*'; index one first"):
        first.query(np.eye(3), 1)
    first.index(np.eye(3), list("abc"))
    assert second.query(np.eye(3), 1).ids.tolist() == [["a"], ["b"], ["c"]]
    first.index(np.eye(3), list("def"))
    assert second.query(np.eye(3), 1).ids.tolist() == [["d"], ["e"], ["f"]]
    ours = [n for n in first._client.list_collections() if n.startswith(first._name)]
    assert len(ours) == 1


def test_an_interrupted_indexing_leaves_the_old_gallery(connect, monkeypatch):
    index = connect()
    index.index(np.eye(3), list("abc"))

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(index._client, "create_index", interrupt)
    with pytest.raises(KeyboardInterrupt):
        index.index(np.eye(2))
    assert index.query(np.eye(3), 1).ids.tolist() == [["a"], ["b"], ["c"]]
    ours = [n for n in index._client.list_collections() if n.startswith(index._name)]
    assert len(ours) == 1


def test_what_belongs_to_others_stays_untouched(connect):
    index = connect()
    with index._reading():
        client = index._client
        client.create_collection(index._name, dimension=3)
        for call in (lambda: index.index(np.eye(3)), lambda: index.delete(["0"])):
            with pytest.raises(InputError, match="not an index of ours and stays untouched"):
                call()
        assert client.has_collection(index._name)
        client.drop_collection(index._name)


def test_parts_and_large_results_join(connect, monkeypatch):
    monkeypatch.setattr(milvus_index, "BYTES_AT_ONCE", 7 * (4 * 5 + 4 * 512))
    monkeypatch.setattr(milvus_index, "QUERIES_AT_ONCE", 3)
    monkeypatch.setattr(milvus_index, "IDS_AT_ONCE", 4)
    gallery = np.random.default_rng(0).normal(size=(30, 5))
    index, exact = connect(), make_index("exact")
    for each in (index, exact):
        each.index(gallery)
    assert index.query(gallery[:10], 30).ids.tolist() == exact.query(gallery[:10], 30).ids.tolist()
    assert index.delete(np.arange(9)) == 9
    assert len(index) == 21
    with pytest.raises(InputError, match="k is 20000; Milvus gives at most 16384"):
        index.query(gallery, 20000)
