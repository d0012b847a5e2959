"""Documents over HTTP: list, read as JSON or as bytes, delete.

A room's name is the rest of the path, slashes included. It says nothing yet about who may do what: whoever
reaches the public port may. Keep the port inside, or turn the API off with ``documents_api = false``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from collab_server.api.errors import ApiError
from collab_server.api.rooms import room_of
from collab_server.views.documents import document_json, document_state_vector
from persistence.base import DocumentInfo

PREFIX = "/v1/documents"
FORMATS = ("json", "update", "state-vector")
OCTETS = "application/octet-stream"
PAGE_MAX = 1000


class Documents(Protocol):
    """What the API needs of the server. BusyError may be raised by any call while the store is away."""

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        """The documents by name, from the name after ``after`` on."""
        ...

    async def read_update(self, room: str) -> bytes | None:
        """The whole document as one update; None if there is none. Raises GoneError for a deleted one."""
        ...

    async def delete(self, room: str) -> bool:
        """Remove the document for good. False if there is none."""
        ...


class Workers(Protocol):
    """Runs module-level functions where they can do no harm; ``views.pool.ViewPool`` is one."""

    @property
    def run(self) -> Callable[..., Awaitable[Any]]:
        """Call a function there, and wait for what it returns. Raises ViewFailedError."""
        ...


def documents_router(documents: Documents, workers: Workers, room_name_bytes_max: int) -> APIRouter:
    """The routes under ``/v1/documents``."""
    router = APIRouter()

    @router.get(PREFIX)
    async def list_documents(
        after: Annotated[str, Query(description="the last name of the page before")] = "",
        prefix: Annotated[str, Query(description="names that begin so")] = "",
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    ) -> Response:
        """The stored documents by name, a page at a time: ``next`` is the ``after`` of the next."""
        page = await documents.list_documents(after=after, prefix=prefix, limit=limit)
        return JSONResponse(
            {
                "documents": [_shown(info) for info in page],
                "next": page[-1].room if len(page) == limit else None,
            }
        )

    @router.get(PREFIX + "/{room:path}", name="read document")
    async def read(
        request: Request,
        format: Annotated[str | None, Query(description="json, update or state-vector")] = None,  # noqa: A002
        rich: Annotated[bool, Query(description="JSON with formats, embeds and XML trees")] = False,
    ) -> Response:
        """One document: as JSON, as a Yjs update, or its state vector.

        Without ``format`` the Accept header decides: application/octet-stream asks for the update.
        """
        wanted = _wanted(format, request)
        update = await _existing(request)
        if wanted == "update":
            return Response(update, media_type=OCTETS)
        if wanted == "state-vector":
            return Response(await workers.run(document_state_vector, update), media_type=OCTETS)
        return Response(await workers.run(document_json, update, rich), media_type="application/json")

    @router.head(PREFIX + "/{room:path}", name="probe document")
    async def probe(request: Request) -> Response:
        """Whether there is such a document; ``X-Document-Bytes`` has the size of its update."""
        return Response(headers={"X-Document-Bytes": str(len(await _existing(request)))})

    @router.delete(PREFIX + "/{room:path}", name="delete document", status_code=204)
    async def delete(request: Request) -> Response:
        """Remove a document for good; its members are sent away."""
        room = _room(request)
        if not await documents.delete(room):
            raise _unknown(room)
        return Response(status_code=204)

    def _room(request: Request) -> str:
        return room_of(request, PREFIX + "/", room_name_bytes_max)

    async def _existing(request: Request) -> bytes:
        room = _room(request)
        update = await documents.read_update(room)
        if update is None:
            raise _unknown(room)
        return update

    return router


def _wanted(named: str | None, request: Request) -> str:
    if named is None:
        accept = request.headers.get("accept", "")
        return "update" if OCTETS in accept and "json" not in accept else "json"
    if named not in FORMATS:
        raise ApiError(422, "invalid_request", f"format: must be one of {', '.join(FORMATS)}")
    return named


def _unknown(room: str) -> ApiError:
    return ApiError(404, "unknown_document", f"there is no document {room!r}")


def _shown(info: DocumentInfo) -> dict[str, Any]:
    return {
        "room": info.room,
        "bytes": info.bytes_total,
        "updates": info.updates_count,
        "created_at_ms": info.created_at_ms,
        "changed_at_ms": info.changed_at_ms,
    }
