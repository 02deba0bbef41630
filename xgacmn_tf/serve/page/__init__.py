"""A page that searches the served models from a browser, for people.

The page is three static files. It searches through the same REST API as every other client
(`/v1/models/…`); the routes here, all read-only, only tell it what is served and what the items
that it found look like.

GET  /                                      the page
GET  /page/FILE                             its style, script and icon
GET  /gallery                               models, and which versions of each answer now
GET  /gallery/NAME/VERSION                  sizes of its gallery, similarity, some of its items
POST /gallery/NAME/VERSION/items            {"ids": […]} → title, category, picture of each
GET  /gallery/NAME/VERSION/pictures/ROW     one picture
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from aiohttp import web

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve.models import ModelManager
from xgacmn_tf.serve.page.shown_gallery import ShownGallery

HERE = Path(__file__).parent
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# The page holds titles that strangers wrote: even if one of them became markup, nothing would run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
# Items that are looked up at once, and examples from which the page picks.
MOST_IDS = 1000
EXAMPLES = 32


def add_page(app: web.Application, models: ModelManager) -> None:
    """Adds the page and its routes to the server's application.

    Args:
      app: gets the routes.
      models: what is served.
    """
    page = _Page(models)
    app.add_routes(
        [
            web.get("/", page.file),
            web.get("/page/{file}", page.file),
            web.get("/gallery", page.models),
            web.get("/gallery/{name}/{version}", page.gallery),
            web.post("/gallery/{name}/{version}/items", page.items),
            web.get("/gallery/{name}/{version}/pictures/{row}", page.picture),
        ]
    )


class _Page:
    def __init__(self, models: ModelManager):
        self._models = models
        self._files = {p.name: p.read_bytes() for p in HERE.iterdir() if p.suffix in TYPES}
        # By folder: tasks, so that who asks while one is being read waits for the same.
        self._galleries: dict[Path, asyncio.Task[ShownGallery]] = {}

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("file", "index.html")
        if name not in self._files:
            _refuse(web.HTTPNotFound, f"The page has no file {name!r}.")
        headers = {**HEADERS, "Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        kind = TYPES[Path(name).suffix]
        return web.Response(
            body=self._files[name], content_type=kind, charset="utf-8", headers=headers
        )

    async def models(self, request: web.Request) -> web.Response:
        found = [
            {"name": name, "versions": sorted(versions)}
            for name, versions in sorted(self._models.served().items())
        ]
        return _json({"models": found})

    async def gallery(self, request: web.Request) -> web.Response:
        gallery = await self._gallery(request)
        rows: dict[str | int, int] = {}  # By picture: an image with several captions stands once.
        for row in gallery.spread(EXAMPLES):
            rows.setdefault(gallery.picture_mark(row) or row, row)
        shown = {
            "size": len(gallery),
            "searched": gallery.searched,
            "similarity": gallery.similarity,
            "examples": [_item(request, gallery, row) for row in rows.values()],
        }
        return _json(shown)

    async def items(self, request: web.Request) -> web.Response:
        gallery = await self._gallery(request)
        try:
            ids = json.loads(await request.text())["ids"]
            fits = isinstance(ids, list) and all(isinstance(key, str) for key in ids)
        except (ValueError, RecursionError, LookupError, TypeError):
            fits = False
        if not fits or len(ids) > MOST_IDS:
            expected = f'{{"ids": […]}} with at most {MOST_IDS} strings'
            _refuse(web.HTTPBadRequest, f"The body is not what was expected: {expected}.")
        # An id that the gallery does not know is left out: the model's answer names it anyway.
        rows = [row for row in map(gallery.row, ids) if row is not None]
        return _json({"items": [_item(request, gallery, row) for row in rows]})

    async def picture(self, request: web.Request) -> web.Response:
        gallery = await self._gallery(request)
        row = request.match_info["row"]
        number = _number(row)
        found = None if number is None else gallery.picture(number)
        if found is None:
            _refuse(web.HTTPNotFound, f"There is no picture {row!r} in this gallery.")
        kind, data = found
        # Its address changes with its content (`_item`), so it need not be asked for again.
        headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=data, content_type=f"image/{kind}", headers=headers)

    async def _gallery(self, request: web.Request) -> ShownGallery:
        """The gallery that the address names, read at most once as long as it is served."""
        name, version = request.match_info["name"], request.match_info["version"]
        now = self._models.served()
        number = _number(version)
        folder = None if number is None else now.get(name, {}).get(number)
        if folder is None:
            _refuse(web.HTTPNotFound, f"Version {version!r} of model {name!r} is not served.")
        kept = {path for versions in now.values() for path in versions.values()}
        self._galleries = {path: g for path, g in self._galleries.items() if path in kept}
        if folder not in self._galleries:
            self._galleries[folder] = asyncio.create_task(asyncio.to_thread(ShownGallery, folder))
        try:
            # A client that goes away must not cancel what others wait for.
            return await asyncio.shield(self._galleries[folder])
        except InputError as error:
            logging.getLogger(__name__).warning("%s", error)
            _refuse(web.HTTPNotFound, f"Version {version} of {name} has no gallery to show.")


def _item(request: web.Request, gallery: ShownGallery, row: int) -> dict[str, str | None]:
    mark = gallery.picture_mark(row)
    name, version = (quote(request.match_info[part], safe="") for part in ("name", "version"))
    address = f"gallery/{name}/{version}/pictures/{row}?{mark}"
    return gallery.texts(row) | {"picture": None if mark is None else address}


def _number(text: str) -> int | None:
    # Nothing here is numbered higher than a version can be, and Python reads long numbers slowly.
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 19 else None


def _json(value: Any) -> web.Response:
    return web.json_response(value, headers={**HEADERS, "Cache-Control": "no-cache"})


def _refuse(kind: type[web.HTTPError], message: str) -> NoReturn:
    """Answers with an error as TensorFlow Serving words them: {"error": "…"}."""
    raise kind(
        text=json.dumps({"error": message}), content_type="application/json", headers=HEADERS
    )
