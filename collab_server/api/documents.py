"""Documents over HTTP: list, read as JSON or as bytes, delete.

A room's name is the rest of the path, slashes included, but for what belongs to a document (``api.history``).
Who may do what is said in ``api.access``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from collab_server.api.access import Doors, Visitor
from collab_server.api.errors import VIEW_FAILURES, ApiError, errors
from collab_server.api.formats import DOCUMENT, FormatName, Workers, in_format, wanted_format
from collab_server.api.rooms import PREFIX, ROOM, PartRoute, Room, WholeRoute, room_in, room_of
from collab_server.api.schema import header, room_in_path
from collab_server.api.times import CHARACTERS_MAX, NOTE, moment_ms
from collab_server.telemetry.audit import AuditEvent
from persistence.base import DocumentInfo

PAGE_MAX = 1000
_WHOLE = "the room's name: all the rest of the path, slashes included"


class DocumentLine(BaseModel):
    """A stored document."""

    room: str
    bytes: int
    """What it takes in the store."""
    updates: int
    """Stored edits that are not folded into it yet."""
    created_at_ms: int
    changed_at_ms: int


class DocumentList(BaseModel):
    """A page of documents by name."""

    documents: list[DocumentLine]
    next: str | None
    """The ``after`` of the next page; null on the last one."""


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

    async def revive(self, room: str) -> None:
        """Let the name of a deleted document be used again."""
        ...


class Past(Protocol):
    """Reads documents as they were."""

    async def read_at(self, room: str, at_ms: int) -> bytes:
        """The whole document as it was at a time, as one update. Raises HistoryError if that is not known."""
        ...


def documents_router(
    documents: Documents, workers: Workers, room_name_bytes_max: int, doors: Doors, past: Past | None = None
) -> APIRouter:
    """The routes of whole documents, under ``/v1/documents``; ``past`` makes ``?at=`` possible."""
    router = APIRouter(route_class=WholeRoute)

    @router.get(PREFIX, response_model=DocumentList, responses=errors(422))
    async def list_documents(
        after: Annotated[str, Query(description="the last name of the page before")] = "",
        prefix: Annotated[str, Query(description="names that begin so")] = "",
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
        _visitor: Visitor = doors.everywhere,
    ) -> Response:
        """The stored documents by name, a page at a time: ``next`` is the ``after`` of the next."""
        page = await documents.list_documents(after=after, prefix=prefix, limit=limit)
        return JSONResponse(
            {
                "documents": [_shown(info) for info in page],
                "next": page[-1].room if len(page) == limit else None,
            }
        )

    @router.get(
        PREFIX + "/{room:path}",
        name="read document",
        openapi_extra=room_in_path(_WHOLE),
        responses={200: {"content": DOCUMENT}, **errors(400, 404, 410, 422, *VIEW_FAILURES)},
    )
    async def read(
        request: Request,
        format: FormatName = None,  # noqa: A002
        rich: Annotated[bool, Query(description="JSON with formats, embeds and XML trees")] = False,
        at: Annotated[str | None, Query(max_length=CHARACTERS_MAX, description=NOTE)] = None,
        _visitor: Visitor = doors.viewer,
    ) -> Response:
        """One document: as JSON, as a Yjs update, or its state vector; now, or as it was at a moment.

        Without `format` the Accept header decides: application/octet-stream asks for the update.
        """
        wanted = wanted_format(format, request)
        if at is None:
            update = await _existing(request)
        elif past is None:
            raise ApiError(422, "invalid_request", "at: there is no history here")
        else:
            update = await past.read_at(_room(request), moment_ms(at))
        return await in_format(update, wanted, workers, rich=rich)

    @router.head(
        PREFIX + "/{room:path}",
        name="probe document",
        response_class=Response,
        openapi_extra=room_in_path(_WHOLE),
        responses={
            200: {"headers": {"X-Document-Bytes": header("the size of its update", "integer")}},
            **errors(400, 404, 410),
        },
    )
    async def probe(request: Request, _visitor: Visitor = doors.viewer) -> Response:
        """Whether there is such a document; ``X-Document-Bytes`` has the size of its update."""
        return Response(headers={"X-Document-Bytes": str(len(await _existing(request)))})

    @router.delete(
        PREFIX + "/{room:path}",
        name="delete document",
        status_code=204,
        openapi_extra=room_in_path(_WHOLE),
        responses=errors(400, 404),
    )
    async def delete(request: Request, visitor: Visitor = doors.owner) -> Response:
        """Remove a document for good; its members are sent away."""
        room = _room(request)
        with doors.recorded(AuditEvent.DELETE, visitor):
            if not await documents.delete(room):
                raise _unknown(room)
        return Response(status_code=204)

    async def revive(room: Room, visitor: Visitor = doors.owner) -> Response:
        """Let the name of a deleted document be used again; no effect where nothing was deleted."""
        with doors.recorded(AuditEvent.REVIVE, visitor):
            await documents.revive(room_in(room, room_name_bytes_max))
        return Response(status_code=204)

    router.add_api_route(
        ROOM + "/revive",
        revive,
        methods=["POST"],
        status_code=204,
        responses=errors(400),
        route_class_override=PartRoute,
    )

    def _room(request: Request) -> str:
        return room_of(request, PREFIX + "/", room_name_bytes_max)

    async def _existing(request: Request) -> bytes:
        room = _room(request)
        update = await documents.read_update(room)
        if update is None:
            raise _unknown(room)
        return update

    return router


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
