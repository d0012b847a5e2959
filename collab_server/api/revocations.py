"""Taking access back before its time, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, Self

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from collab_server.api.access import Doors, Visitor
from collab_server.api.bodies import read_json
from collab_server.api.errors import errors
from collab_server.api.schema import described, some_of
from collab_server.api.times import iso
from collab_server.telemetry.audit import AuditEvent
from persistence.base import Revocation

PREFIX = "/v1/access"
PAGE_MAX = 1000
_NAME_MAX = 1024
_ID_MAX = 2**63 - 1


class Revoking(Protocol):
    """What the API needs of ``hosting.revoking``."""

    async def revoke(self, user: str | None, session: str | None, room: str | None) -> Revocation:
        """Make void what was issued until now."""
        ...

    async def list(self, after: int, limit: int) -> Sequence[Revocation]:
        """The revocations with an id above ``after``."""
        ...


Name = Annotated[str, Field(min_length=1, max_length=_NAME_MAX)]


class RevokeRequest(BaseModel):
    """Whose access ends: that of a user, of a session, to a room, or what those given have in common."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra=some_of("user", "session", "room")
    )

    user: Name | None = None
    """The `sub` of the tokens."""
    session: Name | None = None
    """The `sid`, or else the `jti`."""
    room: Name | None = None

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.user is None and self.session is None and self.room is None:
            raise ValueError("give a user, a session or a room, or several of them")
        return self


class RevocationLine(BaseModel):
    """A revocation. It concerns tokens that were issued until `at`."""

    id: int
    user: str | None
    session: str | None
    room: str | None
    at: str
    at_ms: int
    until: str
    """When it is forgotten: no token may live longer."""
    until_ms: int


class RevocationList(BaseModel):
    """A page of revocations, oldest first."""

    revocations: list[RevocationLine]
    next: int | None
    """The `after` of the next page; null on the last one."""


def revocations_router(revoking: Revoking, doors: Doors) -> APIRouter:
    """The routes under ``/v1/access``. They take an owner of every room, or the ``admin_token``."""
    router = APIRouter()

    @router.post(
        PREFIX + "/revoke",
        response_model=RevocationLine,
        openapi_extra=described(RevokeRequest),
        responses=errors(400, 413, 415, 422),
    )
    async def revoke(request: Request, visitor: Visitor = doors.everywhere) -> Response:
        """Make void all tokens of a user, of a session, or for a room, that were issued until now.

        With several of them, what they have in common: a user in a room. Sessions that this concerns are
        closed with 4401 on every node within two seconds. Who gets a new token may come back.
        """
        asked = await read_json(request, RevokeRequest)
        fields = {"user": asked.user, "session": asked.session, "room": asked.room}
        with doors.recorded(AuditEvent.REVOCATION, visitor, **fields):
            made = await revoking.revoke(**fields)
        return JSONResponse(_shown(made))

    @router.get(PREFIX + "/revocations", response_model=RevocationList, responses=errors(422))
    async def list_revocations(
        after: Annotated[int, Query(ge=0, le=_ID_MAX, description="`next` of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
        _visitor: Visitor = doors.everywhere,
    ) -> Response:
        """The revocations that hold, oldest first, a page at a time."""
        page = await revoking.list(after, limit)
        following = page[-1].id if len(page) == limit else None
        return JSONResponse({"revocations": [_shown(one) for one in page], "next": following})

    return router


def _shown(revocation: Revocation) -> dict[str, Any]:
    line = RevocationLine(
        id=revocation.id,
        user=revocation.user,
        session=revocation.session,
        room=revocation.room,
        at=iso(revocation.at_ms),
        at_ms=revocation.at_ms,
        until=iso(revocation.until_ms),
        until_ms=revocation.until_ms,
    )
    return line.model_dump(mode="json")
