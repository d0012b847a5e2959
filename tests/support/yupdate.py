"""Yjs updates (v1) written by hand, so that a test can say what no client would.

Layouts are those of yjs 13 (``utils/encoding.js``, ``structs/Item.js`` and ``Content*.js``) and of lib0
(``encoding.js``, ``writeAny``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.support.frames import var_bytes, var_string, var_uint

ARRAY, MAP, TEXT, XML_ELEMENT, XML_FRAGMENT, XML_HOOK, XML_TEXT = range(7)
_HAS_ORIGIN, _HAS_RIGHT_ORIGIN, _HAS_PARENT_SUB = 0x80, 0x40, 0x20
_JSON, _BINARY, _STRING, _EMBED, _FORMAT, _TYPE, _ANY = 2, 3, 4, 5, 6, 7, 8

Id = tuple[int, int]
"""Client and clock."""


def update(sections: Iterable[tuple[int, int, Sequence[bytes]]], deletes: bytes = b"\x00") -> bytes:
    """An update of sections (client, first clock, structs), and a delete set."""
    listed = list(sections)
    written = (
        var_uint(len(structs)) + var_uint(client) + var_uint(clock) + b"".join(structs)
        for client, clock, structs in listed
    )
    return var_uint(len(listed)) + b"".join(written) + deletes


def delete_set(ranges: Iterable[tuple[int, Sequence[tuple[int, int]]]]) -> bytes:
    """A delete set of (client, [(clock, length)])."""
    listed = list(ranges)
    written = (
        var_uint(client) + var_uint(len(parts)) + b"".join(var_uint(at) + var_uint(n) for at, n in parts)
        for client, parts in listed
    )
    return var_uint(len(listed)) + b"".join(written)


def item(
    ref: int,
    content: bytes,
    *,
    root: str | None = None,
    parent: Id | None = None,
    origin: Id | None = None,
    key: str | None = None,
) -> bytes:
    """One item. Its place is a root type, a parent's id, or the item on its left."""
    info = ref | (_HAS_PARENT_SUB if key is not None else 0)
    if origin is not None:
        return bytes([info | _HAS_ORIGIN]) + var_uint(origin[0]) + var_uint(origin[1]) + content
    if root is not None:
        place = b"\x01" + var_string(root)
    else:
        assert parent is not None
        place = b"\x00" + var_uint(parent[0]) + var_uint(parent[1])
    return bytes([info]) + place + (var_string(key) if key is not None else b"") + content


def string(text: str, *, root: str = "notes", origin: Id | None = None) -> bytes:
    """A piece of text."""
    return item(_STRING, var_string(text), root=root, origin=origin)


def text_update(client: int, clock: int, text: str, *, origin: Id | None = None) -> bytes:
    """An update of one piece of text in the root ``notes``."""
    return update([(client, clock, [string(text, origin=origin)])])


def type_item(
    kind: int, *, root: str | None = None, parent: Id | None = None, key: str | None = None
) -> bytes:
    """A nested shared type."""
    named = var_string("p") if kind in {XML_ELEMENT, XML_HOOK} else b""
    return item(_TYPE, var_uint(kind) + named, root=root, parent=parent, key=key)


def nested_types(client: int, depth: int, kind: int) -> list[bytes]:
    """The items of a tower of types, each in the one before; the first is in a root."""
    key = "k" if kind == MAP else None
    first = type_item(kind, root="tower", key=key)
    return [first, *(type_item(kind, parent=(client, clock - 1), key=key) for clock in range(1, depth))]


def any_item(value: bytes) -> bytes:
    """An item of one value in lib0's ``any`` encoding."""
    return item(_ANY, b"\x01" + value, root="itinerary")


def nested_any_arrays(depth: int) -> bytes:
    """A value: arrays in arrays."""
    return b"\x75\x01" * depth + b"\x7e"


def nested_any_objects(depth: int) -> bytes:
    """A value: objects in objects."""
    return b"\x76\x01\x01k" * depth + b"\x7e"


def json_item(text: str) -> bytes:
    """An item of one JSON text, as old clients wrote values."""
    return item(_JSON, b"\x01" + var_string(text), root="itinerary")


def embed_item(text: str) -> bytes:
    """An embed, which is JSON."""
    return item(_EMBED, var_string(text), root="notes")


def format_item(text: str) -> bytes:
    """A format mark, whose value is JSON."""
    return item(_FORMAT, var_string("bold") + var_string(text), root="notes")


def binary_item(data: bytes) -> bytes:
    """An item of bytes."""
    return item(_BINARY, var_bytes(data), root="itinerary")
