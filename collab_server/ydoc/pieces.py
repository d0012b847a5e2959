"""The structs of one client as pieces of bytes, in clock order and without a gap.

A document's structs are kept here: a few large chunks, each with marks that lead to any clock without a walk
from its beginning, and a tail of what has come since, one piece for each update.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator

from collab_server.wire.lib0 import encode_var_uint
from collab_server.ydoc.content import STRING
from collab_server.ydoc.structs import Struct, cut, pair_at, read_struct, read_structs

MARK_EVERY_BYTES = 2048
"""Distance of marks in a chunk: what a difference that begins inside it has to walk at most."""

CUT_FROM_BYTES = 256
"""Strings longer than this are cut where a difference begins inside them; shorter structs are sent whole."""


class Chunk:
    """Structs that lie one after the other in the same bytes."""

    __slots__ = ("at", "charted", "clock", "count", "data", "last_at", "last_clock", "marks", "until")

    def __init__(self, data: bytes, at: int, clock: int) -> None:
        self.data = data
        self.at = at
        self.until = at
        self.clock = clock
        self.count = 0
        self.last_at = at
        """Where the last struct begins."""
        self.last_clock = clock
        self.marks: array[int] = array("q")
        """Flat (clock, position, ordinal): where some of the structs begin."""
        self.charted = True
        """Whether marks and the last struct are known; where they are not, ``chart`` finds them."""

    @classmethod
    def uncharted(cls, data: bytes, clock: int, count: int) -> Chunk:
        """A chunk of all these bytes, that nobody has walked yet."""
        made = cls(data, 0, clock)
        made.until, made.count, made.charted = len(data), count, False
        return made

    def chart(self) -> None:
        """Walk the structs once, if nobody has, to set marks and find the last one."""
        if self.charted:
            return
        until = self.until
        self.charted, self.until, self.count = True, self.at, 0
        for struct in read_structs(self.data, self.at, until, self.clock):
            self.grow(struct)

    @property
    def size(self) -> int:
        """Bytes of the structs."""
        return self.until - self.at

    def grow(self, struct: Struct) -> None:
        """Take in the struct that follows in the same bytes."""
        marks = self.marks
        if struct.at - (marks[-2] if marks else self.at) >= MARK_EVERY_BYTES:
            marks.extend((struct.clock, struct.at, self.count))
        self.last_at = struct.at
        self.last_clock = struct.clock
        self.until = struct.until
        self.count += 1

    def moved(self, data: bytes) -> Chunk:
        """The same structs, which ``data`` holds and nothing else."""
        made = Chunk(data, 0, self.clock)
        made.until, made.count = len(data), self.count
        made.last_at, made.last_clock = self.last_at - self.at, self.last_clock
        marks = self.marks
        for index in range(0, len(marks), 3):
            made.marks.extend((marks[index], marks[index + 1] - self.at, marks[index + 2]))
        return made

    def nearest(self, clock: int) -> tuple[int, int, int]:
        """Clock, position and ordinal of a struct at or shortly before ``clock``."""
        self.chart()
        marks = self.marks
        low, high = 0, len(marks) // 3
        while low < high:
            middle = (low + high) // 2
            if marks[middle * 3] <= clock:
                low = middle + 1
            else:
                high = middle
        if low:
            return marks[low * 3 - 3], marks[low * 3 - 2], marks[low * 3 - 1]
        return self.clock, self.at, 0

    def find(self, clock: int) -> tuple[Struct, int]:
        """The struct that holds ``clock``, and how many come before it."""
        found, at, ordinal = self.nearest(clock)
        while True:
            struct = read_struct(self.data, at, found)
            if struct.end > clock:
                return struct, ordinal
            found, at, ordinal = struct.end, struct.until, ordinal + 1

    def without_last(self) -> Chunk:
        """The same chunk up to its last struct."""
        made = Chunk(self.data, self.at, self.clock)
        made.until = made.last_at = self.last_at
        made.count = self.count - 1
        made.marks = self.marks
        if made.marks and made.marks[-2] >= self.last_at:
            made.marks = made.marks[:-3]
        return made


def join_chunks(left: Chunk, right: Chunk) -> Chunk:
    """Two chunks that follow each other as one, copied together."""
    left.chart()
    right.chart()
    joined = Chunk(left.data[left.at : left.until] + right.data[right.at : right.until], 0, left.clock)
    joined.until = left.size + right.size
    joined.count = left.count + right.count
    shift = left.size - right.at
    joined.last_at = right.last_at + shift
    joined.last_clock = right.last_clock
    for chunk, moved, before in ((left, -left.at, 0), (right, shift, left.count)):
        marks = chunk.marks
        for index in range(0, len(marks), 3):
            joined.marks.extend((marks[index], marks[index + 1] + moved, marks[index + 2] + before))
        if chunk is left:
            joined.marks.extend((right.clock, left.size, left.count))
    return joined


class ClientPieces:
    """All structs of one client."""

    __slots__ = (
        "bytes_total",
        "chunks",
        "client",
        "count",
        "depth_clocks",
        "depths",
        "tail",
        "tail_clocks",
        "tail_counts",
    )

    def __init__(self, client: int) -> None:
        self.client = client
        self.chunks: list[Chunk] = []
        self.tail: list[bytes] = []
        self.tail_clocks: list[int] = []
        self.tail_counts: list[int] = []
        self.count = 0
        """How many structs there are."""
        self.bytes_total = 0
        """What they take together."""
        self.depth_clocks: array[int] = array("q")
        """From these clocks on the structs hang in types of another depth; before the first one it is 0."""
        self.depths: array[int] = array("q")

    def depth_at(self, clock: int) -> int:
        """How many items hold the type in which the struct at ``clock`` hangs, one in the other."""
        index = bisect_right(self.depth_clocks, clock)
        return self.depths[index - 1] if index else 0

    def set_depth(self, clock: int, depth: int) -> None:
        """From ``clock`` on, which is past all that is known, structs hang at ``depth``."""
        if depth != (self.depths[-1] if self.depths else 0):
            if self.depth_clocks and self.depth_clocks[-1] == clock:
                self.depths[-1] = depth
                return
            self.depth_clocks.append(clock)
            self.depths.append(depth)

    def structs_from(self, clock: int) -> Iterator[Struct]:
        """The structs from the one that holds ``clock`` on. Nothing may change meanwhile."""
        first = max(bisect_right(self.tail_clocks, clock) - 1, 0)
        if not self.tail or clock < self.tail_clocks[0]:
            begin = max(bisect_right(self.chunks, clock, key=_chunk_clock) - 1, 0)
            for chunk in self.chunks[begin:]:
                found, at, _ = chunk.nearest(clock)
                yield from _ending_after(clock, read_structs(chunk.data, at, chunk.until, found))
        for index in range(first, len(self.tail)):
            raw = self.tail[index]
            yield from _ending_after(clock, read_structs(raw, 0, len(raw), self.tail_clocks[index]))

    def write_all(self, parts: list[bytes | memoryview]) -> None:
        """Add the section of this client, from clock 0, to an update under way."""
        parts.append(encode_var_uint(self.count) + encode_var_uint(self.client) + b"\x00")
        parts.extend(memoryview(chunk.data)[chunk.at : chunk.until] for chunk in self.chunks)
        parts.extend(self.tail)

    def write_from(self, clock: int, parts: list[bytes | memoryview]) -> None:
        """Add the section of this client from the struct that holds ``clock`` to an update under way."""
        header_at = len(parts)
        parts.append(b"")
        count = 0
        start = clock
        tail_from = 0
        if self.tail_clocks and clock >= self.tail_clocks[0]:
            tail_from = bisect_right(self.tail_clocks, clock) - 1
            if clock > self.tail_clocks[tail_from]:
                piece = self.tail[tail_from]
                chunk = Chunk(piece, 0, self.tail_clocks[tail_from])
                chunk.until = len(piece)
                chunk.count = self.tail_counts[tail_from]
                start, count = self._write_chunk(chunk, clock, parts)
                tail_from += 1
        else:
            first = bisect_right(self.chunks, clock, key=_chunk_clock) - 1
            start, count = self._write_chunk(self.chunks[first], clock, parts)
            for chunk in self.chunks[first + 1 :]:
                parts.append(memoryview(chunk.data)[chunk.at : chunk.until])
                count += chunk.count
        parts.extend(self.tail[tail_from:])
        count += sum(self.tail_counts[tail_from:])
        parts[header_at] = encode_var_uint(count) + encode_var_uint(self.client) + encode_var_uint(start)

    def _write_chunk(self, chunk: Chunk, clock: int, parts: list[bytes | memoryview]) -> tuple[int, int]:
        """Add what a chunk has from ``clock`` on; the clock where that begins, and how many structs it is."""
        struct, before = chunk.find(clock)
        view = memoryview(chunk.data)
        if (
            struct.clock < clock
            and struct.ref == STRING
            and struct.until - struct.at > CUT_FROM_BYTES
            and not pair_at(struct, clock)
        ):
            parts.append(cut(struct, self.client, clock, struct.end).raw())
            parts.append(view[struct.until : chunk.until])
            return clock, chunk.count - before
        parts.append(view[struct.at : chunk.until])
        return struct.clock, chunk.count - before


def _ending_after(clock: int, structs: Iterator[Struct]) -> Iterator[Struct]:
    return (struct for struct in structs if struct.end > clock)


def _chunk_clock(chunk: Chunk) -> int:
    return chunk.clock
