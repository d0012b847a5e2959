"""The payload of an awareness message: entries of client id, clock and JSON text.

The JSON text is kept byte for byte. It is parsed only to refuse what a client's ``JSON.parse`` would throw
at, because that exception would go off in every other member's socket handler.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from collab_server.errors import MalformedError, TooBigError
from collab_server.wire.lib0 import encode_var_bytes, encode_var_uint, read_var_string, read_var_uint

ENTRY_BYTES_MIN: Final = 4
"""Client id, clock, length and the shortest JSON text take at least a byte each."""

EMPTY_PAYLOAD: Final = b"\x00"
"""An awareness payload of no entries. Clients apply it to no effect, so it serves as a data frame that keeps
the stable y-websocket provider from giving up on a silent connection."""


@dataclass(frozen=True, slots=True)
class AwarenessBounds:
    """What an awareness payload may hold."""

    state_bytes_max: int = 64 * 1024
    """UTF-8 bytes of one state's JSON text."""
    depth_max: int = 64
    """Levels of arrays and objects in one state."""


@dataclass(frozen=True, slots=True)
class AwarenessEntry:
    """What one client says of itself: ``state`` is JSON text as it came, or None for gone."""

    client: int
    clock: int
    state: str | None


def decode_awareness(payload: bytes, bounds: AwarenessBounds) -> list[AwarenessEntry]:
    """Decode the entries of a payload; what follows them is ignored, as y-protocols does.

    Raises:
        MalformedError: Truncated, more entries announced than can be there, not JSON, or nested too deep.
        TooBigError: A state is longer than its bound.
    """
    count, at = read_var_uint(payload, 0)
    if count * ENTRY_BYTES_MIN > len(payload) - at:
        raise MalformedError("truncated awareness")
    entries = []
    for _ in range(count):
        client, at = read_var_uint(payload, at)
        clock, at = read_var_uint(payload, at)
        length, _ = read_var_uint(payload, at)
        if length > bounds.state_bytes_max:
            raise TooBigError("awareness state too big")
        text, at = read_var_string(payload, at)
        entries.append(AwarenessEntry(client, clock, _checked_state(text, bounds.depth_max)))
    return entries


def encode_awareness(entries: Iterable[AwarenessEntry]) -> bytes:
    """Encode entries in the order given."""
    parts = [b""]
    count = 0
    for entry in entries:
        count += 1
        parts.append(encode_var_uint(entry.client))
        parts.append(encode_var_uint(entry.clock))
        parts.append(_NULL if entry.state is None else encode_var_bytes(entry.state.encode()))
    parts[0] = encode_var_uint(count)
    return b"".join(parts)


_NULL: Final = b"\x04null"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python's json takes NaN and Infinity, JavaScript's does not


# Numbers are read as floats: an integer of ten thousand digits is legal JSON, and costs int() its square.
_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=float)


def _checked_state(text: str, depth_max: int) -> str | None:
    if text == "null":
        return None
    if text.count("[") + text.count("{") > depth_max and _depth(text) > depth_max:
        raise MalformedError("awareness state nested too deep")
    try:
        value = _JSON.decode(text)
    except (ValueError, RecursionError):
        raise MalformedError("awareness state is not JSON") from None
    return None if value is None else text


def _depth(text: str) -> int:
    """The deepest nesting of brackets outside of strings; only meaningful for what is JSON."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest
