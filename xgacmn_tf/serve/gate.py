"""Middleware around all routes: API key, Host, Origin, limits, metrics and a line in the log.

Starlette's own middleware rejects other hosts and uvicorn rejects too many connections, but neither
answers in JSON, and uvicorn then rejects health checks, too.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.service import Service

# Health checks of a container platform have no key.
_OPEN_ROUTES = ("/health", "/ready")
_BODY_SECONDS = 30.0
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    # Else another page could find out which items there are by loading their thumbnails.
    (b"cross-origin-resource-policy", b"same-origin"),
]
_ERROR_HEADERS = {
    401: {"WWW-Authenticate": 'Basic realm="xgacmn", charset="UTF-8"'},
    503: {"Retry-After": "1"},
}
logger = logging.getLogger("xgacmn_tf.serve.requests")


class Gate:
    """ASGI middleware.

    Args:
      app: the routes.
      service: has the limits and the metrics.
      api_key: the key that requests must have, in the header `X-API-Key`, as a bearer token or as
        the password of basic authentication, for which browsers ask; None for no key.
      hosts: names that the header Host may have, without brackets; None for any.
    """

    def __init__(
        self, app: ASGIApp, service: Service, api_key: str | None, hosts: frozenset[str] | None
    ):
        self._app, self._options, self._metrics = app, service.options, service.metrics
        self._key, self._hosts = api_key, hosts
        self._running = self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        chunks: list[bytes] = []
        try:
            self._check(scope)
            if scope["path"] in _OPEN_ROUTES:  # They read no body.
                await self._app(scope, receive, send_and_note)
            # A request holds a slot only once its body is here, so slow clients block nobody.
            elif await self._read(receive, chunks):
                chunks[:] = [b"".join(chunks)]
                with self._slot():
                    await self._app(scope, _replayed(chunks[0], receive), send_and_note)
            else:
                status = 499
        except RequestError as error:
            await error_response(error)(scope, receive, send_and_note)
        finally:
            self._buffered -= sum(map(len, chunks))
            self._note(scope, status, time.monotonic() - start)

    def _check(self, scope: Scope) -> None:
        """Raise a `RequestError` unless the request may be answered."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname
            is_own = origin is None or urlsplit(origin).netloc == host
        except ValueError as error:
            raise RequestError("Host or Origin is malformed") from error
        if scope["path"] in _OPEN_ROUTES:  # They are asked by address, and tell nothing.
            return
        if self._hosts is not None and name not in self._hosts:
            raise RequestError(f"Host {host!r} is not allowed; see --allowed_hosts", 421)
        if not is_own:  # Else any page that a user visits could write items.
            raise RequestError(f"Origin {origin!r} is not this service", 403)
        if self._key is not None and not _has_key(headers, self._key):
            raise RequestError("the API key is missing or wrong; send it as X-API-Key", 401)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:18]) > self._options.max_body_bytes:
            raise self._too_large()

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Count a request that is computed, unless there are too many."""
        if self._running >= self._options.max_concurrent:
            raise _busy()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _read(self, receive: Receive, chunks: list[bytes]) -> bool:
        """Add the parts of a body to `chunks`; return False if the client disconnects."""
        options, size = self._options, 0
        message: Message = {"more_body": True}
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while message.get("more_body", False):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    self._buffered += len(chunks[-1])
                    if size > options.max_body_bytes:
                        raise self._too_large()
                    if self._buffered > options.max_concurrent * options.max_body_bytes:
                        raise _busy()
        except TimeoutError as error:
            text = f"the body did not arrive within {_BODY_SECONDS:g} s"
            raise RequestError(text, 408) from error
        return True

    def _too_large(self) -> RequestError:
        limit = f"{self._options.max_body_bytes:,} bytes"
        return RequestError(f"the body is larger than {limit}; see --max_body_bytes", 413)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        facts = {
            "time": round(time.time(), 3),
            "client": scope["client"][0] if scope.get("client") else None,
            "method": scope["method"],
            "path": scope["path"][:300],
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
        }
        logger.info(json.dumps(facts))


def _busy() -> RequestError:
    return RequestError("too many requests at a time; try again later", 503)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body that was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


def error_response(error: RequestError) -> JSONResponse:
    """Return the answer to a request that is rejected."""
    return JSONResponse({"error": error.message}, error.status, _ERROR_HEADERS.get(error.status))


def _has_key(headers: Headers, key: str) -> bool:
    given = headers.get("x-api-key", "")
    scheme, value = get_authorization_scheme_param(headers.get("authorization"))
    if not given and scheme.lower() == "bearer":
        given = value.strip()
    elif not given and scheme.lower() == "basic":
        with suppress(ValueError):
            given = base64.b64decode(value).decode().partition(":")[2]
    return hmac.compare_digest(given.encode("utf-8", "replace"), key.encode())
