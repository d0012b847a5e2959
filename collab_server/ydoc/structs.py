"""Structs one by one: read, cut in two, written again.

Layout of a struct (yjs ``src/structs/Item.js``, ``write``): an info byte whose low five bits name the content
and whose high bits say what follows (0x80 origin, 0x40 right origin, 0x20 a key in the parent), origin and
right origin as client and clock, and, only when there is neither, the parent: 1 and the name of a root, or 0
and the id of the item that holds the parent type, then the key if 0x20 is set. Then the content. GC (0) and
Skip (10) are a length only.

``inspect`` checks updates without making an object for each struct; what is here serves the rarer work that
needs to look at single structs.
"""

from __future__ import annotations

from collections.abc import Iterator

from collab_server.errors import MalformedError
from collab_server.wire.lib0 import VAR_UINT_MAX, encode_var_uint, read_var_uint
from collab_server.ydoc.content import ANY, DELETED, GC, JSON, SKIP, STRING, read_content, skip_any

HAS_ORIGIN = 0x80
HAS_RIGHT = 0x40
HAS_KEY = 0x20
REF_BITS = 0x1F

NOBODY = -1
"""Stands for the client of an id that is not there."""


class Struct:
    """One struct of a client, as positions in the bytes that hold it."""

    __slots__ = (
        "at",
        "body_at",
        "clock",
        "content_at",
        "data",
        "length",
        "origin_client",
        "origin_clock",
        "parent_client",
        "parent_clock",
        "ref",
        "right_client",
        "right_clock",
        "until",
    )

    data: bytes
    at: int
    """Where the info byte is."""
    content_at: int
    """Where the content begins: origins and parent lie before it."""
    body_at: int
    """Where the content's own bytes begin, after its count or length, if it has one."""
    until: int
    """The position after the struct."""
    ref: int
    clock: int
    length: int
    origin_client: int
    origin_clock: int
    right_client: int
    right_clock: int
    parent_client: int
    """The client of the parent's id; NOBODY where the parent is a root or follows from the origins."""
    parent_clock: int

    @property
    def end(self) -> int:
        """The clock after the struct."""
        return self.clock + self.length

    def raw(self) -> bytes:
        """The struct's own bytes."""
        return self.data[self.at : self.until]


def read_struct(data: bytes, at: int, clock: int) -> Struct:
    """Read the struct at a position of inspected bytes."""
    struct = Struct()
    struct.data = data
    struct.at = at
    struct.clock = clock
    info = data[at]
    at += 1
    ref = struct.ref = info & REF_BITS
    struct.origin_client = struct.right_client = struct.parent_client = NOBODY
    struct.origin_clock = struct.right_clock = struct.parent_clock = 0
    if ref in (GC, SKIP):
        struct.content_at = at
        struct.length, at = read_var_uint(data, at)
        struct.body_at = struct.until = at
        return struct
    if info & (HAS_ORIGIN | HAS_RIGHT):
        if info & HAS_ORIGIN:
            struct.origin_client, at = read_var_uint(data, at)
            struct.origin_clock, at = read_var_uint(data, at)
        if info & HAS_RIGHT:
            struct.right_client, at = read_var_uint(data, at)
            struct.right_clock, at = read_var_uint(data, at)
    else:
        named, at = read_var_uint(data, at)
        if named == 1:
            size, at = read_var_uint(data, at)
            at += size
        else:
            struct.parent_client, at = read_var_uint(data, at)
            struct.parent_clock, at = read_var_uint(data, at)
        if info & HAS_KEY:
            size, at = read_var_uint(data, at)
            at += size
    struct.content_at = at
    struct.length, struct.body_at, struct.until = read_content(data, at, ref, None)
    return struct


def root_name(struct: Struct) -> bytes:
    """The name, as UTF-8, of the root in which a struct without origins or a parent's id hangs."""
    _, at = read_var_uint(struct.data, struct.at + 1)
    size, at = read_var_uint(struct.data, at)
    return struct.data[at : at + size]


def read_structs(data: bytes, at: int, until: int, clock: int) -> Iterator[Struct]:
    """The structs between two positions of inspected bytes, Skips included, the first one at ``clock``."""
    while at < until:
        struct = read_struct(data, at, clock)
        at = struct.until
        clock += struct.length
        yield struct


def write_length_struct(ref: int, length: int) -> bytes:
    """A GC (0) or a Skip (10)."""
    return bytes((ref,)) + encode_var_uint(length)


def cut(struct: Struct, client: int, start: int, end: int) -> Struct:
    """The part of a struct from clock ``start`` to clock ``end``, as Yjs would write it after a split.

    What begins inside the struct gets the id before it as its origin (yjs ``splitItem``). A string that is
    cut through a surrogate pair gets U+FFFD on both sides (yjs ``src/structs/ContentString.js``, ``splice``).
    """
    if start <= struct.clock and end >= struct.end:
        return struct
    offset, stop = max(start - struct.clock, 0), min(end, struct.end) - struct.clock
    ref = struct.ref
    if ref in (GC, SKIP):
        return read_struct(write_length_struct(ref, stop - offset), 0, struct.clock + offset)
    data = struct.data
    info = data[struct.at]
    if offset:
        head = (
            bytes((info | HAS_ORIGIN,)) + encode_var_uint(client) + encode_var_uint(struct.clock + offset - 1)
        )
        if info & HAS_RIGHT:
            head += encode_var_uint(struct.right_client) + encode_var_uint(struct.right_clock)
    else:
        head = data[struct.at : struct.content_at]
    return read_struct(head + _cut_content(struct, offset, stop), 0, struct.clock + offset)


def _cut_content(struct: Struct, offset: int, stop: int) -> bytes:
    data, ref = struct.data, struct.ref
    if ref == DELETED:
        return encode_var_uint(stop - offset)
    body = data[struct.body_at : struct.until]
    if ref == STRING:
        if body.isascii():
            body = body[offset:stop]
        else:
            # A lone half of a pair becomes U+FFFD, of which "replace" gives exactly one.
            units = body.decode().encode("utf-16-le")[2 * offset : 2 * stop]
            body = _units_to_utf8(units)
        return encode_var_uint(len(body)) + body
    if ref not in (ANY, JSON):
        raise MalformedError("content of one piece cannot be cut")
    at = begin = 0
    for index in range(stop):
        if index == offset:
            begin = at
        if ref == ANY:
            at = skip_any(body, at, VAR_UINT_MAX)
        else:
            size, at = read_var_uint(body, at)
            at += size
    return encode_var_uint(stop - offset) + body[begin:at]


def _units_to_utf8(units: bytes) -> bytes:
    first = int.from_bytes(units[:2], "little")
    last = int.from_bytes(units[-2:], "little")
    replacement = "\ufffd".encode("utf-16-le")
    if 0xDC00 <= first <= 0xDFFF:
        units = replacement + units[2:]
    if 0xD800 <= last <= 0xDBFF:
        units = units[:-2] + replacement
    return units.decode("utf-16-le").encode()


def pair_at(struct: Struct, clock: int) -> bool:
    """Whether a cut before ``clock`` would go through a surrogate pair."""
    body = struct.data[struct.body_at : struct.until]
    if struct.ref != STRING or body.isascii():
        return False
    offset = clock - struct.clock
    unit = body.decode().encode("utf-16-le")[2 * offset : 2 * offset + 2]
    return 0xDC00 <= int.from_bytes(unit, "little") <= 0xDFFF
