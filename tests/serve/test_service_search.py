"""Searches of the service."""

import base64
import zlib

import numpy as np
import pytest
import tensorflow as tf

from tests.serve.conftest import ITEMS, image_file
from xgacmn_tf.export.savedmodel import export_run

COLORS = {key: np.array(color, float) for key, (_, _, color, _) in ITEMS.items()}

APPLE = zlib.crc32(image_file(ITEMS["apple"][2], ITEMS["apple"][3]))


def embedding(color) -> np.ndarray:
    return np.concatenate([color / color.sum(), color / np.linalg.norm(color)])


def found(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_a_text_finds_images_by_image_caption_and_shared_words(run, serve):
    answer = serve(run).post("/search", json={"text": "Red whale", "k": 5}).json()
    red = np.array([1.0, 0, 0])
    expected = {}
    for key, color in COLORS.items():
        caption = np.array([word in ITEMS[key][0].split() for word in ("red", "green", "blue")])
        item = embedding(color)
        if caption.any():
            item = (item + embedding(caption.astype(float))) / 2
        expected[key] = embedding(red) @ item + 4 * (caption @ red)
    hits = answer["hits"]
    assert [hit["id"] for hit in hits] == sorted(expected, key=expected.get, reverse=True)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(
        [hit["score"] for hit in hits], sorted(expected.values(), reverse=True), atol=1e-5
    )
    assert hits[0] | {"score": 0, "category_posterior": 0} == {
        "rank": 1, "id": "apple", "title": "red apple", "category": "food", "category_known": True,
        "thumbnail": f"/items/apple/thumbnail?v={APPLE:08x}", "score": 0, "category_posterior": 0,
    }  # fmt: skip
    query = answer["query"]
    assert (query["category"], query["category_posterior"]) == ("food", 1.0)
    assert (query["known_words"], query["unknown_words"]) == (1, ["whale"])
    assert answer["no_good_match"] is False and answer["model_version"] == 1


def test_posterior_similarity_ranks_by_category_alone(run, serve):
    client = serve(run)
    answer = client.post("/search", json={"text": "red", "k": 5, "similarity": "posterior"}).json()
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True) and max(scores) <= 1
    assert answer["hits"][0]["id"] in ("apple", "fire") and answer["no_good_match"] is None
    same = [{"text": "red"}, {"text": "red", "similarity": "item"}]
    default, item = (client.post("/search", json=body).json()["hits"] for body in same)
    assert default == item
    rejected = client.post("/search", json={"text": "red", "similarity": "dot"})
    assert rejected.status_code == 400
    assert rejected.json()["error"] == "similarity: 'dot'; expected item or posterior"


@pytest.mark.parametrize("form", ["file", "base64", "data", "features"])
def test_an_image_finds_texts_or_images(run, serve, form):
    client = serve(run)
    data = image_file((20, 160, 40))

    def search(**fields):
        if form == "file":
            return client.post("/search", files={"image": data}, data=fields)
        body = {"image": base64.b64encode(data).decode()}
        if form == "data":
            body = {"image": f"data:image/png;base64,{body['image']}"}
        if form == "features":
            body = {"image_features": [20, 160, 40]}
        return client.post("/search", json=body | fields)

    assert found(search(k=1)) == ["leaf"]
    answer = search(k=2, find="image")
    assert found(answer)[0] == "leaf"
    # No thresholds were chosen for queries of the same modality.
    assert answer.json()["no_good_match"] is None


def test_categories_and_queries_that_are_not_understood(run, serve):
    client = serve(run)
    assert set(found(client.post("/search", json={"text": "red", "category": "nature"}))) == {
        "sky",
        "leaf",
    }
    answer = client.post("/search", json={"text": "whale"}).json()
    assert answer["hits"] == [] and not answer["query"]["understood"]
    assert not client.post("/search", json={"text_features": [0, 0, 0]}).json()["hits"]
    assert client.post("/search", json={"text": "red green blue"}).json()["no_good_match"] is False
    nothing = client.post("/search", json={"text": "red", "category": "sea"}).json()
    assert nothing["hits"] == [] and nothing["no_good_match"] is True


BAD = {
    "nothing": ({}, "exactly one of text, image"),
    "two queries": ({"text": "red", "text_features": [1, 0, 0]}, "exactly one of"),
    "an address": ({"image": "https://example.org/a.png"}, "addresses are not fetched"),
    "data that is not base64": ({"image": "data:image/png,QUJD"}, "not base64"),
    "no base64": ({"image": "?"}, "not base64"),
    "no image": ({"image": "QUJD"}, "expected a whole JPEG, PNG or WebP file"),
    "no hits": ({"text": "red", "k": 0}, "k: expected 1 or more"),
    "a Boolean": ({"text": "red", "k": True}, "k: expected a whole number"),
    "a number as a string": ({"text": "red", "k": "3"}, "k: expected a whole number"),
    "another modality": ({"text": "red", "find": "x"}, "find: expected 'image' or 'text'"),
    "many problems": (
        {"image_features": ["x"] * 9},
        "9 problems, the first 3 are: image_features.0",
    ),
    "many hits": ({"text": "red", "k": 1001}, "expected at most 1000"),
    "width": ({"image_features": [1.0]}, "1 numbers; expected 3"),
    "unknown field": ({"text": "red", "url": "x"}, "url: unknown field"),
    "no category": (
        {"text": "red", "category": "x"},
        "no item has 'x'; expected one of <b>heat</b>",
    ),
    "a list": ([1], "expected a JSON object"),
}


@pytest.mark.parametrize("body, message", BAD.values(), ids=BAD)
def test_bad_requests_are_one_line(run, serve, body, message):
    answer = serve(run).post("/search", json=body)
    assert answer.status_code == 400 and message in answer.json()["error"], answer.text
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"text": "\\ud800"}', b"\xff", b'{"k": NaN}', b"", b"9" * 5000]
)
def test_malformed_json(run, serve, body):
    answer = serve(run).post("/search", content=body)
    assert answer.status_code == 400 and answer.json()["error"]


def test_large_images_are_rejected_by_their_header(run, serve):
    large = image_file(size=(60, 60))
    answer = serve(run, max_pixels=3000).post("/search", files={"image": large})
    assert answer.status_code == 413 and "60 × 60 pixels" in answer.json()["error"]
    small = image_file()  # The sides of a PNG file are its bytes 16 to 23.
    header = small[12:16] + (20_000).to_bytes(4) * 2 + small[24:29]
    bomb = small[:12] + header + zlib.crc32(header).to_bytes(4) + small[33:]
    answer = serve(run).post("/search", files={"image": bomb})
    assert answer.status_code == 413 and "400,000,000 pixels" in answer.json()["error"]


def test_the_base_gallery_is_ranked_as_by_the_exported_model(finished_run, tmp_path, serve):
    version = export_run(finished_run[0], tmp_path / "models", "xgacmn")
    signatures = tf.saved_model.load(str(version)).signatures
    client = serve(tmp_path)
    with np.load(version / "assets.extra" / "gallery.npz") as arrays:
        features = {modality: arrays[modality][:20] for modality in ("image", "text")}
    for name, modality in (("search_images_by_text", "text"), ("search_texts_by_image", "image")):
        expected = signatures[name](**{f"{modality}_features": tf.constant(features[modality])})
        expected = {key: value.numpy() for key, value in expected.items()}
        for row in range(20):
            query = {f"{modality}_features": features[modality][row].tolist()}
            answer = client.post("/search", json=query).json()
            hits = answer["hits"]
            scores = expected["scores"][row]
            np.testing.assert_allclose([hit["score"] for hit in hits], scores, atol=1e-5)
            # Scores that are equal but for rounding can stand in another order.
            columns = ("ids", "titles", "category", "scores", "category_posterior")
            by_id = {
                item[0]: item for item in zip(*(expected[key][row] for key in columns), strict=True)
            }
            found = [
                (hit, by_id[hit["id"].encode()]) for hit in hits if hit["id"].encode() in by_id
            ]
            assert len(found) >= 9
            for hit, (_, title, category, score, posterior) in found:
                assert (hit["title"], hit["category"]) == (title.decode(), category.decode())
                values = hit["score"], hit["category_posterior"]
                np.testing.assert_allclose(values, (score, posterior), atol=1e-5)
            assert answer["query"]["category"] == expected["query_category"][row].decode()
            assert answer["no_good_match"] == expected.get("no_good_match", [None] * 20)[row]
    answer = client.post("/search", json={"text": "a cat"})
    assert answer.status_code == 400 and "no signature encode_raw_text" in answer.json()["error"]
