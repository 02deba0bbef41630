"""What surrounds all routes: authentication, limits, metrics and a log line per request.

The body is read here, whole, so that its size and the time that it takes are bounded once for all
routes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.metrics import Metrics

# Health checks of a container platform have no key.
_OPEN_ROUTES = ("/health", "/ready")
_BODY_SECONDS = 30.0
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
logger = logging.getLogger("xgacmn_tf.serve.requests")


class Gate:
    """ASGI middleware.

    Args:
      app: the routes.
      metrics: counts requests.
      api_key: the key that requests must have, in the header `X-API-Key`, as a bearer token or as
        the password of basic authentication, for which browsers ask; None for no key.
      hosts: names that the header Host may have; None for any.
      max_body_bytes: maximum size of a body.
      max_concurrent: maximum number of requests at a time.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        api_key: str | None,
        hosts: frozenset[str] | None,
        max_body_bytes: int,
        max_concurrent: int,
    ):
        self._app, self._metrics = app, metrics
        self._key, self._hosts = api_key, hosts
        self._max_body_bytes, self._max_concurrent = max_body_bytes, max_concurrent
        self._running = 0

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

        self._running += 1
        try:
            try:
                self._check(scope)
                body = await self._body(scope, receive)
            except RequestError as error:
                response = JSONResponse({"error": error.message}, error.status, _hint(error.status))
                await response(scope, receive, send_and_note)
            else:
                await self._app(scope, _replayed(body, receive), send_and_note)
        except _ClientGoneError:
            status = 499
        finally:
            self._running -= 1
            self._note(scope, status, time.monotonic() - start)

    def _check(self, scope: Scope) -> None:
        """Raise a `RequestError` unless the request may be answered."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _hostname(host) not in self._hosts:
            raise RequestError(f"Host {host!r} is not allowed; see --allowed_hosts", 421)
        origin = headers.get("origin")
        # Else any page that a user visits could write items.
        if origin is not None and _netloc(origin) != host:
            raise RequestError(f"Origin {origin!r} is not this service", 403)
        if scope["path"] in _OPEN_ROUTES:
            return
        if self._key is not None and not _has_key(headers, self._key):
            raise RequestError("the API key is missing or wrong; send it as X-API-Key", 401)
        if self._running > self._max_concurrent:
            raise RequestError("too many requests at a time; try again later", 503)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        too_large = RequestError(
            f"the body is larger than {self._max_body_bytes:,} bytes; see --max_body_bytes", 413
        )
        length = Headers(scope=scope).get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            raise RequestError("the header Content-Length is not a number")
        if len(length) > 18 or int(length) > self._max_body_bytes:
            raise too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientGoneError
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self._max_body_bytes:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError as error:
            message_ = f"the body did not arrive within {_BODY_SECONDS:g} s"
            raise RequestError(message_, 408) from error

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        client = scope.get("client")
        logger.info(
            json.dumps(
                {
                    "time": round(time.time(), 3),
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": scope["path"][:300],
                    "route": route,
                    "status": status,
                    "ms": round(1000 * seconds, 1),
                }
            )
        )


class _ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body which was read already."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _hint(status: int) -> dict[str, str]:
    """Return the headers that belong to a status."""
    if status == 401:
        return {"WWW-Authenticate": 'Basic realm="xgacmn", charset="UTF-8"'}
    return {"Retry-After": "1"} if status == 503 else {}


def _has_key(headers: Headers, key: str) -> bool:
    given = headers.get("x-api-key", "")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if not given and scheme.lower() == "bearer":
        given = value.strip()
    elif not given and scheme.lower() == "basic":
        try:
            given = base64.b64decode(value).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return False
    return hmac.compare_digest(given.encode("utf-8", "replace"), key.encode())


def _hostname(host: str) -> str:
    """Return a Host header without the port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _netloc(origin: str) -> str:
    """Return host and port of an Origin header; "" for a malformed one."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
