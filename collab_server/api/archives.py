"""Archives over HTTP: everything about one document as one file, out of this server and into it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from collab_server.api.access import Doors, Visitor
from collab_server.api.bodies import read_body
from collab_server.api.errors import ApiError, errors
from collab_server.api.formats import OCTETS
from collab_server.api.rooms import ROOM, PartRoute, Room, room_in
from collab_server.api.schema import BINARY, header
from collab_server.hosting.archive import MEDIA_TYPE
from collab_server.telemetry.audit import AuditEvent
from persistence.base import DocumentDump

TRANSFERS_MAX = 4
"""Archives on their way in or out at once: each is in memory until it has arrived."""
_CHUNK_BYTES = 256 * 1024


class Archives(Protocol):
    """What the API needs of ``hosting.archives``."""

    async def export(self, room: str) -> bytes:
        """Everything about one document as one file."""
        ...

    async def restore(self, data: bytes, room: str, *, revive: bool = False) -> DocumentDump:
        """Make the document that an archive holds, under this name."""
        ...


class Imported(BaseModel):
    """What an archive has become."""

    room: str
    bytes: int
    segments: int
    versions: int


def archives_router(
    archives: Archives, room_name_bytes_max: int, archive_bytes_max: int, doors: Doors
) -> APIRouter:
    """The routes of a document's archive."""
    router = APIRouter(route_class=PartRoute)
    transfers = _Transfers()

    def named(room: str) -> str:
        return room_in(room, room_name_bytes_max)

    @router.get(
        ROOM + "/archive",
        response_class=Response,
        responses={
            200: {
                "content": {MEDIA_TYPE: BINARY},
                "headers": {"Content-Disposition": header("with the name of a file")},
            },
            **errors(400, 404, 410, 413),
        },
    )
    async def export(room: Room, visitor: Visitor = doors.owner) -> Response:
        """Everything about one document as one file: its content, its history, its named versions."""
        name = named(room)
        transfers.take()
        try:
            with doors.recorded(AuditEvent.EXPORT, visitor):
                data = await archives.export(name)
        except BaseException:
            transfers.release()
            raise
        headers = {
            "Content-Length": str(len(data)),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.zip",
        }
        return _Transfer(transfers, data, headers)

    @router.post(
        ROOM + "/archive",
        status_code=201,
        response_model=Imported,
        openapi_extra={"requestBody": {"required": True, "content": {MEDIA_TYPE: BINARY, OCTETS: BINARY}}},
        responses=errors(400, 409, 410, 413, 415, 422),
    )
    async def import_archive(
        request: Request,
        room: Room,
        revive: Annotated[bool, Query(description="also if a document of this name was deleted")] = False,
        visitor: Visitor = doors.owner,
    ) -> Response:
        """Make a document of an archive, with all of its history, under this name."""
        name = named(room)
        transfers.take()
        try:
            data = await read_body(request, (MEDIA_TYPE, OCTETS), archive_bytes_max)
            with doors.recorded(AuditEvent.IMPORT, visitor):
                made = await archives.restore(data, name, revive=revive)
        finally:
            transfers.release()
        line = Imported(
            room=name, bytes=made.bytes_total, segments=len(made.segments), versions=len(made.versions)
        )
        return JSONResponse(line.model_dump(), 201)

    return router


class _Transfers:
    """Counts the archives on their way."""

    def __init__(self) -> None:
        self._count = 0

    def take(self) -> None:
        """Take a place. Raises ApiError (503) when there is none."""
        if self._count >= TRANSFERS_MAX:
            raise ApiError(503, "unavailable", "too many archives are on their way; try again later")
        self._count += 1

    def release(self) -> None:
        """Give a place back."""
        self._count -= 1


class _Transfer(StreamingResponse):
    """Bytes on their way out; their place is free again when they are gone, or their reader is."""

    def __init__(self, transfers: _Transfers, data: bytes, headers: dict[str, str]) -> None:
        super().__init__(_chunks(data), headers=headers, media_type=MEDIA_TYPE)
        self._transfers = transfers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._transfers.release()


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), _CHUNK_BYTES):
        yield data[at : at + _CHUNK_BYTES]
