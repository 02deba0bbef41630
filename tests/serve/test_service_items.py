"""Written items: durability, replacement, deletion, and the switch of versions."""

import contextlib
import io
import shutil
import sqlite3
import threading
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from tests.log_lines import logged_lines
from tests.serve.conftest import image_file, publish, write_version
from xgacmn_tf.errors import InputError
from xgacmn_tf.search.exact import ExactIndex
from xgacmn_tf.serve import service as module
from xgacmn_tf.serve.encoder import Encoder
from xgacmn_tf.serve.live_gallery import Entry, Shelf
from xgacmn_tf.serve.store import Item, Store


def put(client, key, text=None, image=None, **fields):
    files = {"image": image} if image else None
    data = {"id": key} | ({"text": text} if text else {}) | fields
    return client.post("/items", data=data, files=files)


def found(client, text, **fields) -> list[str]:
    answer = client.post("/search", json={"text": text} | fields)
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def address(key) -> str:
    return f"/items/{quote(key, safe='')}"


def test_the_life_of_an_item(run, serve):
    client = serve(run)
    answer = put(client, "new/ü 1", "blue", image_file((0, 0, 255)), title="Sea", category="sea")
    assert (answer.status_code, answer.json()) == (
        201, {"id": "new/ü 1", "created": True, "searchable": True}
    )  # fmt: skip
    item = client.get(address("new/ü 1")).json()
    assert item | {"thumbnail": None} == {
        "id": "new/ü 1", "title": "Sea", "text": "blue", "category": "sea", "written": True,
        "thumbnail": None,
    }  # fmt: skip
    thumbnail = client.get(item["thumbnail"])
    assert thumbnail.headers["content-type"] == "image/webp"
    assert found(client, "blue", k=1) == ["new/ü 1"] == found(client, "blue", category="sea")
    assert found(client, "blue", find="text", k=1) == ["new/ü 1"]
    # It is replaced as a whole.
    answer = put(client, "new/ü 1", "green")
    assert (answer.status_code, answer.json()["created"]) == (200, False)
    assert "new/ü 1" not in found(client, "blue")
    assert found(client, "green", find="text", k=2)[0] in ("new/ü 1", "leaf")
    assert client.get(address("new/ü 1") + "/thumbnail").status_code == 404
    assert client.delete(address("new/ü 1")).json() == {"id": "new/ü 1", "deleted": True}
    assert client.delete(address("new/ü 1")).status_code == 404
    assert client.get(address("new/ü 1")).status_code == 404
    assert "new/ü 1" not in found(client, "green", find="text")


def test_a_webp_file_is_taken_for_what_is_seen_of_it(run, serve):
    client = serve(run)
    # Blue, with a transparent half and turned by 90 degrees: blue above white.
    half = Image.new("RGBA", (8, 6), (0, 0, 255, 255))
    half.paste((255, 0, 0, 0), (4, 0, 8, 6))
    seen = Image.new("RGB", (6, 8), "white")
    seen.paste((0, 0, 255), (0, 0, 6, 4))
    turned = Image.Exif()
    turned[0x0112] = 6  # Orientation: the left side is shown at the top.
    webp, png = io.BytesIO(), io.BytesIO()
    half.save(webp, "WEBP", lossless=True, exif=turned)
    seen.save(png, "PNG")
    answers = [
        client.post("/search", files={"image": file.getvalue()}).json()["hits"]
        for file in (webp, png)
    ]
    assert answers[0] == answers[1]
    assert put(client, "half", "blue", webp.getvalue()).status_code == 201
    thumbnail = Image.open(io.BytesIO(client.get("/items/half/thumbnail").content))
    assert thumbnail.size == (6, 8)
    top, bottom = (np.array(thumbnail.getpixel((3, y))) for y in (1, 7))
    assert np.abs(top - [0, 0, 255]).max() < 40 and bottom.min() > 215
    # The header is whole, the rest is not.
    broken = put(client, "broken", image=webp.getvalue()[:-20])
    assert broken.status_code == 400 and "expected a whole JPEG, PNG or WebP" in broken.text


def test_items_of_the_base_gallery_are_deleted_and_replaced_for_good(run, serve):
    client = serve(run)
    assert client.get("/items/apple").json()["written"] is False
    assert client.get("/items/apple/thumbnail").headers["content-type"] == "image/png"
    assert client.delete("/items/apple").status_code == 200
    assert put(client, "leaf", image=image_file((250, 0, 0))).json()["created"] is False
    for again in (client, serve(run)):
        assert "apple" not in found(again, "red") and again.get("/items/apple").status_code == 404
        assert again.get("/items/leaf").json()["written"] is True
        assert "leaf" not in found(again, "green", find="text")
    answer = put(client, "apple", "red")
    assert answer.status_code == 201 and answer.json()["created"] is True


def test_items_of_the_base_gallery_are_restored(run, serve):
    client = serve(run)
    assert client.delete("/items/apple?restore=true").status_code == 404
    client.delete("/items/apple")
    put(client, "leaf", "blue")
    for key in ("apple", "leaf"):
        answer = client.delete(f"/items/{key}?restore=true")
        assert answer.status_code == 200 and answer.json() == {"id": key, "restored": True}
    assert "leaf" not in found(client, "blue", find="text")
    client.post("/reload")
    assert found(client, "red", k=1) == ["apple"] and found(client, "green", k=1) == ["leaf"]
    assert client.get("/items/leaf").json()["written"] is False


def test_an_item_in_which_the_model_sees_nothing_is_stored_for_the_next_version(
    run, versions, serve
):
    client = serve(run)
    assert put(client, "s", "sky").json() == {"id": "s", "created": True, "searchable": False}
    assert client.get("/items/s").json()["text"] == "sky"
    publish(versions, run, 2)
    assert client.post("/reload").json() == {"model_version": 2, "items": 6}
    assert "s" in found(client, "sky", find="text")
    metrics = client.get("/metrics").text
    assert "xgacmn_model_version 2.0" in metrics and "xgacmn_items 6.0" in metrics
    assert 'xgacmn_reloads_total{result="success"} 2.0' in metrics


def test_writes_and_searches_during_a_reload(run, versions, serve):
    client = serve(run)
    publish(versions, run, 2)
    stop, failures = threading.Event(), []

    def write(number: int) -> None:
        count = 0
        while not stop.is_set():
            key = f"{number}-{count}"
            answers = [put(client, key, "blue"), client.post("/search", json={"text": "blue"})]
            if count % 2:
                answers.append(client.delete(f"/items/{key}"))
            failures.extend(answer.text for answer in answers if answer.status_code > 201)
            count += 1
        written.append(count)

    written: list[int] = []
    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    assert client.post("/reload").json()["model_version"] == 2
    stop.set()
    for thread in threads:
        thread.join()
    expected = {f"{n}-{c}" for n in range(3) for c in range(0, max(written), 2)}
    expected = {key for key in expected if client.get(f"/items/{key}").status_code == 200}
    assert not failures
    assert set(found(client, "blue", find="text", k=1000)) - {
        "sky", "apple", "leaf", "a/ä ?&#", "fire"
    } == expected  # fmt: skip


def test_an_index_that_fails_loses_no_item(run, serve, monkeypatch):
    client = serve(run)
    index = client.service.live.shelves["text"].index

    def fail(*arguments):
        raise RuntimeError("the index is away")

    monkeypatch.setattr(index, "upsert", fail)
    assert put(client, "kept", "red").json()["searchable"] is False
    assert "xgacmn_index_errors_total 1.0" in client.get("/metrics").text
    client.post("/reload")
    assert "kept" in found(client, "red", find="text")


def test_a_version_that_cannot_be_served_changes_nothing(run, serve):
    client = serve(run)
    (run / "models" / "xgacmn" / "7").mkdir()
    with logged_lines() as lines:
        answer = client.post("/reload")
    # Clients are not told paths of the server; the log has them.
    assert answer.status_code == 409 and str(run) not in answer.text
    assert answer.json()["error"] == "the version cannot be used; the log has the reason"
    assert any(f"{run}" in line and "holds no saved_model.pb" in line for line in lines)
    assert client.get("/ready").json()["model_version"] == 1
    assert found(client, "red", k=1) == ["apple"]
    assert 'xgacmn_reloads_total{result="failure"} 1.0' in client.get("/metrics").text


def test_a_failed_reload_leaves_the_index_names_of_the_next_one(run, serve, monkeypatch):
    generations = []

    def index_maker(options, generation):
        generations.append(generation)
        return original(options, generation)

    original = module.index_maker
    monkeypatch.setattr(module, "index_maker", index_maker)
    client = serve(run)
    with monkeypatch.context() as patch:
        patch.setattr(module.Service, "_replay", lambda *_: 1 / 0)
        assert client.post("/reload").status_code == 500
    client.post("/reload")
    assert generations == [1, 2, 2]


def test_an_item_that_the_index_rejects_does_not_stop_a_reload(run, serve, monkeypatch):
    client = serve(run)
    put(client, "bad", "red")
    put(client, "good", "red")
    original = ExactIndex.upsert

    def upsert(self, ids, *arguments):
        if "bad" in ids:
            raise InputError("id: too long")
        original(self, ids, *arguments)

    monkeypatch.setattr(ExactIndex, "upsert", upsert)
    assert client.post("/reload").status_code == 200
    assert "good" in found(client, "red", find="text")
    assert "bad" not in found(client, "red", find="text")
    assert "xgacmn_index_errors_total 1.0" in client.get("/metrics").text


def test_a_search_without_the_index_is_answered_by_503(run, serve, monkeypatch):
    client = serve(run)

    def fail(*arguments):
        raise InputError("Milvus at http://milvus.internal does not answer")

    monkeypatch.setattr(ExactIndex, "query", fail)
    with logged_lines() as lines:
        answer = client.post("/search", json={"text": "red"})
    assert answer.status_code == 503
    assert answer.json()["error"] == "the index cannot be searched; the log has the reason"
    assert "RequestError: Milvus at http://milvus.internal does not answer" in lines


def test_a_database_that_fails_is_answered_by_503(run, serve, monkeypatch):
    client = serve(run)

    def fail(*arguments):
        raise sqlite3.OperationalError("disk I/O error at /srv/items.db")

    monkeypatch.setattr(client.service.store, "get", fail)
    with logged_lines() as lines:
        answer = client.get("/items/apple")
    assert answer.status_code == 503 and "/srv" not in answer.text
    assert "OperationalError: disk I/O error at /srv/items.db" in lines


def test_revisions_are_never_used_again(tmp_path):
    for revision in (1, 2, 3):
        store = Store(tmp_path)
        assert store.put(Item("a"), {}, None, None, "", {}).revision == revision
        store.forget("a")
        store.close()


@pytest.mark.parametrize(
    "field, value",
    [
        ("id", "語" * 171),
        ("category", "語" * 171),
        ("category", ", ".join(map(chr, range(0x4E00, 0x4E40)))),
    ],
)
def test_long_names_that_milvus_rejects(run, serve, field, value):
    body = {"id": "a", "text": "red"} | {field: value}
    answer = serve(run).post("/items", json=body)
    assert answer.status_code == 400 and answer.json()["error"].startswith(f"{field}: ")


@pytest.mark.parametrize("key", ["", " a", "a\n", "..", "a/../b", "x" * 201], ids=repr)
def test_ids_that_no_address_can_name(run, serve, key):
    answer = serve(run).post("/items", json={"id": key, "text": "red"})
    assert answer.status_code == 400 and answer.json()["error"].startswith("id: ")


def test_the_thumbnail_of_an_id_that_ends_like_an_address(run, serve):
    client = serve(run)
    put(client, "a", image=image_file())
    put(client, "a/thumbnail", "red", image_file((0, 0, 255)))
    item = client.get(address("a/thumbnail")).json()
    assert (item["id"], item["text"]) == ("a/thumbnail", "red")
    blue = client.get(item["thumbnail"])
    red = client.get(client.get("/items/a").json()["thumbnail"])
    assert blue.headers["content-type"] == red.headers["content-type"] == "image/webp"
    assert blue.content != red.content
    assert client.delete(address("a/thumbnail")).status_code == 200
    assert client.get(address("a/thumbnail")).status_code == 404


def test_items_of_features_in_a_run_without_extractors(tmp_path, serve):
    for number in (1, 2):
        write_version(tmp_path / "run" / "models" / "xgacmn" / str(number), raw=False)
    shutil.move(tmp_path / "run" / "models" / "xgacmn" / "2", tmp_path / "2")
    client = serve(tmp_path / "run")
    body = {"id": "a", "image_features": [255, 0, 0], "text_features": [1, 0, 0], "title": "Red"}
    assert client.post("/items", json=body).json()["searchable"]
    answer = client.post("/items", json={"id": "b", "text": "red"})
    assert answer.status_code == 400 and "Send text_features" in answer.json()["error"]
    answer = client.post("/items", json={"id": "b", "image_features": [1, 2]})
    assert answer.status_code == 400 and "2 numbers; expected 3" in answer.json()["error"]
    shutil.move(tmp_path / "2", tmp_path / "run" / "models" / "xgacmn" / "2")
    assert client.post("/reload").json() == {"model_version": 2, "items": 6}
    for query in ({"text_features": [1, 0, 0]}, {"image_features": [9, 0, 0]}):
        hits = client.post("/search", json=query | {"k": 1}).json()["hits"]
        assert [(hit["id"], hit["title"]) for hit in hits] == [("a", "Red")]


def test_a_new_version_encodes_items_in_batches(run, versions, serve, monkeypatch):
    client = serve(run)
    for number in range(20):
        put(client, f"n{number}", "blue", image_file((0, 0, 255)) if number % 2 else None)
    # An image that the next version cannot decode: the others are still searchable.
    with client.service.store._writer as writer:
        writer.execute("UPDATE items SET image = 'no image' WHERE id = 'n1'")
    publish(versions, run, 2)
    rows = []

    def encode(self, modality, form, values):
        rows.append(len(values))
        return original(self, modality, form, values)

    original = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", encode)
    client.post("/reload")
    assert max(rows) >= 10
    texts = set(found(client, "blue", find="text", k=100))
    assert texts >= {f"n{number}" for number in range(20) if number != 1} and "n1" not in texts
    rows.clear()
    client.post("/reload")
    assert 10 not in rows, "stored embeddings are used again"


def test_a_gallery_of_images_only_is_searched_at_the_largest_effort(run, serve, tmp_path):
    pytest.importorskip("faiss")
    image = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.float32)
    np.savez(tmp_path / "images.npz", id=np.array(["a", "b", "c"]), image=image)
    client = serve(run, gallery=(str(tmp_path / "images.npz"),), index="hnsw")
    index = client.service.live.shelves["image"].index
    assert index.effort == max(index.efforts())
    assert found(client, "red", k=1) == ["a"]


def test_the_first_items_of_a_modality_replace_those_of_an_earlier_process():
    index = ExactIndex()
    index.index(np.eye(2), ["stale", "other"])
    Shelf(index).put([Entry("new", "", "", np.ones(3, np.float32))])
    assert len(index) == 1


def test_deleting_one_of_several_base_items_without_an_image(run, serve, tmp_path):
    gallery = tmp_path / "texts.npz"
    image = np.array([[200, 0, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    text = np.eye(3, dtype=np.float32)
    has_image = np.array([True, False, False])
    np.savez(gallery, id=np.array(["a", "b", "c"]), image=image, text=text, has_image=has_image)
    client = serve(run, gallery=(str(gallery),))
    assert client.delete("/items/b").status_code == 200
    assert set(found(client, "green blue", find="text")) == {"a", "c"}
    assert "xgacmn_index_errors_total 0.0" in client.get("/metrics").text


def test_a_database_with_a_trigger_is_rejected(tmp_path):
    Store(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "items.db")) as database:
        database.execute("CREATE TRIGGER lose AFTER INSERT ON items BEGIN DELETE FROM items; END")
    with pytest.raises(InputError, match="has a trigger or view, 'lose'"):
        Store(tmp_path)
