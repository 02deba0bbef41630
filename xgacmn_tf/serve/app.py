"""The routes of the service."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from xgacmn_tf.errors import InputError
from xgacmn_tf.report.images import image_type
from xgacmn_tf.serve import schemas, tf_serving_api
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.gate import Gate, error_response
from xgacmn_tf.serve.service import Service
from xgacmn_tf.version import __version__

# Titles come from strangers: even if one became markup, nothing in it would run.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
_EXAMPLES = 12
logger = logging.getLogger(__name__)
router = APIRouter()


def make_app(service: Service, api_key: str | None, hosts: frozenset[str] | None) -> FastAPI:
    """Return the application.

    Args:
      service: answers the requests, once it is started.
      api_key, hosts: see `Gate`.
    """
    app = FastAPIOffline(redoc_url=None, title="X-GACMN search service", version=__version__)
    app.state.service = service
    app.include_router(router)
    app.include_router(tf_serving_api.router)
    app.mount("/page", _page)
    app.add_middleware(Gate, service=service, api_key=api_key, hosts=hosts)
    for kind in (
        RequestError, ClientDisconnect, HTTPException, RequestValidationError, InputError,
        sqlite3.Error, Exception,
    ):  # fmt: skip
        app.add_exception_handler(kind, _answer_error)
    return app


def _answer_error(request: Request, error: Exception) -> Response:
    # Clients need no paths and hosts of the server; the log has them.
    if isinstance(error, InputError | sqlite3.Error) or getattr(error, "reason", None) is not None:
        logger.error("%s: %s", type(error).__name__, error)
    match error:
        case RequestError():
            return error_response(error)
        case ClientDisconnect():
            return Response(status_code=499)
        case HTTPException():
            message, status = str(error.detail), error.status_code
            if status in (404, 405):
                message += "; see /docs for the routes"
        case RequestValidationError():
            message, status = schemas.validation_message(error.errors()), 400
        case InputError():
            message, status = "the version cannot be used; the log has the reason", 409
        case sqlite3.Error():
            message, status = "the items cannot be stored or read; the log has the reason", 503
        case _:
            message, status = "the service failed; its log has the reason", 500
    return error_response(RequestError(message, status))


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Running = Annotated[Service, Depends(_service)]


@router.post("/search", openapi_extra=schemas.body_schema(schemas.SearchRequest))
async def search(request: Request, service: Running) -> schemas.SearchAnswer:
    """Find the items nearest to a text, an image or features."""
    query = await schemas.read_body(request, schemas.SearchRequest)
    return await run_in_threadpool(service.search, query)


@router.post("/items", openapi_extra=schemas.body_schema(schemas.ItemRequest))
async def put_item(request: Request, response: Response, service: Running) -> dict[str, Any]:
    """Store an item; the answer is sent when it is on the disk."""
    item = await schemas.read_body(request, schemas.ItemRequest)
    answer = await run_in_threadpool(service.put, item)
    response.status_code = 201 if answer["created"] else 200
    return answer


@router.get("/items/{item_id:path}/thumbnail", response_class=Response)
def get_thumbnail(item_id: str, request: Request, service: Running) -> Response:
    """Return a small image of an item."""
    if request.scope["raw_path"].lower().endswith(b"%2fthumbnail"):  # The end of an id.
        return JSONResponse(service.item(f"{item_id}/thumbnail"))
    data = service.thumbnail(item_id)
    # With a version in the address, the answer never changes.
    headers = {"Cache-Control": "private, max-age=86400"} if "v" in request.query_params else {}
    return Response(data, headers=headers, media_type=f"image/{image_type(data)}")


@router.get("/items/{item_id:path}")
def get_item(item_id: str, service: Running) -> dict[str, Any]:
    """Return an item."""
    return service.item(item_id)


@router.delete("/items/{item_id:path}")
def delete_item(item_id: str, service: Running, restore: bool = False) -> dict[str, Any]:
    """Delete an item; the answer is sent when that is on the disk.

    With `restore=true`, the id is forgotten, and the next reload takes its item from the gallery.
    """
    if restore:
        service.restore(item_id)
        return {"id": item_id, "restored": True}
    service.delete(item_id)
    return {"id": item_id, "deleted": True}


@router.post("/reload")
def reload(service: Running) -> dict[str, Any]:
    """Switch to the highest version in the run folder; the answer is sent afterwards."""
    live = service.reload()
    return {"model_version": live.encoder.version.number, "items": len(live)}


@router.get("/model")
def describe_model(service: Running) -> dict[str, Any]:
    """Describe the version that is served, with some items of its base gallery."""
    live = service.live
    encoder, base = live.encoder, live.base
    step = max(1, len(base) // _EXAMPLES)
    ids = base.id[step // 2 :: step][:_EXAMPLES].tolist()
    return {
        "name": encoder.version.name,
        "version": encoder.version.number,
        "similarity": encoder.similarity,
        "items": len(live),
        "texts": encoder.takes_raw("text"),
        "images": encoder.takes_raw("image"),
        "examples": [service.item(key) for key in ids if key in live],
    }


@router.get("/health")
async def health() -> dict[str, str]:
    """Answer as long as the process lives."""
    return {"status": "alive"}


@router.get("/ready")
async def ready(service: Running) -> dict[str, Any]:
    """Answer 200 once the gallery is encoded, 503 before."""
    return {"status": "ready", "model_version": service.live.encoder.version.number}


@router.get("/metrics", response_class=Response)
def get_metrics(service: Running) -> Response:
    """Return metrics in the format of Prometheus."""
    text = generate_latest(service.metrics.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Page(StaticFiles):
    """The files of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_PAGE_HEADERS)
        return response


_page = _Page(directory=Path(__file__).parent / "page")


@router.get("/", include_in_schema=False)
async def get_page(request: Request) -> Response:
    """Return the page."""
    return await _page.get_response("index.html", request.scope)
