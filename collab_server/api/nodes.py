"""What a node tells of itself on the operations port: rooms, sessions, peers, how far it is behind.

For whoever runs the server. It names users and addresses: keep the port inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict

from collab_server.api.errors import ApiError, errors
from collab_server.api.rooms import room_of
from collab_server.api.schema import room_in_path

PAGE_MAX = 1000
ROOMS = "/v1/rooms"
ROOM_NAME_BYTES_MAX = 4096

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="entries of one page")]


class _Body(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)


class NodeBody(_Body):
    """A node, and one life of it."""

    name: str
    incarnation: int
    """Grows with each life of a node of this name."""


class StandingBody(NodeBody):
    """How this node is."""

    version: str
    uptime_s: float
    rooms: int
    sessions: int
    """Stays of clients in rooms; one connection may have several."""
    connections: int
    is_shared: bool
    """Whether it is connected with other nodes."""
    bus_trouble: str | None
    """Why the others may not hear it; null while they do."""


class PeersBody(_Body):
    """The nodes that share rooms, as this one knows them."""

    node: NodeBody
    peers: Sequence[NodeBody]
    """The others, by name."""


class ShardBody(_Body):
    """How far this node's reading of one shard of the bus is behind."""

    shard: int
    delay_ms: float
    """How old the newest entry was when it was read."""
    entries_behind: int
    """Entries that are not read yet."""


class LagBody(_Body):
    """All shards that this node reads, by number: those of its rooms."""

    shards: Sequence[ShardBody]


class RoomBody(_Body):
    """A room that is open on this node."""

    room: str
    members: int
    """Of this node."""
    slow_members: int
    """Those of them who wait for their connection."""
    bytes: int
    """Of the document as it is held in memory."""
    pending_bytes: int
    """Of updates whose earlier parts are missing."""
    unsaved_bytes: int
    """Of edits that wait for the store."""
    is_saved: bool
    """Whether everything that clients wrote here is committed."""
    shard: int | None
    """Of the bus; null without one."""
    opened_at_ms: int
    """Milliseconds since 1970."""


class RoomsBody(_Body):
    """A page of rooms by name."""

    rooms: Sequence[RoomBody]
    next: str | None
    """The ``after`` of the next page; null after the last one."""


class SessionBody(_Body):
    """A client's stay in a room on this node."""

    id: str
    room: str
    user: str | None
    """The ``sub`` of its token; null for the anonymous."""
    session: str | None
    """The ``sid`` or ``jti`` of its token."""
    tenant: str | None
    role: str
    address: str | None
    dialect: str
    since_ms: int
    """Milliseconds since 1970."""


class SessionsBody(_Body):
    """Sessions, those of the longest stay first."""

    sessions: Sequence[SessionBody]
    total: int
    """How many there are, with those that are not shown."""


class Inspection(Protocol):
    """Answers for a node. Called on the event loop; must not wait."""

    def standing(self) -> StandingBody:
        """How this node is."""
        ...

    def peers(self) -> PeersBody:
        """Which other nodes it knows."""
        ...

    def lag(self) -> LagBody:
        """How far it is behind the others."""
        ...

    def rooms(self, after: str, prefix: str, limit: int) -> RoomsBody:
        """The open rooms by name, from the name after ``after`` on."""
        ...

    def room(self, name: str) -> RoomBody | None:
        """One open room."""
        ...

    def sessions(self, room: str | None, user: str | None, limit: int) -> SessionsBody:
        """The sessions, perhaps of one room, or of one user."""
        ...


def nodes_router(inspection: Inspection) -> APIRouter:
    """The routes under ``/v1`` of the operations port."""
    router = APIRouter()

    @router.get("/v1/node")
    async def node() -> StandingBody:
        """How this node is."""
        return inspection.standing()

    @router.get("/v1/nodes")
    async def nodes() -> PeersBody:
        """This node, and the others as it knows them."""
        return inspection.peers()

    @router.get("/v1/lag")
    async def lag() -> LagBody:
        """How far this node is behind, on each shard of the bus that it reads."""
        return inspection.lag()

    @router.get(ROOMS, responses=errors(422))
    async def rooms(
        after: Annotated[str, Query(description="the last name of the page before")] = "",
        prefix: Annotated[str, Query(description="names that begin so")] = "",
        limit: Limit = 100,
    ) -> RoomsBody:
        """The rooms that are open on this node, by name."""
        return inspection.rooms(after, prefix, limit)

    @router.get(
        ROOMS + "/{room:path}",
        openapi_extra=room_in_path("the room's name: all the rest of the path, slashes included"),
        responses=errors(400, 404),
    )
    async def room(request: Request) -> RoomBody:
        """One room that is open on this node. Its name is the rest of the path."""
        name = room_of(request, ROOMS + "/", ROOM_NAME_BYTES_MAX)
        found = inspection.room(name)
        if found is None:
            raise ApiError(404, "unknown_room", f"the room {name!r} is not open on this node")
        return found

    @router.get("/v1/sessions", responses=errors(422))
    async def sessions(
        room: Annotated[str | None, Query(description="only those in this room")] = None,
        user: Annotated[str | None, Query(description="only those of this user")] = None,
        limit: Limit = 100,
    ) -> SessionsBody:
        """Who is on this node."""
        return inspection.sessions(room, user, limit)

    return router
