"""A room's name in an HTTP path: everything after the prefix, percent-decoded, as in a WebSocket's path."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from collab_server.api.errors import ApiError


def room_of(request: Request, prefix: str, name_bytes_max: int) -> str:
    """The room that the request's path names after ``prefix``.

    The path is taken as it came: the server's own decoding would hide bytes that are not UTF-8.

    Raises:
        ApiError: 400 for a name that is empty, too long, or not UTF-8.
    """
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    name = unquote_to_bytes(raw.partition(b"?")[0][len(prefix) :])
    if not name:
        raise ApiError(400, "bad_room", "the room's name is missing")
    if len(name) > name_bytes_max:
        raise ApiError(
            400, "bad_room", f"the room's name is {len(name)} bytes long, at most {name_bytes_max}"
        )
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, "bad_room", "the room's name is not UTF-8") from None
