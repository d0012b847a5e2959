"""What every HTTP request passes first: whose page is it, and how often does it come?

It is no middleware of FastAPI but stands around the whole application, so that errors carry the headers too.
Answers for pages of other origins follow the Fetch standard, section 3.2 (CORS). Credentials are never
allowed: this server has no cookies, its tokens come in a header.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from collab_server.access.callers import Callers, network_of
from collab_server.access.meters import Meter
from collab_server.access.origins import Origins, is_loopback_name
from collab_server.telemetry.metrics import Metrics, Refusal

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], _Receive, _Send], Awaitable[None]]
"""An ASGI application."""

_Headers = list[tuple[bytes, bytes]]
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = b"Authorization, Content-Type, Accept, If-Match, If-None-Match"
_EXPOSED = b"ETag, Retry-After, WWW-Authenticate, Content-Disposition"
_PREFLIGHT_AGE_S = b"600"


class HttpEntrance:
    """Judges a request, puts its ``Caller`` into ``request.state.caller``, and answers other origins."""

    def __init__(
        self,
        app: Application,
        callers: Callers,
        origins: Origins,
        requests: Meter,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        """``requests`` is the rate of requests by address; programs on this machine have none."""
        self._app = app
        self._callers = callers
        self._origins = origins
        self._requests = requests
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _headers_of(scope)
        client = scope.get("client")
        caller = self._callers.caller(client[0] if client else None, lambda name: headers.get(name, ()))
        if (fault := self._origins.fault(caller)) is not None:
            self._metrics.count_refused(Refusal.ORIGIN)
            await _refuse(send, HTTPStatus.FORBIDDEN, "origin_not_allowed", fault)
            return
        cors = self._cors(caller.origin)
        if not caller.is_loopback and not self._requests.try_take(network_of(caller.address), self._clock()):
            self._metrics.count_refused(Refusal.ADDRESS_RATE)
            await _refuse(
                send,
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_requests",
                "too many requests from this address",
                [(b"retry-after", b"1"), *cors],
            )
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers and cors:
            await _answer(send, HTTPStatus.NO_CONTENT, [*cors, *_preflight(headers)], b"")
            return
        scope.setdefault("state", {})["caller"] = caller
        if not cors:
            await self._app(scope, receive, send)
            return

        async def send_with_cors(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *cors]
            await send(message)

        await self._app(scope, receive, send_with_cors)

    def _cors(self, origin: str | None) -> _Headers:
        if self._origins.allows_any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
        if origin is None:
            # The same address answers other pages with other headers: no cache may mix them up.
            return [(b"vary", b"Origin")]
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        ]


class OperationsEntrance:
    """Keeps web pages away from the operations port, which tells of users and asks for no token.

    Pages of other origins are refused, and that is all that a browser says of them, but for a name that its
    owner points at this machine (DNS rebinding): so a port on loopback has to be called by ``localhost`` or
    an address. One that is open to others goes by the names that they know it by.
    """

    def __init__(self, app: Application, ops_host: str, metrics: Metrics) -> None:
        """``ops_host`` is where the port listens."""
        self._app = app
        self._callers = Callers()
        self._origins = Origins(guards_host=is_loopback_name(ops_host.lower()))
        self._metrics = metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            headers = _headers_of(scope)
            caller = self._callers.caller(None, lambda name: headers.get(name, ()))
            # No browser leaves the host out; health checks in HTTP/1.0 do.
            if caller.host is not None and self._origins.fault(caller) is not None:
                self._metrics.count_refused(Refusal.ORIGIN)
                fault = "pages have no business here; programs call it by localhost or an address"
                await _refuse(send, HTTPStatus.FORBIDDEN, "origin_not_allowed", fault)
                return
        await self._app(scope, receive, send)


def _headers_of(scope: MutableMapping[str, Any]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return headers


def _preflight(headers: dict[str, list[str]]) -> _Headers:
    answer = [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _REQUEST_HEADERS),
        (b"access-control-max-age", _PREFLIGHT_AGE_S),
    ]
    if headers.get("access-control-request-private-network") == ["true"]:
        answer.append((b"access-control-allow-private-network", b"true"))
    return answer


async def _refuse(
    send: _Send, status: HTTPStatus, code: str, message: str, headers: _Headers | None = None
) -> None:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    await _answer(send, status, [(b"content-type", b"application/json"), *(headers or [])], body)


async def _answer(send: _Send, status: HTTPStatus, headers: _Headers, body: bytes) -> None:
    length = [(b"content-length", str(len(body)).encode())] if status != HTTPStatus.NO_CONTENT else []
    await send({"type": "http.response.start", "status": status.value, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
