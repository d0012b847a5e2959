"""Who is in a room, on whichever node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from collab_server.api.access import Doors, Visitor
from collab_server.api.errors import errors
from collab_server.api.rooms import ROOM, PartRoute, Room, room_in


class Seen(Protocol):
    """A client that is in a room."""

    @property
    def client(self) -> int:
        """Its Yjs client id."""
        ...

    @property
    def state(self) -> str:
        """What it says of itself: JSON."""
        ...

    @property
    def node(self) -> str:
        """The node that it is connected to."""
        ...


class Presence(Protocol):
    """Knows who is where."""

    async def here(self, room: str) -> Sequence[Seen]:
        """The clients that are in a room now, on any node. Raises BusyError when too many ask."""
        ...


class ClientBody(BaseModel):
    """A client that is in the room."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    client: int
    """Its Yjs client id."""
    node: str
    """The node that it is connected to; empty where that is not known."""
    state: Any
    """Its awareness state; null where that is no JSON."""


class PresenceBody(BaseModel):
    """Who is in a room."""

    room: str
    clients: list[ClientBody]


def presence_router(presence: Presence, name_bytes_max: int, doors: Doors) -> APIRouter:
    """The route ``/v1/documents/{room}/presence``."""
    router = APIRouter(route_class=PartRoute)

    @router.get(ROOM + "/presence", response_model=PresenceBody, responses=errors(400), name="read presence")
    async def read(room: Room, _visitor: Visitor = doors.viewer) -> Response:
        """Who is in a room now, on all nodes: the awareness states of its clients, by client id.

        Users who are invisible are not told, nor is anybody in a room that does not exist.
        """
        name = room_in(room, name_bytes_max)
        clients = ",".join(
            f'{{"client":{seen.client},"node":{json.dumps(seen.node)},"state":{_checked(seen.state)}}}'
            for seen in await presence.here(name)
        )
        return Response(f'{{"room":{json.dumps(name)},"clients":[{clients}]}}', media_type="application/json")

    return router


def _checked(state: str) -> str:
    """The state as it was said, if that is JSON: to decode and encode it would lose what Python has not."""
    try:
        json.loads(state, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "null"
    return state


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
