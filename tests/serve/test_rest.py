"""What clients of REST get, answers and errors as TensorFlow Serving's."""

import base64
import gzip
import json
import socket

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.serve import json_tensors

PREDICT = "/v1/models/toy:predict"


def b64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def png(height: int) -> bytes:
    return tf.io.encode_png(tf.zeros([height, 1, 3], tf.uint8)).numpy()


@pytest.mark.parametrize(
    "body, answer",
    [
        ({"instances": [[1, 2, 3], [0, 0, 0.25]]}, {"predictions": [[5, 7, 9], [3, 3, 3.5]]}),
        ({"instances": [{"x": [1, 2, 3]}]}, {"predictions": [[5, 7, 9]]}),
        ({"inputs": [[1, 2, 3]]}, {"outputs": [[5, 7, 9]]}),
        ({"inputs": {"x": [[1, 2, 3]]}}, {"outputs": [[5, 7, 9]]}),
        (
            {"signature_name": "shout", "instances": ["é", b64(b"b")]},
            {"predictions": [{"length": 2, "upper": "é"}, {"length": 1, "upper": "B"}]},
        ),
        (
            {"signature_name": "shout", "inputs": ["a"]},
            {"outputs": {"length": [1], "upper": ["A"]}},
        ),
        (
            {"signature_name": "pick", "instances": [{"either": 1, "choose": False}]},
            {"predictions": [-1]},
        ),
        (
            {"signature_name": "pick", "inputs": {"choose": [True], "either": [7]}},
            {"outputs": [7]},
        ),
        ({"signature_name": "negate", "inputs": 0.1}, {"outputs": -0.1}),
        (
            {"signature_name": "total", "inputs": [[1, 2, 3]]},
            {"outputs": {"total": 6, "unit": "points"}},
        ),
    ],
)
def test_rows_and_columns(toy, body, answer):
    response = toy.post(PREDICT, json=body)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    assert response.json() == answer


def test_pictures_go_and_come_in_base64(toy):
    pictures = [png(3), png(5)]
    rows = toy.post(
        PREDICT, json={"signature_name": "measure", "instances": [b64(p) for p in pictures]}
    ).json()
    assert rows["predictions"] == [
        {"height": height, "copy_bytes": b64(picture)}
        for height, picture in zip([3, 5], pictures, strict=True)
    ]


def test_strings_are_texts_unless_their_name_or_content_says_otherwise():
    strings = np.array([b"a", b"\xff"], object)
    answer = json_tensors.answer({"inputs": []}, {"a": strings, "a_bytes": strings})["outputs"]
    assert answer == {"a": ["a", b64(b"\xff")], "a_bytes": [b64(b"a"), b64(b"\xff")]}


def test_floats_have_no_noise_digits(toy):
    text = toy.post(PREDICT, json={"instances": [[0.05, 1e-8, 3]]}).text
    assert text == '{"predictions": [[3.1, 3.0, 9.0]]}'


@pytest.mark.parametrize(
    "path, first",
    [
        ("/v1/models/toy/versions/1:predict", 1.0),
        ("/v1/models/toy/labels/stable:predict", 2.0),
        ("/V1/Models/toy:Predict", 3.0),
        ("/v1/models/t%6Fy:predict", 3.0),
    ],
)
def test_paths(toy, path, first):
    assert toy.post(path, json={"instances": [[0, 0, 0]]}).json() == {"predictions": [[first] * 3]}


@pytest.mark.parametrize(
    "path, status, message",
    [
        ("/v1/models/dog:predict", 404, "Servable not found for request: Latest(dog)"),
        ("/v1/models/toy/versions/9:predict", 404, "Specific(toy, 9)"),
        ("/v1/models/toy/labels/new:predict", 400, "Unrecognized servable version label: new"),
        (f"/v1/models/toy/versions/{'9' * 5000}:predict", 400, "Failed to convert version"),
        ("/v1/models/toy:classify", 501, "classify is not served"),
        ("/v1/models/toy:train", 400, "Malformed request: POST /v1/models/toy:train"),
        ("/v1/models/toy", 400, "Malformed request: POST /v1/models/toy"),
        ("/v2/models/toy:predict", 404, "404: Not Found"),
    ],
)
def test_what_is_not_served(toy, path, status, message):
    response = toy.post(path, json={"instances": [[0, 0, 0]]})
    assert response.status_code == status
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    "body, message",
    [
        ("", "JSON Parse error"),
        ("{", "JSON Parse error"),
        (b'{"instances": ["\xff"]}', "JSON Parse error"),
        ("[1]", "not an object"),
        ("null", "not an object"),
        ("{}", "one of the keys 'instances' and 'inputs'"),
        ('{"instances": [], "inputs": []}', "and not both"),
        ('{"instances": [], "signature_name": 3}', "must be a string"),
        ('{"instances": [], "signature_name": "\\ud800"}', "must be a string"),
        ('{"instances": []}', "'instances' is empty"),
        ('{"instances": {"x": 1}}', "must be a list"),
        ('{"instances": [[1, 2, 3]], "signature_name": "nope"}', "'nope' not found"),
        ('{"instances": [{"y": [1, 2, 3]}]}', "given: 'y'"),
        ('{"instances": [{"x": [1, 2, 3]}, [1, 2, 3]]}', "objects with the same names, or none"),
        ('{"instances": [{"x": [1, 2, 3]}, {}]}', "objects with the same names, or none"),
        ('{"inputs": {"x": [[1, 2, 3]], "z": 1}}', "given: 'x', 'z'"),
        ('{"instances": [1], "signature_name": "pick"}', "'choose': bool (n); 'either': int32 (n)"),
        ('{"instances": [[1, 2]]}', "'x' is float32 (n, 3); given: shape (1, 2)"),
        ('{"instances": [[1, 2, 3], [1, 2]]}', "lists at depth 2 do not have the same length"),
        ('{"instances": [[1, 2, 3], 4]}', "lists at depth 2 do not have the same length"),
        ('{"instances": [4, [1, 2, 3]]}', "given: a list"),
        ('{"instances": [[1, 2, "3"]]}', "'x' is float32 (n, 3); given: \"3\""),
        ('{"instances": [[1, 2, true]]}', "given: true"),
        ('{"instances": [[1, 2, null]]}', "given: null"),
        ('{"instances": [[1, 2, {"b64": ""}]]}', "given: an object"),
        ('{"inputs": {"b64": ""}}', "given: an object"),
        ('{"instances": [[1, 2, NaN]]}', "NaN, infinity"),
        ('{"instances": [[1, 2, -Infinity]]}', "NaN, infinity"),
        ('{"instances": [[1, 2, 1e39]]}', "beyond float32"),
        (f'{{"instances": [[1, 2, 1{"0" * 400}]]}}', "too large"),
        (f'{{"instances": [[1, 2, 1{"0" * 5000}]]}}', "JSON Parse error"),
        ('{"inputs": {"either": [3e9], "choose": [true]}, "signature_name": "pick"}', "int32"),
        (
            '{"inputs": {"either": [3000000000], "choose": [true]}, "signature_name": "pick"}',
            "3000000000 out of bounds for int32",
        ),
        (
            '{"inputs": {"either": [1], "choose": [1]}, "signature_name": "pick"}',
            "'choose' is bool",
        ),
        ('{"instances": [1], "signature_name": "shout"}', "'text' is string (n); given: 1"),
        ('{"instances": [{"b64": "!"}], "signature_name": "shout"}', "'text' is string"),
        ('{"instances": [{"b64": "/9g="}], "signature_name": "shout"}', "at [0] it is not UTF-8"),
        ('{"instances": ["\\ud800"], "signature_name": "shout"}', "surrogates not allowed"),
        ('{"instances": ["a"], "signature_name": "measure"}', "PNG"),
        ('{"instances": [0.5], "signature_name": "negate"}', "'number' is float64 ()"),
        ('{"instances": [[0, 0, 0]], "signature_name": "total"}', "send 'inputs'"),
    ],
)
def test_bad_bodies(toy, body, message):
    response = toy.post(PREDICT, data=body)
    assert response.status_code == 400
    assert message in response.json()["error"]
    assert len(response.text) < 1100


def test_hostile_json(toy, monkeypatch):
    for body in (
        "[" * 500_000,
        '{"instances":' * 50_000,
        '{"inputs":' + "[" * 900 + "]" * 900 + "}",
    ):
        response = toy.post(PREDICT, data=body)
        assert response.status_code == 400
        assert "nested" in response.json()["error"] or "lists deep" in response.json()["error"]
    monkeypatch.setattr(json_tensors, "MOST_VALUES", 1000)
    response = toy.post(PREDICT, data='{"inputs":[' + "[]," * 500 + "[]]}")
    assert response.status_code == 400
    assert "more than 1,000 values" in response.json()["error"]
    assert toy.ask(1) == 5


def test_a_body_that_is_too_large(toy):
    response = toy.post(PREDICT, data=b" " * (2**20 + 1))
    assert response.status_code == 413
    assert "1048576" in response.json()["error"]


def test_a_body_that_is_too_large_once_unpacked(toy):
    body, headers = gzip.compress(b" " * 2**24), {"Content-Encoding": "gzip"}
    assert len(body) < 2**16
    assert toy.post(PREDICT, data=body, headers=headers).status_code == 413
    packed = gzip.compress(json.dumps({"instances": [[0, 0, 0]]}).encode())
    assert toy.post(PREDICT, data=packed, headers=headers).json() == {"predictions": [[3, 3, 3]]}


def test_a_client_that_never_finishes_its_body(publish, start):
    publish(1)
    server = start(timeout=0.2)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
        )
        assert client.recv(2**16).startswith(b"HTTP/1.1 504 ")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost:")
        assert client.recv(2**16) == b""  # the server hangs up


def test_the_state_of_versions(toy):
    statuses = toy.get("/v1/models/toy").json()["model_version_status"]
    fine = {"error_code": "OK", "error_message": ""}
    assert statuses == [
        {"version": version, "state": "AVAILABLE", "status": fine} for version in ("3", "2", "1")
    ]
    for path in ("/v1/models/toy/versions/2", "/v1/models/toy/labels/stable"):
        assert toy.get(path).json()["model_version_status"] == statuses[1:2]
    for path, status in [("dog", 404), ("toy/versions/8", 404), ("toy/labels/new", 400)]:
        assert toy.get(f"/v1/models/{path}").status_code == status


def test_metadata(toy):
    found = toy.get("/v1/models/toy/versions/1/metadata").json()
    assert found["model_spec"] == {"name": "toy", "version": "1", "signature_name": ""}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {
        *("measure", "negate", "pick", "serving_default", "shout", "total", "wide")
    }
    x = signatures["serving_default"]["inputs"]["x"]
    assert (x["dtype"], [dim["size"] for dim in x["tensor_shape"]["dim"]]) == (
        "DT_FLOAT",
        ["-1", "3"],
    )
    assert toy.get("/v1/models/dog/metadata").status_code == 404


def test_requests_are_counted_but_made_up_names_are_not(toy):
    def counted(**labels):
        return toy.metric("xgacmn_serving_requests_total", protocol="rest", **labels)

    known = {"model": "toy", "signature": "shout", "status": "OK"}
    unknown = {"model": "", "signature": "", "status": "NOT_FOUND"}
    before = counted(**known), counted(**unknown)
    toy.post(PREDICT, json={"signature_name": "shout", "instances": ["a"]})
    toy.post("/v1/models/made-up:predict", json={"instances": ["a"]})
    assert (counted(**known), counted(**unknown)) == (before[0] + 1, before[1] + 1)
    assert counted(model="made-up", signature="", status="NOT_FOUND") == 0
    loaded = {
        version: toy.metric("xgacmn_serving_version_loaded", model="toy", version=version)
        for version in ("3", "4")
    }
    assert loaded == {"3": 1, "4": 0}


def test_the_same_answer_by_both_protocols(toy):
    rows = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    by_rest = toy.post(PREDICT, json={"instances": rows.tolist()}).json()["predictions"]
    by_grpc = toy.predict(toy.request(x=rows))["y"]
    np.testing.assert_array_equal(np.array(by_rest, np.float32), by_grpc)
