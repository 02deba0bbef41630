"""API key, Host, Origin, limits, and what is answered before the gallery is encoded."""

import asyncio
import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

from tests.serve.conftest import image_file
from xgacmn_tf.errors import InputError
from xgacmn_tf.serve import server
from xgacmn_tf.serve.options import ServiceOptions

KEY = "0123456789abcdef"


def test_the_key_is_needed_for_everything_but_health(run, serve):
    client = serve(run, key=KEY)
    for path in ("/", "/model", "/docs", "/openapi.json", "/metrics", "/v1/models/xgacmn"):
        answer = client.get(path)
        assert answer.status_code == 401 and "X-API-Key" in answer.json()["error"], path
        assert answer.headers["www-authenticate"].startswith("Basic ")
        for headers in (
            {"X-API-Key": KEY},
            {"Authorization": f"Bearer {KEY}"},
            {"Authorization": "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode()},
        ):
            assert client.get(path, headers=headers).status_code == 200, path
        for headers in ({"X-API-Key": KEY[:-1]}, {"Authorization": "Basic ?"}):
            assert client.get(path, headers=headers).status_code == 401
    assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_other_hosts_and_origins_are_rejected(run, serve):
    client = serve(run)
    assert client.get("/model", headers={"Host": "evil.example"}).status_code == 421
    # Health checks come by address.
    assert client.get("/health", headers={"Host": "10.0.0.7"}).status_code == 200
    for origin, status in (("http://evil.example", 403), ("null", 403), ("http://localhost", 200)):
        answer = client.post("/search", json={"text": "red"}, headers={"Origin": origin})
        assert answer.status_code == status, origin
    # Other pages can load no thumbnail, and so not tell which items there are.
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_bodies_are_bounded(run, serve):
    client = serve(run, max_body_bytes=2000)
    large = json.dumps({"text": "red " * 1000}).encode()
    assert client.post("/search", content=large).status_code == 413
    assert client.post("/search", content=iter([large[:1500], large[1500:]])).status_code == 413
    many = serve(run).post("/search", content=b'{"image_features": [' + b"0," * 300_000 + b"0]}")
    assert many.status_code == 413 and "more than 250,000 values" in many.json()["error"]
    many = serve(run).post("/search", json={str(number): 0 for number in range(21)})
    assert many.status_code == 400 and many.json()["error"].startswith("21 fields; see /docs")
    two = [("image", image_file()), ("image", image_file())]
    assert client.post("/search", files=two).status_code == 400


def test_before_the_gallery_is_encoded(run, serve):
    client = serve(run, start=False)
    assert client.get("/health").status_code == 200
    for answer in (client.get("/ready"), client.post("/search", json={"text": "red"})):
        assert answer.status_code == 503 and answer.headers["retry-after"]
    with client.service._reloading:
        answer = client.post("/reload")
    assert answer.status_code == 503 and "still starting" in answer.json()["error"]


def test_too_many_requests_at_a_time(run, serve, monkeypatch):
    client = serve(run, max_concurrent=1)
    arrived, go_on, search = threading.Event(), threading.Event(), client.service.search

    def slow_search(request):
        arrived.set()
        assert go_on.wait(60)
        return search(request)

    monkeypatch.setattr(client.service, "search", slow_search)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(client.post, "/search", json={"text": "red"})
        assert arrived.wait(60)
        second = client.post("/search", json={"text": "red"})
        assert second.status_code == 503 and second.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200
        go_on.set()
        assert first.result().status_code == 200


def test_half_sent_bodies_hold_no_slot(run, serve):
    client = serve(run, max_concurrent=1)
    headers = [(b"host", b"localhost"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": "/search", "headers": headers}

    async def post() -> int:
        slow = asyncio.create_task(client.app(scope, asyncio.Event().wait, None))
        await asyncio.sleep(0)
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as other:
            answer = await other.post("/search", json={"text": "red"})
        slow.cancel()
        return answer.status_code

    assert asyncio.run(post()) == 200


def test_bodies_to_open_routes_are_not_read(run, serve):
    client = serve(run, key=KEY)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/health",
        "headers": [(b"host", b"localhost")],
    }
    sent = []

    async def receive():
        raise AssertionError("the body was read")

    async def send(message):
        sent.append(message)

    asyncio.run(client.app(scope | {"query_string": b""}, receive, send))
    assert sent[0]["status"] == 200


def test_documentation_and_page_need_no_other_site(run, serve):
    client = serve(run)
    documentation = client.get("/docs")
    assert "https://" not in documentation.text
    # Another page could show it and have its buttons clicked.
    assert documentation.headers["x-frame-options"] == "DENY"
    assert {"/search", "/items", "/reload"} <= set(client.get("/openapi.json").json()["paths"])
    page = client.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/page/page.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/page/__init__.py").status_code == 404
    for answer in (client.get("/searches"), client.put("/search")):
        assert answer.json()["error"].endswith("; see /docs for the routes")


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_tensorflow_servings_rest_api(run, serve, version):
    client = serve(run)
    path = f"/v1/models/xgacmn{version}"
    assert client.get(path).json()["model_version_status"][0]["state"] == "AVAILABLE"
    described = client.get(f"{path}/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert "encode_raw_text" in described
    body = {"signature_name": "encode_raw_text", "instances": ["red", "whale"]}
    rows = client.post(f"{path}:predict", json=body).json()["predictions"]
    assert [row["known_words"] for row in rows] == [1, 0]
    image = {"b64": base64.b64encode(image_file()).decode()}
    body = {"signature_name": "encode_image_bytes", "inputs": {"image_bytes": [image]}}
    assert len(client.post(f"{path}:predict", json=body).json()["outputs"][0]) == 6
    body["inputs"]["image_bytes"][0] = {"b64": base64.b64encode(image_file(size=(60, 60))).decode()}
    object.__setattr__(client.service.options, "max_pixels", 3000)
    assert client.post(f"{path}:predict", json=body).status_code == 413
    square = {"b64": base64.b64encode(image_file(size=(50, 50))).decode()}  # 2,500 pixels
    body["inputs"]["image_bytes"] = [square] * 4
    assert client.post(f"{path}:predict", json=body).status_code == 200
    body["inputs"]["image_bytes"] = [square] * 5
    answer = client.post(f"{path}:predict", json=body)
    assert (
        answer.status_code == 413 and "more than 12,000 pixels together" in answer.json()["error"]
    )
    for signature, rows, problem in (
        ("encode_raw_text", ["red"] * 1001, "1,001 rows; send at most 1,000"),
        ("encode_raw_text", ["red " * 11_000], "longer than 10,000 characters"),
        ("encode_image_bytes", [image] * 65, "65 rows; send at most 64"),
    ):
        answer = client.post(f"{path}:predict", json={"signature_name": signature, "inputs": rows})
        assert answer.status_code == 413 and problem in answer.json()["error"]
    for body in ({}, {"inputs": [1]}, {"signature_name": "none", "inputs": [1]}):
        answer = client.post(f"{path}:predict", json=body)
        assert answer.status_code == 400 and answer.json()["error"]
    wrong = (("raw_text", "red", []), ("raw_text", [["red"]], [1, 1]), ("image", [[1, 2]], [1, 2]))
    for name, value, shape in wrong:
        body = {"signature_name": f"encode_{name}", "inputs": value}
        answer = client.post(f"{path}:predict", json=body)
        assert answer.status_code == 400 and f"shape {shape}; expected" in answer.json()["error"]
    assert client.get("/v1/models/other").status_code == 404
    assert client.get("/v1/models/xgacmn/versions/2").status_code == 404


def test_names_of_other_computers_need_a_key(run):
    options = ServiceOptions(run=str(run), allowed_hosts=("localhost", "search.example.org"))
    with pytest.raises(InputError, match="--allowed_hosts: other computers .* API key is required"):
        server._api_key(options)
