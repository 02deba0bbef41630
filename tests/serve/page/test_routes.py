"""The routes of the page: what they answer, and what they refuse."""

import http.client
import io
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from PIL import Image


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        assert self.headers.get_content_type() == "application/json"
        return json.loads(self.body)


@pytest.fixture
def ask(site):
    """Sends a path exactly as it is written, which other clients tidy up first."""

    def ask(path: str, body: str | None = None) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=30)
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        assert answer.status != 200 or answer.headers["X-Content-Type-Options"] == "nosniff"
        return answer

    return ask


def test_the_page_runs_nothing_but_its_own_files(ask):
    page = ask("/")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy and "http" not in policy


@pytest.mark.parametrize(
    ("name", "kind"),
    [("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
def test_its_files_have_their_types(ask, name, kind):
    found = ask(f"/page/{name}")
    assert (found.status, found.headers.get_content_type()) == (200, kind)
    assert found.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["__init__.py", "nothing.js", "..%2f__init__.py", "%2e%2e/servable.py", "../models.py"]
)
def test_nothing_else_of_the_package_is_served(ask, path):
    assert ask(f"/page/{path}").status == 404


def test_what_is_served_is_listed(ask):
    versions = {"bare": [1], "broken": [], "colours": [1], "sure": [1], "words": [1]}
    models = [{"name": name, "versions": numbers} for name, numbers in versions.items()]
    assert ask("/gallery").json == {"models": models}


def test_a_gallery_tells_its_size_and_some_items(ask, items):
    found = ask("/gallery/colours/1").json
    assert (found["size"], found["similarity"]) == (5, "cosine")
    assert [(e["id"], e["title"]) for e in found["examples"]] == [(i.id, i.title) for i in items]


def test_items_come_in_the_order_of_their_ids_and_strangers_are_left_out(ask, items):
    ids = ["fire", "nobody", "a/ä ?&#"]
    found = ask("/gallery/colours/1/items", json.dumps({"ids": ids})).json["items"]
    assert [(i["id"], i["title"], i["category"]) for i in found] == [
        ("fire", '<img src=x onerror="alert(1)">', "<b>heat</b>"),
        ("a/ä ?&#", "an olive", "food"),
    ]
    assert found[0]["picture"].startswith("gallery/colours/1/pictures/4?")
    assert found[1]["picture"] is None


def test_pictures_come_as_they_are_stored(ask, items):
    ids = json.dumps({"ids": [item.id for item in items]})
    for item, found in zip(items, ask("/gallery/colours/1/items", ids).json["items"], strict=True):
        if item.kind is None:
            continue
        picture = ask(f"/{found['picture']}")
        assert (picture.status, picture.body) == (200, item.picture)
        assert picture.headers["Content-Type"] == f"image/{item.kind.lower()}"
        assert "immutable" in picture.headers["Cache-Control"]
        assert Image.open(io.BytesIO(picture.body)).size == (8, 6)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/gallery/nobody/1", "nobody"),
        ("/gallery/broken/1", "broken"),
        ("/gallery/colours/2", "2"),
        ("/gallery/colours/01x", "01x"),
        ("/gallery/colours/-1", "-1"),
        ("/gallery/colours/%C2%B2", "²"),
        ("/gallery/colours/" + "9" * 5000, "9"),
        ("/gallery/..%2f..%2fetc/1", "etc"),
        ("/gallery/bare/1", "no gallery"),
        ("/gallery/colours/1/pictures/3", "3"),  # an item without a picture
        ("/gallery/colours/1/pictures/5", "5"),
        ("/gallery/colours/1/pictures/-1", "-1"),
        ("/gallery/colours/1/pictures/1e0", "1e0"),
        ("/gallery/colours/1/pictures/" + "9" * 5000, "9"),
        ("/gallery/colours/1/pictures/..%2f..%2frun.json", "run.json"),
    ],
)
def test_what_is_not_there_is_said_in_json(ask, path, named):
    answer = ask(path)
    assert answer.status == 404
    assert named in answer.json["error"]
    assert "assets.extra" not in answer.json["error"]  # nor where things lie on this computer


@pytest.mark.parametrize(
    "body",
    ["", "[", "[]", "{}", '{"ids": "sky"}', '{"ids": [1]}', "[" * 100_000, "\ud800",
     json.dumps({"ids": ["sky"] * 1001})],
)  # fmt: skip
def test_other_bodies_are_refused_in_json(ask, body):
    answer = ask("/gallery/colours/1/items", body.encode("utf-8", "surrogatepass"))
    assert answer.status == 400
    assert "1000 strings" in answer.json["error"]
