"""How errors look over HTTP: always ``{"error": {"code", "message"}}``, whoever found the fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from collab_server.api.schema import header
from collab_server.errors import (
    BusyError,
    FloodError,
    GoneError,
    HistoryError,
    HistoryFault,
    NotAuthenticatedError,
    PeerError,
    RefusedError,
    TooBigError,
)
from collab_server.views.pool import ViewFailedError

log = structlog.get_logger(__name__)

_VIEW_STATUS = {"full": 503, "closed": 503, "timeout": 504}
_HISTORY_STATUS = {
    HistoryFault.UNKNOWN_DOCUMENT: 404,
    HistoryFault.UNKNOWN_VERSION: 404,
    HistoryFault.BEFORE_HISTORY: 404,
    HistoryFault.BAD_CURSOR: 422,
    HistoryFault.AUTOMATIC: 409,
    HistoryFault.NO_HISTORY: 409,
    HistoryFault.TOO_MANY: 409,
    HistoryFault.EXISTS: 409,
    HistoryFault.DELETED: 410,
    HistoryFault.BAD_ARCHIVE: 422,
    HistoryFault.TOO_LARGE: 413,
}
RETRY_AFTER_S = "2"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Fault(BaseModel):
    """What went wrong."""

    code: str
    """For a program."""
    message: str
    """For a person."""


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: Fault


_HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": header("how to come: with a Bearer token")},
    429: {"Retry-After": header("seconds", "integer")},
    503: {"Retry-After": header("seconds", "integer")},
}
TOO_LONG: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    for status in (414, 431)
}
"""What a request gets whose target or head is too long; it is not read, so this is no JSON."""
VIEW_FAILURES: Final = (500, 504)
"""What a document gets that a worker cannot show: too large for its memory, or for its time."""


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the schema of the interface says of answers that are errors."""
    return {
        status: {
            "model": ErrorBody,
            "description": HTTPStatus(status).phrase,
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        }
        for status in statuses
    }


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer for an error; one that may pass by itself says when to come again."""
    all_headers = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        all_headers.setdefault("Retry-After", RETRY_AFTER_S)
    return JSONResponse({"error": {"code": code, "message": message}}, status, all_headers)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of ``app`` look the same."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(PeerError, _on_peer_error)
    app.add_exception_handler(HistoryError, _on_history_error)
    app.add_exception_handler(ViewFailedError, _on_view_error)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for it
    return problem(error.status, error.code, error.message, error.headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem(404, "not_found", f"there is nothing at {request.url.path}")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{request.method} is not possible at {request.url.path}"
        return problem(405, "method_not_allowed", message, {"Allow": ", ".join(_methods(request))})
    return problem(error.status_code, "http_error", str(error.detail), error.headers)


def _methods(request: Request) -> list[str]:
    """What is possible at the request's path. Starlette names the methods of the first route only."""
    routes = request.app.router.routes
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    return problem(422, "invalid_request", faults_in_words(error.errors()))


def faults_in_words(faults: Sequence[Any]) -> str:
    """What pydantic found, in one line."""
    return "; ".join(
        f"{fault['loc'][-1] if fault['loc'] else 'body'}: "
        f"{str(fault['msg']).removeprefix('Input ').removeprefix('Value error, ')}"
        for fault in faults
    )


async def _on_history_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HistoryError)  # noqa: S101 - registered for it
    return problem(_HISTORY_STATUS[error.fault], error.fault.value, str(error))


async def _on_peer_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PeerError)  # noqa: S101 - registered for it
    if isinstance(error, NotAuthenticatedError):
        return problem(401, "not_authenticated", error.reason, {"WWW-Authenticate": "Bearer"})
    if isinstance(error, RefusedError):
        return problem(403, "forbidden", error.reason)
    if isinstance(error, FloodError):
        return problem(429, "rate_limited", error.reason, {"Retry-After": RETRY_AFTER_S})
    if isinstance(error, GoneError):
        return problem(410, "deleted", error.reason)
    if isinstance(error, BusyError):
        return problem(503, "unavailable", error.reason)
    if isinstance(error, TooBigError):
        return problem(413, "too_large", error.reason)
    return problem(400, "refused", error.reason)


async def _on_view_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ViewFailedError)  # noqa: S101 - registered for it
    message = f"the document cannot be shown: {error}"
    return problem(_VIEW_STATUS.get(error.reason, 500), f"view_{error.reason}", message)


async def _on_unexpected(request: Request, error: Exception) -> Response:
    log.error("a request failed", path=request.url.path, exc_info=error)
    return problem(500, "internal_error", "the server made a mistake; it is in its log")
