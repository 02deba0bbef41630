"""The routes of the service."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from xgacmn_tf.errors import InputError
from xgacmn_tf.report.images import image_type
from xgacmn_tf.serve import schemas, tf_serving_api
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.gate import Gate
from xgacmn_tf.serve.service import Service
from xgacmn_tf.version import __version__

_PAGE = Path(__file__).parent / "page"
_PAGE_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Titles come from strangers: even if one became markup, nothing in it would run.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_EXAMPLES = 12
logger = logging.getLogger(__name__)
router = APIRouter()


def make_app(service: Service, api_key: str | None, hosts: frozenset[str] | None) -> FastAPI:
    """Return the application.

    Args:
      service: answers the requests, once it is started.
      api_key, hosts: see `Gate`.
    """
    options = service.options

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = options.threads
        yield

    app = FastAPIOffline(
        redoc_url=None, title="X-GACMN search service", version=__version__, lifespan=lifespan
    )
    app.state.service = service
    app.include_router(router)
    app.include_router(tf_serving_api.router)
    app.add_middleware(
        Gate,
        metrics=service.metrics,
        api_key=api_key,
        hosts=hosts,
        max_body_bytes=options.max_body_bytes,
        max_concurrent=options.max_concurrent,
    )
    for kind in (RequestError, InputError, HTTPException, RequestValidationError, sqlite3.Error):
        app.add_exception_handler(kind, _answer_error)
    app.add_exception_handler(Exception, _answer_failure)
    return app


def _answer_error(request: Request, error: Exception) -> Response:
    headers = {}
    if isinstance(error, RequestError):
        status, message = error.status, error.message
    elif isinstance(error, HTTPException):
        status, message = error.status_code, str(error.detail)
    elif isinstance(error, RequestValidationError):
        status, message = 400, schemas.validation_message(error.errors())
    elif isinstance(error, InputError):
        status, message = 409, str(error)
        logger.error("%s", error)
    else:
        status, message = 503, f"the items cannot be stored or read: {error}"
        logger.error("%s: %s", type(error).__name__, error)
    if status == 503:
        headers["Retry-After"] = "1"
    return JSONResponse({"error": " ".join(message.split())}, status, headers)


def _answer_failure(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the service failed; its log has the reason"}, 500)


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
async def put_item(request: Request, response: Response, service: Running) -> schemas.ItemAnswer:
    """Store an item; the answer is sent when it is on the disk."""
    item = await schemas.read_body(request, schemas.ItemRequest)
    answer = await run_in_threadpool(service.put, item)
    response.status_code = 201 if answer.created else 200
    return answer


@router.get("/items/{item_id:path}/thumbnail", response_class=Response)
def get_thumbnail(item_id: str, service: Running) -> Response:
    """Return a small image of an item."""
    data = service.thumbnail(item_id)
    # The address has the revision of the item, so the answer never changes.
    headers = {"Cache-Control": "private, max-age=86400"}
    kind = image_type(data)
    if kind is None:
        raise RequestError(f"item {item_id!r} has no thumbnail", 404)
    return Response(data, headers=headers, media_type=f"image/{kind}")


@router.get("/items/{item_id:path}")
def get_item(item_id: str, service: Running) -> schemas.StoredItem:
    """Return an item."""
    return service.item(item_id)


@router.delete("/items/{item_id:path}")
def delete_item(item_id: str, service: Running) -> dict[str, Any]:
    """Delete an item; the answer is sent when that is on the disk."""
    service.delete(item_id)
    return {"id": item_id, "deleted": True}


@router.post("/reload")
def reload(service: Running) -> dict[str, Any]:
    """Switch to the highest version in the run folder; the answer is sent afterwards."""
    live = service.reload()
    return {"model_version": live.version.number, "items": len(live.gallery)}


@router.get("/model")
def describe_model(service: Running) -> dict[str, Any]:
    """Describe the version that is served, with some items of its base gallery."""
    live = service.live
    gallery, encoder = live.gallery, live.gallery.encoder
    step = max(1, len(gallery.base) // _EXAMPLES)
    ids = [str(key) for key in gallery.base.id[step // 2 :: step][:_EXAMPLES]]
    return {
        "name": live.version.name,
        "version": live.version.number,
        "similarity": encoder.similarity,
        "items": len(gallery),
        "texts": encoder.takes("text", "raw"),
        "images": encoder.takes("image", "raw"),
        "examples": [service.item(key) for key in ids if gallery.base_row(key) is not None],
    }


@router.get("/health")
async def health() -> dict[str, str]:
    """Answer as long as the process lives."""
    return {"status": "alive"}


@router.get("/ready")
async def ready(service: Running) -> dict[str, Any]:
    """Answer 200 once the gallery is encoded, 503 before."""
    return {"status": "ready", "model_version": service.live.version.number}


@router.get("/metrics", response_class=Response)
def get_metrics(service: Running) -> Response:
    """Return metrics in the format of Prometheus."""
    text = generate_latest(service.metrics.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/", include_in_schema=False)
@router.get("/page/{name}", include_in_schema=False)
def get_page(name: str = "index.html") -> FileResponse:
    """Return a file of the page."""
    path = _PAGE / name
    if path.suffix not in _PAGE_TYPES or path not in _PAGE.iterdir():
        raise RequestError(f"the page has no file {name!r}", 404)
    headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}
    return FileResponse(path, headers=headers, media_type=_PAGE_TYPES[path.suffix])
