"""A room's name in an HTTP path, as in a WebSocket's path: percent-decoded UTF-8.

``/v1/documents/{room}`` takes the rest of the path, slashes included. What belongs to a document
(``/v1/documents/{room}/versions`` ...) takes the room as one segment of the path, in which a slash is
written %2F; so such a path is told from a room's name by how it was written, before it is decoded.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Path
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import Match

from collab_server.api.errors import ApiError

PREFIX = "/v1/documents"
ROOM = PREFIX + "/{room}"
Room = Annotated[str, Path(description="the room's name as one segment: a slash in it is written %2F")]

_PART = re.compile(
    PREFIX + r"/[^/]+/(?:versions(?:/[^/]+(?:/changes)?)?|restore|archive|revive|presence|stateless)"
)


class PartRoute(APIRoute):
    """The route of something that belongs to a document: its path is compared as it was written."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """See Starlette; ``room`` is then a segment as it was written, for ``room_in``."""
        return super().matches({**scope, "path": _written(scope)})


class WholeRoute(APIRoute):
    """A route whose room is the rest of the path, unless that is the path of a ``PartRoute``."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """See Starlette."""
        return (Match.NONE, {}) if _PART.fullmatch(_written(scope)) else super().matches(scope)


def room_of(request: Request, prefix: str, name_bytes_max: int) -> str:
    """The room that the request's path names after ``prefix``.

    The path is taken as it came: the server's own decoding would hide bytes that are not UTF-8.

    Raises:
        ApiError: 400 for a name that is empty, too long, not UTF-8, or has a NUL character.
    """
    return room_in(_written(request.scope)[len(prefix) :], name_bytes_max)


def room_of_route(request: Request, name_bytes_max: int) -> str:
    """The room that a request is about, as the route reads it that it goes to.

    Raises:
        ApiError: 400 for a name that is empty, too long, not UTF-8, or has a NUL character.
    """
    if isinstance(request.scope["route"], PartRoute):
        return room_in(request.path_params["room"], name_bytes_max)
    return room_of(request, PREFIX + "/", name_bytes_max)


def room_in(written: str, name_bytes_max: int) -> str:
    """The room that is written so in a path.

    Raises:
        ApiError: 400 for a name that is empty, too long, not UTF-8, or has a NUL character.
    """
    name = unquote_to_bytes(written.encode("latin-1"))
    if not name:
        raise ApiError(400, "bad_room", "the room's name is missing")
    if len(name) > name_bytes_max:
        raise ApiError(
            400, "bad_room", f"the room's name is {len(name)} bytes long, at most {name_bytes_max}"
        )
    if b"\0" in name:
        raise ApiError(400, "bad_room", "a room's name has no NUL character")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, "bad_room", "the room's name is not UTF-8") from None


def _written(scope: Any) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0].decode("latin-1")
