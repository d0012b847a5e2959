"""Which dialect a request is for, and which room it names."""

from __future__ import annotations

import sys
from typing import Final
from urllib.parse import unquote_to_bytes

from collab_server.errors import MalformedError

MULTIPLEXED_PATHS: Final = frozenset({"/", "/hocuspocus", "/hocuspocus/"})


def is_multiplexed(path: str) -> bool:
    """Whether a request path, with or without a query, is one where the multiplexed dialect is spoken."""
    return path.partition("?")[0] in MULTIPLEXED_PATHS


def room_of_path(path: str, bytes_max: int) -> str:
    """The room that a request path names: everything after the first slash, percent-decoded.

    Raises MalformedError for an empty name, one over ``bytes_max``, invalid UTF-8, or a NUL character.
    """
    raw = unquote_to_bytes(path.partition("?")[0].removeprefix("/"))
    if not raw:
        raise MalformedError("the path names no room")
    return room_name(raw, bytes_max)


def room_name(raw: bytes, bytes_max: int) -> str:
    """Check a room's name. Raises MalformedError as ``room_of_path`` does."""
    if not raw:
        raise MalformedError("a room's name is not empty")
    if len(raw) > bytes_max:
        raise MalformedError(f"a room's name has at most {bytes_max} bytes")
    try:
        name = raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a room's name is UTF-8") from error
    if "\0" in name:
        raise MalformedError("a room's name has no NUL character")
    return sys.intern(name)  # everybody in a room shares one
