"""Join what Yjs itself would join, and drop what Yjs itself would drop.

``squash``: a struct that continues the one before it (the same client, the next clock, its origin is the last
id of the one before, the same right origin, the same kind of content) becomes one struct with it; splitting
it again gives the two that were there (yjs ``Item.mergeWith`` and ``splitItem``). GCs that touch become one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from collab_server.wire.lib0 import encode_var_uint
from collab_server.ydoc.content import ANY, DELETED, GC, JSON, STRING
from collab_server.ydoc.pieces import MARK_EVERY_BYTES
from collab_server.ydoc.structs import NOBODY, Struct, write_length_struct

_JOINABLE = (GC, DELETED, JSON, STRING, ANY)


class Squasher:
    """Writes the structs of one client one after the other, joined where that can be."""

    __slots__ = (
        "_bodies",
        "_client",
        "_copied_to",
        "_first",
        "_last",
        "_length",
        "_out",
        "count",
        "last_at",
        "last_clock",
        "marks",
    )

    def __init__(self, client: int) -> None:
        self._client = client
        self._out = bytearray()
        self._first: Struct | None = None
        self._last: Struct | None = None
        self._length = 0
        self._bodies: list[bytes] = []
        self.count = 0
        """How many structs have been written."""
        self.last_at = 0
        """Where the last one that was written begins."""
        self.last_clock = 0
        self.marks: array[int] = array("q")
        """Flat (clock, position, ordinal) of some of them, as in ``Chunk.marks``."""

    def add(self, struct: Struct) -> None:
        """Add the next struct."""
        last = self._last
        if (
            last is not None
            and struct.ref == last.ref
            and struct.ref in _JOINABLE
            and self._continues(struct, last)
        ):
            self._length += struct.length
            self._bodies.append(struct.data[struct.body_at : struct.until])
            self._last = struct
            return
        self._write()
        self._first = self._last = struct
        self._length = struct.length
        self._bodies = [struct.data[struct.body_at : struct.until]] if struct.ref in _JOINABLE else []

    def _continues(self, struct: Struct, last: Struct) -> bool:
        if last.clock + last.length != struct.clock:
            return False
        if struct.ref == GC:
            return True
        return (
            struct.origin_clock == struct.clock - 1
            and struct.origin_client == self._client
            and struct.right_client == last.right_client
            and struct.right_clock == last.right_clock
        )

    def _write(self) -> None:
        first = self._first
        if first is None:
            return
        out = self._out
        if len(out) - (self.marks[-2] if self.marks else 0) >= MARK_EVERY_BYTES:
            self.marks.extend((first.clock, len(out), self.count))
        self.last_at = len(out)
        self.last_clock = first.clock
        self.count += 1
        if first is self._last:
            out += first.data[first.at : first.until]
        elif first.ref == GC:
            out += write_length_struct(GC, self._length)
        else:
            out += first.data[first.at : first.content_at]
            if first.ref == STRING:
                out += encode_var_uint(sum(map(len, self._bodies)))
            else:
                out += encode_var_uint(self._length)
            for body in self._bodies:
                out += body
        self._first = None

    def write_raw(self, raw: bytes) -> None:
        """Add a struct that joins with nothing (a Skip)."""
        self._write()
        self._last = None
        self.count += 1
        self._out += raw

    def finish(self) -> bytes:
        """Everything that was added, as bytes."""
        self._write()
        self._last = None
        return bytes(self._out)


def squash_structs(client: int, structs: Iterable[Struct]) -> tuple[bytes, int]:
    """Structs of one client, joined: their bytes and their number. Gaps become Skips."""
    squasher = Squasher(client)
    clock = NOBODY
    for struct in structs:
        if clock not in (NOBODY, struct.clock):
            squasher.write_raw(write_length_struct(10, struct.clock - clock))
        squasher.add(struct)
        clock = struct.end
    return squasher.finish(), squasher.count
