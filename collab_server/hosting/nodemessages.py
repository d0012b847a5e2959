"""What nodes say to each other of a room: values to bytes and back. Pure.

All numbers are var-uints, all bytes and strings have their length before them (lib0). What a newer version
adds comes at the end, and is ignored.

| kind | layout |
|---|---|
| ``UPDATE`` | sequence, stored, update (to the end) |
| ``STORED`` | stored |
| ``SYNC_REQUEST`` | flags, state vector, digest of the delete set |
| ``SYNC_ANSWER`` | flags, state vector, update (to the end) |
| ``AWARENESS`` | an awareness payload |
| ``STATELESS`` | whatever the gateway made of it |
| ``PRESENCE_REQUEST`` | question |
| ``PRESENCE_ANSWER`` | question, count, then for each client: id, clock, state, node |
| ``DELETED`` | nothing |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collab_server.wire.lib0 import (
    encode_var_bytes,
    encode_var_string,
    encode_var_uint,
    read_var_bytes,
    read_var_string,
    read_var_uint,
)
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.statevector import StateVector, decode_state_vector, encode_state_vector

_URGENT = 1
_HAS_DELETES = 1


@dataclass(frozen=True, slots=True)
class Published:
    """An edit, under the number that the sender's journal gave it."""

    sequence: int
    stored: int
    """The sender's edits of this room are stored up to this number."""
    update: bytes

    def encode(self) -> bytes:
        """As bytes."""
        return encode_var_uint(self.sequence) + encode_var_uint(self.stored) + self.update

    @classmethod
    def decode(cls, data: bytes) -> Published:
        """Raises MalformedError."""
        sequence, at = read_var_uint(data, 0)
        stored, at = read_var_uint(data, at)
        return cls(sequence, stored, data[at:])


def encode_stored(sequence: int) -> bytes:
    """How far the sender's edits are stored."""
    return encode_var_uint(sequence)


def decode_stored(data: bytes) -> int:
    """Raises MalformedError."""
    return read_var_uint(data, 0)[0]


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What the sender has."""

    vector: StateVector
    deletes_digest: bytes
    urgent: bool = True
    """Whether it knows that it may lack something, and who is here: it has just opened the room, or lost
    messages. Otherwise it only makes sure."""

    def encode(self) -> bytes:
        """As bytes."""
        return (
            encode_var_uint(_URGENT if self.urgent else 0)
            + encode_var_bytes(encode_state_vector(self.vector))
            + encode_var_bytes(self.deletes_digest)
        )

    @classmethod
    def decode(cls, data: bytes) -> SyncRequest:
        """Raises MalformedError."""
        flags, at = read_var_uint(data, 0)
        vector, at = read_var_bytes(data, at)
        digest, _ = read_var_bytes(data, at)
        return cls(decode_state_vector(vector, UNBOUNDED), digest, bool(flags & _URGENT))


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """What somebody lacked, and what the sender has itself, so that it can be told what it lacks."""

    vector: StateVector
    update: bytes
    has_deletes: bool
    """Whether ``update`` has all deletions that the sender knows of, or none."""

    def encode(self) -> bytes:
        """As bytes."""
        return (
            encode_var_uint(_HAS_DELETES if self.has_deletes else 0)
            + encode_var_bytes(encode_state_vector(self.vector))
            + self.update
        )

    @classmethod
    def decode(cls, data: bytes) -> SyncAnswer:
        """Raises MalformedError."""
        flags, at = read_var_uint(data, 0)
        vector, at = read_var_bytes(data, at)
        return cls(decode_state_vector(vector, UNBOUNDED), data[at:], bool(flags & _HAS_DELETES))


@dataclass(frozen=True, slots=True)
class Seen:
    """A client that is in a room, on whichever node."""

    client: int
    clock: int
    state: str
    """JSON text, as the client sent it."""
    node: str
    """The name of the node that it is connected to, as far as is known; else empty."""


def encode_presence(question: int, seen: Sequence[Seen]) -> bytes:
    """An answer to a presence request."""
    parts = [encode_var_uint(question), encode_var_uint(len(seen))]
    for one in seen:
        parts += [encode_var_uint(one.client), encode_var_uint(one.clock)]
        parts += [encode_var_string(one.state), encode_var_string(one.node)]
    return b"".join(parts)


def decode_presence(data: bytes) -> tuple[int, list[Seen]]:
    """The question, and who is here. Raises MalformedError."""
    question, at = read_var_uint(data, 0)
    count, at = read_var_uint(data, at)
    seen = []
    for _ in range(count):
        client, at = read_var_uint(data, at)
        clock, at = read_var_uint(data, at)
        state, at = read_var_string(data, at)
        node, at = read_var_string(data, at)
        seen.append(Seen(client, clock, state, node))
    return question, seen
