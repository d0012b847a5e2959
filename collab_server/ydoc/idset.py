"""Sets of struct ids: what is deleted in a document, or deleted by an update.

Kept per client as two parallel arrays of range starts and ends, sorted, disjoint and not touching: 16 bytes a
range, whatever somebody sends. Layout on the wire (yjs ``src/utils/DeleteSet.js``): count of clients, then
for each: client, count of ranges, and start and length of each range, as var-uints.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from hashlib import blake2b

from collab_server.errors import CloseCode, MalformedError, TooBigError
from collab_server.wire.lib0 import VAR_UINT_MAX, encode_var_uint, read_var_uint

EMPTY = b"\x00"
"""An encoded set without ids."""

_BULK = 8
"""From this many ranges of one client on, sort and sweep instead of inserting one by one."""


class _Ranges:
    """The ranges of one client."""

    __slots__ = ("encoded", "ends", "starts")

    def __init__(self) -> None:
        self.starts: array[int] = array("q")
        self.ends: array[int] = array("q")
        self.encoded: bytes | None = None
        """Count and ranges as on the wire; None once they have changed."""

    def add(self, start: int, end: int) -> int:
        """Add ``start`` to ``end`` (exclusive); how many ranges there are more (or, negative, fewer) now."""
        starts, ends = self.starts, self.ends
        self.encoded = None
        if not ends or start > ends[-1]:
            starts.append(start)
            ends.append(end)
            return 1
        first = bisect_left(ends, start)
        last = bisect_right(starts, end)
        if first == last:
            starts.insert(first, start)
            ends.insert(first, end)
            return 1
        starts[first] = min(starts[first], start)
        ends[first] = max(ends[last - 1], end)
        if last - first > 1:
            del starts[first + 1 : last]
            del ends[first + 1 : last]
        return first + 1 - last

    def add_all(self, ranges: list[tuple[int, int]]) -> int:
        """Add many ranges at once, in any order; how many ranges there are more now."""
        before = len(self.starts)
        merged = sorted([*zip(self.starts, self.ends, strict=True), *ranges])
        starts: array[int] = array("q")
        ends: array[int] = array("q")
        top = -1
        for start, end in merged:
            if start > top:
                starts.append(start)
                ends.append(end)
                top = end
            elif end > top:
                ends[-1] = top = end
        self.starts, self.ends, self.encoded = starts, ends, None
        return len(starts) - before

    def encode(self) -> bytes:
        """Count and ranges as on the wire."""
        encoded = self.encoded
        if encoded is None:
            out = bytearray(encode_var_uint(len(self.starts)))
            for start, end in zip(self.starts, self.ends, strict=True):
                out += encode_var_uint(start)
                out += encode_var_uint(end - start)
            encoded = self.encoded = bytes(out)
        return encoded


class IdSet:
    """A set of ids as normalised ranges per client. Two sets with the same ids encode to the same bytes."""

    __slots__ = ("_clients", "_encoded", "ranges_total")

    def __init__(self) -> None:
        self._clients: dict[int, _Ranges] = {}
        self._encoded: bytes | None = EMPTY
        self.ranges_total = 0
        """How many ranges the set has."""

    def __bool__(self) -> bool:
        return self.ranges_total > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdSet) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"IdSet({[*self]!r})"

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Client, start and end (exclusive) of each range, higher client ids first."""
        for client in sorted(self._clients, reverse=True):
            ranges = self._clients[client]
            for start, end in zip(ranges.starts, ranges.ends, strict=True):
                yield client, start, end

    def is_empty(self) -> bool:
        """Whether no id is in the set."""
        return self.ranges_total == 0

    @property
    def bytes_estimate(self) -> int:
        """About how many bytes the set takes, encoded; known without encoding it."""
        return 1 + 8 * len(self._clients) + 6 * self.ranges_total

    def clients(self) -> list[int]:
        """The clients that have ids in the set."""
        return list(self._clients)

    def ranges(self, client: int) -> list[tuple[int, int]]:
        """Start and end (exclusive) of each range of a client, in order."""
        found = self._clients.get(client)
        return [] if found is None else list(zip(found.starts, found.ends, strict=True))

    def add(self, client: int, start: int, end: int) -> None:
        """Add the ids of ``client`` from ``start`` to ``end`` (exclusive)."""
        if start >= end:
            return
        ranges = self._clients.get(client)
        if ranges is None:
            ranges = self._clients[client] = _Ranges()
        self.ranges_total += ranges.add(start, end)
        self._encoded = None

    def add_all(self, client: int, spans: list[tuple[int, int]]) -> None:
        """Add many ranges of one client, in any order, overlapping or not."""
        if len(spans) < _BULK:
            for start, end in spans:
                self.add(client, start, end)
            return
        ranges = self._clients.get(client)
        if ranges is None:
            ranges = self._clients[client] = _Ranges()
        self.ranges_total += ranges.add_all(spans)
        self._encoded = None

    def remove_client(self, client: int) -> None:
        """Take out every id of one client."""
        ranges = self._clients.pop(client, None)
        if ranges is not None:
            self.ranges_total -= len(ranges.starts)
            self._encoded = None

    def union(self, other: IdSet) -> None:
        """Add every id of ``other``."""
        for client in other._clients:
            self.add_all(client, other.ranges(client))

    def contains(self, client: int, clock: int) -> bool:
        """Whether one id is in the set."""
        return self.covers(client, clock, clock + 1)

    def covers(self, client: int, start: int, end: int) -> bool:
        """Whether every id from ``start`` to ``end`` (exclusive) is in the set."""
        ranges = self._clients.get(client)
        if ranges is None:
            return False
        index = bisect_right(ranges.starts, start) - 1
        return index >= 0 and ranges.ends[index] >= end

    def touches(self, client: int, start: int, end: int) -> bool:
        """Whether any id from ``start`` to ``end`` (exclusive) is in the set."""
        ranges = self._clients.get(client)
        if ranges is None:
            return False
        index = bisect_right(ranges.ends, start)
        return index < len(ranges.starts) and ranges.starts[index] < end

    def uncovered(self, client: int, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of ``start`` to ``end`` (exclusive) that are not in the set."""
        ranges = self._clients.get(client)
        if ranges is None:
            return [(start, end)]
        starts, ends = ranges.starts, ranges.ends
        parts: list[tuple[int, int]] = []
        index = bisect_right(ends, start)
        count = len(starts)
        while start < end:
            if index == count or starts[index] >= end:
                parts.append((start, end))
                break
            if starts[index] > start:
                parts.append((start, starts[index]))
            start = ends[index]
            index += 1
        return parts

    def subtract(self, other: IdSet) -> IdSet:
        """A new set: the ids of this one that are not in ``other``."""
        rest = IdSet()
        for client, ranges in self._clients.items():
            if client not in other._clients:
                spans = list(zip(ranges.starts, ranges.ends, strict=True))
            else:
                spans = [
                    part
                    for start, end in zip(ranges.starts, ranges.ends, strict=True)
                    for part in other.uncovered(client, start, end)
                ]
            rest.add_all(client, spans)
        return rest

    def encode(self) -> bytes:
        """The set as it stands at the end of an update. Cached until the set changes."""
        encoded = self._encoded
        if encoded is None:
            parts = [encode_var_uint(len(self._clients))]
            for client in sorted(self._clients, reverse=True):
                parts.append(encode_var_uint(client))
                parts.append(self._clients[client].encode())
            encoded = self._encoded = b"".join(parts)
        return encoded

    def digest(self) -> bytes:
        """16 bytes that are equal for equal sets, to compare replicas without sending the sets."""
        return blake2b(self.encode(), digest_size=16).digest()

    @classmethod
    def of_spans(cls, spans: array[int]) -> IdSet:
        """The set of flat (client, start, end) triples, in any order, overlapping or not."""
        by_client: dict[int, list[tuple[int, int]]] = {}
        for index in range(0, len(spans), 3):
            by_client.setdefault(spans[index], []).append((spans[index + 1], spans[index + 2]))
        made = cls()
        for client, ranges in by_client.items():
            made.add_all(client, ranges)
        return made

    @classmethod
    def decode(cls, data: bytes, at: int = 0) -> IdSet:
        """Read a set that reaches to the end of ``data``. Raises MalformedError."""
        spans, at = read_spans(data, at)
        if at != len(data):
            raise MalformedError("bytes left over after the deletions")
        return cls.of_spans(spans)


def read_spans(data: bytes, at: int, ranges_max: int = VAR_UINT_MAX) -> tuple[array[int], int]:
    """Read a delete set as flat (client, start, end) triples, as they come, and the position after it.

    Yjs itself writes ranges unsorted and overlapping at times, so they are taken in any order; empty ones are
    dropped.

    Raises:
        MalformedError: Truncated, or a range ends beyond the largest clock.
        TooBigError: There are more than ``ranges_max``, by what they announce.
    """
    spans: array[int] = array("q")
    clients, at = read_var_uint(data, at)
    for _ in range(clients):
        client, at = read_var_uint(data, at)
        count, at = read_var_uint(data, at)
        if count * 2 > len(data) - at:
            raise MalformedError("update announces too many deletions")
        ranges_max -= count
        if ranges_max < 0:
            raise TooBigError("update of too many parts", CloseCode.TOO_BIG)
        for _ in range(count):
            start, at = read_var_uint(data, at)
            length, at = read_var_uint(data, at)
            if length:
                if start + length > VAR_UINT_MAX:
                    raise MalformedError("a deletion beyond the largest clock")
                spans.extend((client, start, start + length))
    return spans, at
