"""Written items: durability, replacement, deletion, and the switch of versions."""

import threading
from urllib.parse import quote

import pytest

from tests.serve.conftest import image_file, publish


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
    answer = client.post("/reload")
    assert answer.status_code == 409 and "holds no saved_model.pb" in answer.json()["error"]
    assert client.get("/ready").json()["model_version"] == 1
    assert found(client, "red", k=1) == ["apple"]
    assert 'xgacmn_reloads_total{result="failure"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("key", ["", " a", "a\n", "..", "a/../b", "x" * 201], ids=repr)
def test_ids_that_no_address_can_name(run, serve, key):
    answer = serve(run).post("/items", json={"id": key, "text": "red"})
    assert answer.status_code == 400 and answer.json()["error"].startswith("id: ")
