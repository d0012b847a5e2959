"""The messages of a Yjs connection, and the plain y-websocket framing of them.

A frame is one binary WebSocket message and holds one message: what follows it is ignored, as the reference
does (y-websocket ``readMessage`` reads one type and leaves the rest of the decoder). The layouts are
those of y-protocols ``sync.js``, ``awareness.js`` and ``auth.js``; 102 is y-sweet's.

``Framing`` is the seam for another dialect: it turns the same messages into frames of its own. What it is
given is validated already, so encoding never fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from collab_server.errors import MalformedError
from collab_server.wire.frame import Frame
from collab_server.wire.lib0 import (
    encode_var_bytes,
    encode_var_string,
    encode_var_uint,
    read_var_bytes,
    read_var_string,
    read_var_uint,
)

TYPE_SYNC: Final = 0
TYPE_AWARENESS: Final = 1
TYPE_AUTH: Final = 2
TYPE_QUERY_AWARENESS: Final = 3
TYPE_SYNC_STATUS: Final = 102

SYNC_STEP_1: Final = 0
SYNC_STEP_2: Final = 1
SYNC_UPDATE: Final = 2

_EDIT: Final = bytes((TYPE_SYNC, SYNC_UPDATE))
"""How nearly every frame begins."""

AUTH_DENIED: Final = 0
AUTH_GRANTED: Final = 1


@dataclass(frozen=True, slots=True)
class SyncStep1:
    """This is what I have; send me the rest."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class SyncStep2:
    """The rest that was asked for."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """An edit."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Awareness:
    """Who is here; ``payload`` is decoded by ``wire.awareness``."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class QueryAwareness:
    """Tell me who is here. y-sweet's client appends a payload, which is ignored."""


@dataclass(frozen=True, slots=True)
class Auth:
    """Whether the server lets the client in; ``reason`` is given with a denial only."""

    granted: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """Send this payload back when everything that I sent before it is safe."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a type that this server does not know. The reference ignores it."""

    type: int


Message = SyncStep1 | SyncStep2 | Update | Awareness | QueryAwareness | Auth | SyncStatus | Unknown


def decode(frame: bytes) -> Message:
    """Decode the first message of a frame in the plain dialect.

    Raises:
        MalformedError: The frame is empty, ends inside its message, or holds a sync message of an unknown
            kind (y-protocols ``readSyncMessage`` throws there too).
    """
    if frame.startswith(_EDIT):
        return Update(read_var_bytes(frame, len(_EDIT))[0])
    kind, at = read_var_uint(frame, 0)
    if kind == TYPE_SYNC:
        return _decode_sync(frame, at)
    if kind == TYPE_AWARENESS:
        return Awareness(read_var_bytes(frame, at)[0])
    if kind == TYPE_QUERY_AWARENESS:
        return QueryAwareness()
    if kind == TYPE_SYNC_STATUS:
        return SyncStatus(read_var_bytes(frame, at)[0])
    if kind == TYPE_AUTH:
        return _decode_auth(frame, at)
    return Unknown(kind)


def _decode_sync(frame: bytes, at: int) -> Message:
    step, at = read_var_uint(frame, at)
    payload, _ = read_var_bytes(frame, at)
    if step == SYNC_UPDATE:
        return Update(payload)
    if step == SYNC_STEP_2:
        return SyncStep2(payload)
    if step == SYNC_STEP_1:
        return SyncStep1(payload)
    raise MalformedError("unknown sync message")


def _decode_auth(frame: bytes, at: int) -> Message:
    permission, at = read_var_uint(frame, at)
    if permission == AUTH_DENIED:
        return Auth(granted=False, reason=read_var_string(frame, at)[0])
    if permission == AUTH_GRANTED:  # yrs only; it carries nothing
        return Auth(granted=True)
    return Unknown(TYPE_AUTH)


class Framing(Protocol):
    """How the messages of one member are put into frames.

    Members whose framings have equal ``key`` get the very same ``Frame`` objects, so a framing that
    addresses a single session must have a key of its own.
    """

    @property
    def key(self) -> object:
        """Equal for framings that produce equal frames; hashable."""
        ...

    def step1(self, state_vector: bytes) -> Frame:
        """Frame the server's own question for what the client has."""
        ...

    def step2(self, update: bytes) -> Frame:
        """Frame the answer to the client's step 1."""
        ...

    def update(self, update: bytes) -> Frame:
        """Frame an edit."""
        ...

    def awareness(self, payload: bytes) -> Frame:
        """Frame an awareness payload (``wire.awareness``)."""
        ...

    def sync_status(self, payload: bytes) -> Frame:
        """Frame the acknowledgement that carries back what the client sent."""
        ...

    def permission_denied(self, reason: str) -> Frame:
        """Frame the refusal of a client, or of what it sent."""
        ...

    def stateless(self, payload: str) -> Frame | None:
        """Frame a message that no document keeps; None where the dialect has no such thing."""
        ...


class PlainFraming:
    """The y-websocket framing. It has no state: use ``PLAIN``."""

    __slots__ = ()

    @property
    def key(self) -> object:
        """One key for all plain connections."""
        return "plain"

    def step1(self, state_vector: bytes) -> Frame:
        """``0, 0, varBytes``."""
        return Frame(b"\x00\x00" + encode_var_bytes(state_vector))

    def step2(self, update: bytes) -> Frame:
        """``0, 1, varBytes``."""
        return Frame(b"".join((b"\x00\x01", encode_var_uint(len(update)), update)))

    def update(self, update: bytes) -> Frame:
        """``0, 2, varBytes``."""
        return Frame(b"".join((b"\x00\x02", encode_var_uint(len(update)), update)))

    def awareness(self, payload: bytes) -> Frame:
        """``1, varBytes``."""
        return Frame(b"\x01" + encode_var_bytes(payload))

    def sync_status(self, payload: bytes) -> Frame:
        """``102, varBytes``."""
        return Frame(b"\x66" + encode_var_bytes(payload))

    def permission_denied(self, reason: str) -> Frame:
        """``2, 0, varString``."""
        return Frame(b"\x02\x00" + encode_var_string(reason))

    def stateless(self, payload: str) -> None:
        """There is no such message."""


PLAIN: Final = PlainFraming()
