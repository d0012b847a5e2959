"""The plain dialect's frames, encoded by hand: tests must not share a fault with the code under test."""

from __future__ import annotations

import json
from collections.abc import Iterable


def var_uint(number: int) -> bytes:
    """lib0's varUint: groups of seven bits, the lowest first."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def var_bytes(data: bytes) -> bytes:
    """A varUint length, and the bytes."""
    return var_uint(len(data)) + data


def var_string(text: str) -> bytes:
    """A varUint length in bytes, and UTF-8."""
    return var_bytes(text.encode())


def step1(state_vector: bytes = b"\x00") -> bytes:
    """Sync step 1; without an argument that of an empty document."""
    return b"\x00\x00" + var_bytes(state_vector)


def step2(update: bytes) -> bytes:
    """Sync step 2."""
    return b"\x00\x01" + var_bytes(update)


def update(data: bytes) -> bytes:
    """An update."""
    return b"\x00\x02" + var_bytes(data)


def awareness(entries: Iterable[tuple[int, int, object]]) -> bytes:
    """Awareness of (client, clock, state); a state is encoded here as JSON, None says that it is gone."""
    return raw_awareness((client, clock, json.dumps(state)) for client, clock, state in entries)


def raw_awareness(entries: Iterable[tuple[int, int, str]]) -> bytes:
    """Awareness whose states are texts as they are."""
    listed = list(entries)
    body = b"".join(var_uint(client) + var_uint(clock) + var_string(text) for client, clock, text in listed)
    return b"\x01" + var_bytes(var_uint(len(listed)) + body)


def sync_status(payload: bytes) -> bytes:
    """The question whether everything sent before is saved; the server's answer looks the same."""
    return var_uint(102) + var_bytes(payload)


def state_vector(clocks: Iterable[tuple[int, int]]) -> bytes:
    """A state vector of (client, clock)."""
    listed = list(clocks)
    return var_uint(len(listed)) + b"".join(var_uint(client) + var_uint(clock) for client, clock in listed)


QUERY_AWARENESS = b"\x03"


def read_var_uint(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and where it ends; for frames that the server made."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
        shift += 7


def read_var_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """The bytes at ``at`` and where they end."""
    length, at = read_var_uint(data, at)
    assert at + length <= len(data), "the server sent a truncated frame"
    return data[at : at + length], at + length


def read_awareness(frame: bytes) -> dict[int, tuple[int, object]]:
    """Clock and state by client of an awareness frame."""
    assert frame[0] == 1
    payload, _ = read_var_bytes(frame, 1)
    count, at = read_var_uint(payload, 0)
    found: dict[int, tuple[int, object]] = {}
    for _ in range(count):
        client, at = read_var_uint(payload, at)
        clock, at = read_var_uint(payload, at)
        text, at = read_var_bytes(payload, at)
        found[client] = (clock, json.loads(text))
    return found


def read_state_vector(data: bytes) -> dict[int, int]:
    """Clock by client."""
    count, at = read_var_uint(data, 0)
    found: dict[int, int] = {}
    for _ in range(count):
        client, at = read_var_uint(data, at)
        found[client], at = read_var_uint(data, at)
    return found
