"""The multiplexed framing: many documents on one socket (the Hocuspocus protocol, versions 2 to 4).

Each frame names its document, then a type, then a message: ``varString(address), varUint(type), ...``. What
follows the message is ignored, as in the plain framing. The layouts are those of ueberdosis/hocuspocus:
``packages/server/src/types.ts`` (``MessageType``), ``MessageReceiver.ts`` and ``OutgoingMessage.ts``,
``packages/common/src/auth.ts`` and ``routingKey.ts``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collab_server.errors import MalformedError
from collab_server.wire import sync
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
TYPE_SYNC_REPLY: Final = 4
TYPE_STATELESS: Final = 5
TYPE_BROADCAST_STATELESS: Final = 6
TYPE_CLOSE: Final = 7
TYPE_SYNC_STATUS: Final = 8

AUTH_TOKEN: Final = 0
AUTH_DENIED: Final = 1
AUTH_GRANTED: Final = 2

PING: Final = b"\x09"
"""A whole frame: it names no document."""
PONG: Final = b"\x0a"

SAVED: Final = b"\x01"
"""The payload of a sync status for what is safe."""
NOT_TAKEN: Final = b"\x00"
"""The payload of a sync status for what was refused."""

READ_WRITE: Final = "read-write"
READ_ONLY: Final = "readonly"

ADDRESS_BYTES_MAX: Final = 8 * 1024
"""The longest address that is read. The bound of a room's name is a setting, and below this."""

_SEPARATOR: Final = b"\0"
_VERSION_BYTES_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Token:
    """Let me in, or go on with this token. ``version`` is the provider's; the ones before 4 do not tell."""

    token: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ReplyStep1:
    """A step 1 that was itself an answer: it asks for no step 1 in return."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class Stateless:
    """A message for the others that no document keeps."""

    payload: str


@dataclass(frozen=True, slots=True)
class Close:
    """I leave this document; the socket stays."""


Message = (
    sync.SyncStep1
    | sync.SyncStep2
    | sync.Update
    | sync.Awareness
    | sync.QueryAwareness
    | Token
    | ReplyStep1
    | Stateless
    | Close
)


def read_address(frame: bytes) -> tuple[bytes, int]:
    """The address that a frame begins with, as UTF-8 that is not checked, and where its type stands.

    Raises:
        MalformedError: There is none, or it is longer than ``ADDRESS_BYTES_MAX``.
    """
    return read_var_bytes(frame, 0, ADDRESS_BYTES_MAX)


def room_bytes(address: bytes) -> bytes:
    """The room of an address: what stands before the session that a session-aware provider adds."""
    return address.partition(_SEPARATOR)[0]


def session_bytes(address: bytes) -> bytes:
    """The session that an address names beside the room, as only version 4 and later do; else empty."""
    return address.partition(_SEPARATOR)[2]


def decode(frame: bytes, at: int) -> Message:
    """Decode the message of a frame, whose type stands at ``at``.

    Raises:
        MalformedError: It ends early, is of an unknown type or kind, or of one that only servers send.
    """
    kind, at = read_var_uint(frame, at)
    if kind in (TYPE_SYNC, TYPE_SYNC_REPLY):
        return _decode_sync(frame, at, is_reply=kind == TYPE_SYNC_REPLY)
    if kind == TYPE_AWARENESS:
        return sync.Awareness(read_var_bytes(frame, at)[0])
    if kind == TYPE_AUTH:
        return _decode_auth(frame, at)
    if kind == TYPE_QUERY_AWARENESS:
        return sync.QueryAwareness()
    if kind == TYPE_STATELESS:
        return Stateless(read_var_string(frame, at)[0])
    if kind == TYPE_CLOSE:
        return Close()
    if kind in (TYPE_BROADCAST_STATELESS, TYPE_SYNC_STATUS):
        raise MalformedError(f"message type {kind} is sent by servers only")
    raise MalformedError(f"unknown message type {kind}")


def _decode_sync(frame: bytes, at: int, *, is_reply: bool) -> Message:
    step, at = read_var_uint(frame, at)
    payload, _ = read_var_bytes(frame, at)
    if step == sync.SYNC_UPDATE:
        return sync.Update(payload)
    if step == sync.SYNC_STEP_2:
        return sync.SyncStep2(payload)
    if step == sync.SYNC_STEP_1:
        return ReplyStep1(payload) if is_reply else sync.SyncStep1(payload)
    raise MalformedError("unknown sync message")


def _decode_auth(frame: bytes, at: int) -> Token:
    kind, at = read_var_uint(frame, at)
    if kind != AUTH_TOKEN:
        raise MalformedError("a client's auth message holds a token")
    token, at = read_var_string(frame, at)
    version = read_var_string(frame, at, _VERSION_BYTES_MAX)[0] if at < len(frame) else None
    return Token(token, version)


class AddressedFraming:
    """The framing for one address. Those of one address make equal frames and have equal keys."""

    __slots__ = ("_prefix",)

    def __init__(self, address: bytes) -> None:
        self._prefix = encode_var_bytes(address)

    @property
    def key(self) -> object:
        """Equal for equal addresses; no other framing's key is bytes."""
        return self._prefix

    def step1(self, state_vector: bytes) -> Frame:
        """``0, 0, varBytes``."""
        return Frame(b"".join((self._prefix, b"\x00\x00", encode_var_bytes(state_vector))))

    def step2(self, update: bytes) -> Frame:
        """``0, 1, varBytes``."""
        return Frame(b"".join((self._prefix, b"\x00\x01", encode_var_uint(len(update)), update)))

    def update(self, update: bytes) -> Frame:
        """``0, 2, varBytes``."""
        return Frame(b"".join((self._prefix, b"\x00\x02", encode_var_uint(len(update)), update)))

    def awareness(self, payload: bytes) -> Frame:
        """``1, varBytes``."""
        return Frame(b"".join((self._prefix, b"\x01", encode_var_bytes(payload))))

    def sync_status(self, payload: bytes) -> Frame:
        """``8, varUint``: ``payload`` is ``SAVED`` or ``NOT_TAKEN``."""
        return Frame(b"".join((self._prefix, b"\x08", payload)))

    def permission_denied(self, reason: str) -> Frame:
        """``2, 1, varString``."""
        return Frame(b"".join((self._prefix, b"\x02\x01", encode_var_string(reason))))

    def stateless(self, payload: str) -> Frame:
        """``5, varString``."""
        return Frame(b"".join((self._prefix, b"\x05", encode_var_string(payload))))

    def token_wanted(self) -> Frame:
        """``2, 0``: send me a token. Versions before 3 ignore it."""
        return Frame(self._prefix + b"\x02\x00")

    def welcome(self, *, can_write: bool) -> Frame:
        """``2, 2, varString``: you are in, and may write or only read."""
        scope = encode_var_string(READ_WRITE if can_write else READ_ONLY)
        return Frame(b"".join((self._prefix, b"\x02\x02", scope)))

    def close(self, reason: str) -> Frame:
        """``7, varString``: this document is closed for you. Providers before 3 throw at it."""
        return Frame(b"".join((self._prefix, b"\x07", encode_var_string(reason))))
