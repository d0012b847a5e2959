"""The multiplexed dialect's frames, by hand: tests must not share a fault with the code under test."""

from __future__ import annotations

from typing import NamedTuple

from tests.support import frames
from tests.support.frames import var_string, var_uint


class Told(NamedTuple):
    """A frame of the server: its address, a name for its kind, and what it carries."""

    address: str
    kind: str
    value: object = None


def message(address: str, kind: int, body: bytes = b"") -> bytes:
    """Any message under an address."""
    return var_string(address) + var_uint(kind) + body


def auth(address: str, token: str = "", version: str | None = None) -> bytes:
    """A token; only providers from version 4 on tell their version."""
    return message(address, 2, b"\x00" + var_string(token) + (var_string(version) if version else b""))


def step1(address: str, state_vector: bytes = b"\x00") -> bytes:
    return message(address, 0, frames.step1(state_vector)[1:])


def reply_step1(address: str, state_vector: bytes = b"\x00") -> bytes:
    return message(address, 4, frames.step1(state_vector)[1:])


def step2(address: str, update: bytes) -> bytes:
    return message(address, 0, frames.step2(update)[1:])


def update(address: str, data: bytes) -> bytes:
    return message(address, 0, frames.update(data)[1:])


def awareness(address: str, *entries: tuple[int, int, object]) -> bytes:
    return message(address, 1, frames.awareness(entries)[1:])


def query_awareness(address: str) -> bytes:
    return message(address, 3)


def stateless(address: str, payload: str) -> bytes:
    return message(address, 5, var_string(payload))


def close(address: str) -> bytes:
    return message(address, 7)


def told(data: bytes) -> Told:
    """Read a frame of the server; AssertionError for what it must not send."""
    if len(data) == 1:
        return Told("", {9: "ping", 10: "pong"}[data[0]])
    raw, at = _bytes(data, 0)
    address = raw.decode()
    kind, rest = data[at], data[at + 1 :]
    match kind:
        case 0:
            return Told(address, ("step1", "step2", "update")[rest[0]], _whole(rest[1:]))
        case 1:
            return Told(address, "awareness", _whole(rest))
        case 2 if rest == b"\x00":
            return Told(address, "token wanted")
        case 2:
            return Told(address, {1: "denied", 2: "welcome"}[rest[0]], _whole(rest[1:]).decode())
        case 5:
            return Told(address, "stateless", _whole(rest).decode())
        case 7:
            return Told(address, "close", _whole(rest).decode())
        case 8:
            assert len(rest) == 1
            return Told(address, "status", rest[0])
    raise AssertionError(f"the server sent a message of type {kind}")


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size = shift = 0
    while True:
        byte = data[at]
        at += 1
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return data[at : at + size], at + size


def _whole(data: bytes) -> bytes:
    value, at = _bytes(data, 0)
    assert at == len(data), "bytes left over"
    return value
