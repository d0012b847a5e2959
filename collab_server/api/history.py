"""The history of documents over HTTP: versions, what changed, restore."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Protocol, Self

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from collab_server.access.identity import Role
from collab_server.api.access import Doors, Visitor
from collab_server.api.bodies import read_json
from collab_server.api.errors import VIEW_FAILURES, ApiError, errors
from collab_server.api.formats import DOCUMENT, FormatName, Workers, in_format, wanted_format
from collab_server.api.rooms import ROOM, PartRoute, Room, room_in
from collab_server.api.schema import JSON, OBJECT, described, header, one_of, some_of
from collab_server.api.times import CHARACTERS_MAX, iso, moment_ms
from collab_server.hosting.archive import VersionName
from collab_server.hosting.history import CURRENT, PREVIOUS, START
from collab_server.hosting.versions import Version, VersionPage
from collab_server.telemetry.audit import AuditEvent

PAGE_MAX = 1000

VersionId = Annotated[str, Path(description="an id from the list of versions", max_length=40)]


class History(Protocol):
    """What the API needs of ``hosting.history``, whose docstrings say what is promised."""

    async def versions(self, room: str, cursor: str | None = None, limit: int = 50) -> VersionPage:
        """The versions, newest first."""
        ...

    async def version(self, room: str, version_id: str) -> Version:
        """One line of the list."""
        ...

    async def read_version(self, room: str, version_id: str) -> tuple[Version, bytes]:
        """A version, and the document as it was then."""
        ...

    async def read_at(self, room: str, at_ms: int) -> bytes:
        """The document as it was at a time."""
        ...

    async def difference(self, room: str, since: str = PREVIOUS, to: str = CURRENT) -> dict[str, Any]:
        """What differs between two versions."""
        ...

    async def create_version(self, room: str, name: str, *, pinned: bool, author: str | None) -> Version:
        """Name the document as it is now."""
        ...

    async def change_version(
        self, room: str, version_id: str, *, name: str | None = None, pinned: bool | None = None
    ) -> Version:
        """Rename or pin a named version."""
        ...

    async def delete_version(self, room: str, version_id: str) -> None:
        """Drop a named version."""
        ...

    async def restore(
        self, room: str, *, version_id: str | None = None, at_ms: int | None = None, author: str | None = None
    ) -> bool:
        """Give the document the content that it had."""
        ...


class Kind(StrEnum):
    """Who made a version."""

    AUTOMATIC = "automatic"
    NAMED = "named"


class VersionLine(BaseModel):
    """A version of a document."""

    id: str
    kind: Kind
    name: str | None
    """Of a named version."""
    pinned: bool
    """Whether it outlives the retention of the history."""
    at: str
    """When the document was so."""
    at_ms: int
    since_ms: int
    """When the first edit since the version before came; for a named version, when it was named."""
    authors: list[str]
    """Users, as far as they are known: who edited; for a named version, who named it."""
    updates: int
    """Committed groups of edits since the version before."""
    bytes: int
    """What it takes in the store: the edits alone for an automatic version, the whole for a named one."""


class VersionList(BaseModel):
    """A page of versions, newest first."""

    versions: list[VersionLine]
    next: str | None
    """The ``cursor`` of the next page; null on the last one."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewVersion(_Body):
    """A version to be made of the document as it is now."""

    name: VersionName
    pinned: bool = False


class VersionChange(_Body):
    """What to change of a named version; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=some_of("name", "pinned"))

    name: VersionName | None = None
    pinned: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.name is None and self.pinned is None:
            raise ValueError("name or pinned is missing")
        return self


class RestoreRequest(_Body):
    """Where to go back to: a version, or a moment."""

    model_config = ConfigDict(json_schema_extra=one_of("version", "at"))

    version: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    at: Annotated[str, Field(max_length=CHARACTERS_MAX)] | int | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.version is None) == (self.at is None):
            raise ValueError("give either version or at")
        return self


class Restored(BaseModel):
    """What became of a restore."""

    restored: bool
    """False if the document had that content already."""


def history_router(history: History, workers: Workers, room_name_bytes_max: int, doors: Doors) -> APIRouter:
    """The routes below one document."""
    router = APIRouter(route_class=PartRoute)

    def named(room: str) -> str:
        return room_in(room, room_name_bytes_max)

    @router.get(ROOM + "/versions", response_model=VersionList, responses=errors(400, 404, 410, 422))
    async def list_versions(
        room: Room,
        cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
        _visitor: Visitor = doors.viewer,
    ) -> Response:
        """The versions of a document, newest first: automatic ones and named ones."""
        page = await history.versions(named(room), cursor, limit)
        lines = [_line(version).model_dump(mode="json") for version in page.versions]
        return JSONResponse({"versions": lines, "next": page.next})

    @router.post(
        ROOM + "/versions",
        status_code=201,
        response_model=VersionLine,
        openapi_extra=described(NewVersion),
        responses=errors(400, 404, 409, 410, 413, 415, 422),
    )
    async def create_version(request: Request, room: Room, visitor: Visitor = doors.editor) -> Response:
        """Name the document as it is now. Only an owner may pin it."""
        name = named(room)
        asked = await read_json(request, NewVersion)
        if asked.pinned:
            doors.demand(visitor, Role.OWNER)
        made = await history.create_version(name, asked.name, pinned=asked.pinned, author=visitor.author)
        return _answer(made, 201)

    @router.get(
        ROOM + "/versions/{version}",
        responses={
            200: {
                "content": DOCUMENT,
                "headers": {
                    "X-Version-Id": header("which version this is"),
                    "X-Version-At": header("when the document was so"),
                },
            },
            **errors(400, 404, 410, 422, *VIEW_FAILURES),
        },
    )
    async def read_version(
        request: Request,
        room: Room,
        version: VersionId,
        format: FormatName = None,  # noqa: A002
        rich: Annotated[bool, Query(description="JSON with formats, embeds and XML trees")] = False,
        _visitor: Visitor = doors.viewer,
    ) -> Response:
        """The document as it was: as JSON, as a Yjs update, or its state vector; `X-Version-At` says when."""
        wanted = wanted_format(format, request)
        found, update = await history.read_version(named(room), version)
        response = await in_format(update, wanted, workers, rich=rich)
        response.headers["X-Version-Id"] = found.id
        response.headers["X-Version-At"] = iso(found.at_ms)
        return response

    @router.patch(
        ROOM + "/versions/{version}",
        response_model=VersionLine,
        openapi_extra=described(VersionChange),
        responses=errors(400, 404, 409, 410, 413, 415, 422),
    )
    async def change_version(
        request: Request, room: Room, version: VersionId, visitor: Visitor = doors.editor
    ) -> Response:
        """Rename a named version; an owner may also pin it, or unpin it."""
        name = named(room)
        asked = await read_json(request, VersionChange)
        if asked.pinned is not None:
            doors.demand(visitor, Role.OWNER)
        return _answer(await history.change_version(name, version, name=asked.name, pinned=asked.pinned))

    @router.delete(ROOM + "/versions/{version}", status_code=204, responses=errors(400, 404, 409, 410, 422))
    async def delete_version(room: Room, version: VersionId, visitor: Visitor = doors.owner) -> Response:
        """Drop a named version. The edits stay in the automatic ones."""
        with doors.recorded(AuditEvent.DELETE, visitor, version=version):
            await history.delete_version(named(room), version)
        return Response(status_code=204)

    @router.get(
        ROOM + "/versions/{version}/changes",
        responses={200: {"content": {JSON: OBJECT}}, **errors(400, 404, 410, 422, *VIEW_FAILURES)},
    )
    async def changes(
        room: Room,
        version: VersionId,
        since: Annotated[
            str | None,
            Query(max_length=40, description=f"a version's id, {PREVIOUS} (as without it), or {START}"),
        ] = None,
        to: Annotated[
            str | None, Query(max_length=40, description=f"in place of since: a version's id, or {CURRENT}")
        ] = None,
        _visitor: Visitor = doors.viewer,
    ) -> Response:
        """What differs: from `since` to this version, or from this version to `to`.

        The version before an automatic one is the automatic one before it; that before a named one is the
        named one before it, or the empty document. `current` is an id too.
        """
        if since is not None and to is not None:
            raise ApiError(422, "invalid_request", "give since or to, not both")
        if to is None:
            found = await history.difference(named(room), since or PREVIOUS, version)
        else:
            found = await history.difference(named(room), version, to)
        return JSONResponse(found)

    @router.post(
        ROOM + "/restore",
        response_model=Restored,
        openapi_extra=described(RestoreRequest),
        responses=errors(400, 404, 410, 413, 415, 422, *VIEW_FAILURES),
    )
    async def restore(request: Request, room: Room, visitor: Visitor = doors.owner) -> Response:
        """Give the document the content of a version, by an edit that everybody sees at once.

        What is written at the same time stays. The answer comes after the commit.
        """
        name = named(room)
        asked = await read_json(request, RestoreRequest)
        at_ms = None if asked.at is None else moment_ms(asked.at)
        with doors.recorded(AuditEvent.RESTORE, visitor, version=asked.version, at_ms=at_ms):
            restored = await history.restore(
                name, version_id=asked.version, at_ms=at_ms, author=visitor.author
            )
        return JSONResponse({"restored": restored})

    return router


def _answer(version: Version, status: int = 200) -> Response:
    return JSONResponse(_line(version).model_dump(mode="json"), status)


def _line(version: Version) -> VersionLine:
    return VersionLine(
        id=version.id,
        kind=Kind.NAMED if version.is_named else Kind.AUTOMATIC,
        name=version.name,
        pinned=version.pinned,
        at=iso(version.at_ms),
        at_ms=version.at_ms,
        since_ms=version.from_ms,
        authors=list(version.authors),
        updates=version.updates_count,
        bytes=version.bytes_total,
    )
