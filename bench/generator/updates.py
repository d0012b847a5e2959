"""A walk over a Yjs update: whose clocks it brings, and what it deletes.

This is how a receiver knows which messages an update holds, whether the server passed it on as it came or
merged it with others. Contents are skipped, not decoded. The layout is that of Yjs 13
(``utils/encoding.js`` ``readClientsStructRefs``, ``structs/Item.js`` ``readItem``, ``utils/DeleteSet.js``).

The harness must be able to judge the server, so it does not use the server's own walker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collab_server.wire.lib0 import read_var_uint

_GC: Final = 0
_SKIP: Final = 10
_ORIGIN: Final = 0x80
_RIGHT_ORIGIN: Final = 0x40
_PARENT_SUB: Final = 0x20


@dataclass(frozen=True, slots=True)
class Walked:
    """What an update holds."""

    ranges: list[tuple[int, int, int]]
    """(client, first clock, clock after the last one): structs that follow each other are one range."""
    deletes: list[tuple[int, int, int]]
    """(client, clock, length)."""


def walk(data: bytes) -> Walked:
    """Walk an update. IndexError, ValueError or MalformedError when it is not one."""
    ranges: list[tuple[int, int, int]] = []
    sections, at = read_var_uint(data, 0)
    for _ in range(sections):
        structs, at = read_var_uint(data, at)
        client, at = read_var_uint(data, at)
        clock, at = read_var_uint(data, at)
        begin = clock
        for _ in range(structs):
            info = data[at]
            kind = info & 0x1F
            if kind == _SKIP:
                if clock > begin:
                    ranges.append((client, begin, clock))
                length, at = read_var_uint(data, at + 1)
                clock += length
                begin = clock
                continue
            if kind == _GC:
                length, at = read_var_uint(data, at + 1)
            else:
                length, at = _item(data, at + 1, info, kind)
            clock += length
        if clock > begin:
            ranges.append((client, begin, clock))
    deletes: list[tuple[int, int, int]] = []
    clients, at = read_var_uint(data, at)
    for _ in range(clients):
        client, at = read_var_uint(data, at)
        count, at = read_var_uint(data, at)
        for _ in range(count):
            clock, at = read_var_uint(data, at)
            length, at = read_var_uint(data, at)
            deletes.append((client, clock, length))
    return Walked(ranges, deletes)


def _item(data: bytes, at: int, info: int, kind: int) -> tuple[int, int]:
    """Length in clocks of an item, and where the next struct begins."""
    if info & _ORIGIN:
        at = _skip_uint(data, _skip_uint(data, at))
    if info & _RIGHT_ORIGIN:
        at = _skip_uint(data, _skip_uint(data, at))
    if not info & (_ORIGIN | _RIGHT_ORIGIN):
        is_root, at = read_var_uint(data, at)
        at = _skip_bytes(data, at) if is_root else _skip_uint(data, _skip_uint(data, at))
        if info & _PARENT_SUB:
            at = _skip_bytes(data, at)
    return _content(data, at, kind)


def _content(data: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == 4:  # text
        size, at = read_var_uint(data, at)
        end = at + size
        if end > len(data):
            raise IndexError("truncated text")
        raw = data[at:end]
        return (size if raw.isascii() else len(raw.decode().encode("utf-16-le")) // 2), end
    if kind == 1:  # deleted
        return read_var_uint(data, at)
    if kind in {2, 8}:  # JSON, any: as many as they say
        count, at = read_var_uint(data, at)
        for _ in range(count):
            at = _skip_bytes(data, at) if kind == 2 else _skip_any(data, at)
        return count, at
    if kind in {3, 5}:  # bytes, embed
        return 1, _skip_bytes(data, at)
    if kind == 6:  # format: key and value
        return 1, _skip_bytes(data, _skip_bytes(data, at))
    if kind == 7:  # type; an XML element (3) and hook (5) have a name
        ref, at = read_var_uint(data, at)
        return 1, _skip_bytes(data, at) if ref in {3, 5} else at
    if kind == 9:  # subdocument: guid and options
        return 1, _skip_any(data, _skip_bytes(data, at))
    raise ValueError(f"no content of kind {kind}")


def _skip_uint(data: bytes, at: int) -> int:
    while data[at] >= 0x80:
        at += 1
    return at + 1


def _skip_bytes(data: bytes, at: int) -> int:
    size, at = read_var_uint(data, at)
    if at + size > len(data):
        raise IndexError("truncated bytes")
    return at + size


_ANY_BYTES: Final = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}


def _skip_any(data: bytes, at: int) -> int:
    kind = data[at]
    at += 1
    fixed = _ANY_BYTES.get(kind)
    if fixed is not None:
        return at + fixed
    if kind == 125:
        return _skip_uint(data, at)
    if kind in {119, 116}:
        return _skip_bytes(data, at)
    if kind in {118, 117}:
        count, at = read_var_uint(data, at)
        for _ in range(count):
            if kind == 118:
                at = _skip_bytes(data, at)
            at = _skip_any(data, at)
        return at
    raise ValueError(f"no value of kind {kind}")
