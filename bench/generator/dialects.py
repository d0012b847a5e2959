"""How a room's messages are put into frames, as seen from a client.

One instance belongs to one room. ``read`` gives the kind of a frame and its payload; the others make frames.
Layouts: y-protocols ``sync.js`` and ``awareness.js``; for Hocuspocus its ``OutgoingMessage.ts`` and
``MessageReceiver.ts``, where every frame begins with the document's name.
"""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import quote

from bench.target import Dialect
from collab_server.wire.lib0 import encode_var_bytes, encode_var_string, encode_var_uint, read_var_uint

STEP_1: Final = 0
STEP_2: Final = 1
UPDATE: Final = 2
AWARENESS: Final = 3
WELCOME: Final = 4
"""The server lets us in; only where it is asked."""
REFUSED: Final = 5
OTHER: Final = 6

EMPTY_UPDATE: Final = b"\x00\x00"
EMPTY_STATE_VECTOR: Final = b"\x00"


class RoomDialect(Protocol):
    """The frames of one room."""

    has_server_document: bool
    """Whether the server answers step 1."""
    greets: bool
    """Whether a client must be welcomed before it may speak."""

    def target(self, path: str, query: str) -> str:
        """Path and query of the WebSocket's request."""
        ...

    def hello(self) -> bytes:
        """The first frame of a client that must be welcomed."""
        ...

    def step1(self, state_vector: bytes) -> bytes:
        """Ask for what is not in this state vector."""
        ...

    def step2(self, update: bytes) -> bytes:
        """Answer the server's step 1."""
        ...

    def update(self, update: bytes) -> bytes:
        """An edit."""
        ...

    def awareness(self, payload: bytes) -> bytes:
        """Who is here."""
        ...

    def read(self, frame: bytes) -> tuple[int, bytes]:
        """Kind and payload of a frame; IndexError or MalformedError when it cannot be read."""
        ...


class PlainDialect:
    """y-websocket's own."""

    __slots__ = ("_room", "has_server_document")

    greets = False

    def __init__(self, room: str, *, has_server_document: bool = True) -> None:
        self._room = room
        self.has_server_document = has_server_document

    def target(self, path: str, query: str) -> str:
        """The room is the rest of the path."""
        return f"{path}/{quote(self._room)}" + (f"?{query}" if query else "")

    def hello(self) -> bytes:
        """Never asked for."""
        return b""

    def step1(self, state_vector: bytes) -> bytes:
        """``0, 0, varBytes``."""
        return b"\x00\x00" + encode_var_bytes(state_vector)

    def step2(self, update: bytes) -> bytes:
        """``0, 1, varBytes``."""
        return b"\x00\x01" + encode_var_bytes(update)

    def update(self, update: bytes) -> bytes:
        """``0, 2, varBytes``."""
        return b"".join((b"\x00\x02", encode_var_uint(len(update)), update))

    def awareness(self, payload: bytes) -> bytes:
        """``1, varBytes``."""
        return b"\x01" + encode_var_bytes(payload)

    def read(self, frame: bytes) -> tuple[int, bytes]:
        """The first message of a frame."""
        kind = frame[0]
        if kind == 0:
            step = frame[1]
            length = frame[2]
            if length < 0x80:
                return step, frame[3 : 3 + length]
            length, at = read_var_uint(frame, 2)
            return step, frame[at : at + length]
        if kind == 1:
            length, at = read_var_uint(frame, 1)
            return AWARENESS, frame[at : at + length]
        if kind == 2 and frame[1] == 0:
            return REFUSED, frame[2:]
        return OTHER, b""


class HocuspocusDialect:
    """Every frame names its document; a token is asked for first, though it may be empty."""

    __slots__ = ("_name", "_size")

    has_server_document = True
    greets = True

    def __init__(self, room: str) -> None:
        self._name = encode_var_string(room)
        self._size = len(self._name)

    def target(self, path: str, query: str) -> str:
        """One address for all rooms."""
        return (path or "/") + (f"?{query}" if query else "")

    def hello(self) -> bytes:
        """``Auth``: a token, and the version of the provider, which newer servers want."""
        return self._name + b"\x02\x00" + encode_var_string("bench") + encode_var_string("4.0.0")

    def step1(self, state_vector: bytes) -> bytes:
        """``Sync`` with a step 1."""
        return self._name + b"\x00\x00" + encode_var_bytes(state_vector)

    def step2(self, update: bytes) -> bytes:
        """``Sync`` with a step 2."""
        return self._name + b"\x00\x01" + encode_var_bytes(update)

    def update(self, update: bytes) -> bytes:
        """``Sync`` with an update."""
        return b"".join((self._name, b"\x00\x02", encode_var_uint(len(update)), update))

    def awareness(self, payload: bytes) -> bytes:
        """``Awareness``."""
        return self._name + b"\x01" + encode_var_bytes(payload)

    def read(self, frame: bytes) -> tuple[int, bytes]:
        """``Sync`` (0) and ``SyncReply`` (4), ``Awareness`` (1), ``Auth`` (2)."""
        if len(frame) == 1 or not frame.startswith(self._name):
            return OTHER, b""
        at = self._size
        kind = frame[at]
        if kind in {0, 4}:
            length, start = read_var_uint(frame, at + 2)
            return frame[at + 1], frame[start : start + length]
        if kind == 1:
            length, start = read_var_uint(frame, at + 1)
            return AWARENESS, frame[start : start + length]
        if kind == 2:
            if frame[at + 1] == 2:
                return WELCOME, b""
            return (REFUSED, frame[at + 2 :]) if frame[at + 1] == 1 else (OTHER, b"")
        return OTHER, b""


def dialect_for(dialect: Dialect, room: str) -> RoomDialect:
    """The frames of a room."""
    if dialect is Dialect.HOCUSPOCUS:
        return HocuspocusDialect(room)
    return PlainDialect(room, has_server_document=dialect is Dialect.PLAIN)
