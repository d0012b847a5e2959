"""Drop what is deleted, as Yjs's own garbage collection does (yjs ``tryGcDeleteSet``, ``Item.gc``).

A deleted struct keeps its place but loses its content (Deleted). One whose parent type is deleted loses its
place as well (GC): whoever reads it could not find a parent for it. The parent is found through the origins,
since only structs without origins name it. What hangs in a deleted type counts as deleted whether or not
somebody said so: every Yjs client deletes it when it takes it in.
"""

from __future__ import annotations

from bisect import bisect_right

from collab_server.wire.lib0 import encode_var_uint
from collab_server.ydoc.content import DELETED, GC
from collab_server.ydoc.idset import IdSet
from collab_server.ydoc.structs import NOBODY, Struct, cut, read_struct, write_length_struct

_ROOT = 0
"""Hangs in a root type, or in a type that is alive."""
_DEAD = 1
"""Hangs in a type that is deleted, or beside a struct that has lost its place."""
_UNKNOWN = 2
"""What it hangs on is not here."""


class _Forest:
    """Finds out which structs hang in deleted types."""

    def __init__(self, structs: dict[int, list[Struct]], deletes: IdSet) -> None:
        self._structs = structs
        self._deletes = deletes
        self._starts = {client: [struct.clock for struct in found] for client, found in structs.items()}
        self._fates = {client: bytearray(b"\xff") * len(found) for client, found in structs.items()}

    def fates(self, client: int) -> bytearray:
        """For each struct of a client: _ROOT, _DEAD or _UNKNOWN."""
        fates = self._fates[client]
        for index in range(len(fates)):
            if fates[index] == 0xFF:
                self._settle(client, index)
        return fates

    def _find(self, client: int, clock: int) -> int:
        starts = self._starts.get(client)
        if starts is None:
            return -1
        index = bisect_right(starts, clock) - 1
        return index if index >= 0 and clock < self._structs[client][index].end else -1

    def _settle(self, client: int, index: int) -> None:
        """Follow what a struct hangs on until the answer is known, and note it on the whole way."""
        way: list[tuple[int, int]] = []
        seen: set[tuple[int, int]] = set()
        while True:
            fate = self._fates[client][index]
            if fate != 0xFF:
                break
            if (client, index) in seen:
                fate = _UNKNOWN
                break
            seen.add((client, index))
            way.append((client, index))
            struct = self._structs[client][index]
            if struct.ref == GC:
                fate = _DEAD
                break
            if struct.origin_client != NOBODY:
                other, clock = struct.origin_client, struct.origin_clock
            elif struct.right_client != NOBODY:
                other, clock = struct.right_client, struct.right_clock
            elif struct.parent_client != NOBODY:
                other, clock = struct.parent_client, struct.parent_clock
                if self._deletes.contains(other, clock):
                    fate = _DEAD
                    break
            else:
                fate = _ROOT
                break
            found = self._find(other, clock)
            if found < 0:
                fate = _UNKNOWN
                break
            client, index = other, found
        for passed, at in way:
            self._fates[passed][at] = fate


def collect_structs(
    structs: dict[int, list[Struct]], deletes: IdSet
) -> tuple[dict[int, list[Struct]], IdSet]:
    """The structs without deleted content, and all deletions, those included that follow from others."""
    forest = _Forest(structs, deletes)
    collected: dict[int, list[Struct]] = {}
    implied = IdSet()
    implied.union(deletes)
    for client, found in structs.items():
        kept: list[Struct] = []
        fates = forest.fates(client)
        ranges = deletes.ranges(client)
        at = 0
        buried: list[tuple[int, int]] = []
        for index, struct in enumerate(found):
            if fates[index] == _DEAD:
                kept.append(_bury(struct))
                buried.append((struct.clock, struct.end))
                continue
            while at < len(ranges) and ranges[at][1] <= struct.clock:
                at += 1
            at = _collect_one(struct, client, ranges, at, kept)
        implied.add_all(client, buried)
        collected[client] = kept
    return collected, implied


def _collect_one(
    struct: Struct, client: int, ranges: list[tuple[int, int]], at: int, kept: list[Struct]
) -> int:
    """Add what remains of a struct whose place is kept; the first range that may reach beyond it."""
    clock = struct.clock
    while at < len(ranges) and ranges[at][0] < struct.end:
        start, end = max(ranges[at][0], clock), min(ranges[at][1], struct.end)
        if start > clock:
            kept.append(cut(struct, client, clock, start))
        kept.append(_empty(struct, client, start, end))
        clock = end
        if ranges[at][1] > struct.end:
            return at
        at += 1
    if clock < struct.end:
        kept.append(cut(struct, client, clock, struct.end))
    return at


def _bury(struct: Struct) -> Struct:
    if struct.ref == GC:
        return struct
    return read_struct(write_length_struct(GC, struct.length), 0, struct.clock)


def _empty(struct: Struct, client: int, start: int, end: int) -> Struct:
    """The part of a struct as Deleted: with its place and without its content."""
    if struct.ref == GC or (struct.ref == DELETED and start == struct.clock and end == struct.end):
        return struct
    data = struct.data
    info = data[struct.at]
    if start == struct.clock:
        head = bytes((info & 0xE0 | DELETED,)) + data[struct.at + 1 : struct.content_at]
    else:
        head = bytes((info & 0xE0 | 0x80 | DELETED,)) + encode_var_uint(client) + encode_var_uint(start - 1)
        if struct.right_client != NOBODY:
            head += encode_var_uint(struct.right_client) + encode_var_uint(struct.right_clock)
    return read_struct(head + encode_var_uint(end - start), 0, start)
