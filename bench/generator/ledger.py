"""The books: which messages were sent, when each was due, and who has got which.

A message is known by what it brings: the range of its author's clocks, or, when it only deletes, the first
thing that it deletes. So a message is found again in whatever the server makes of it: passed on as it came,
merged with others, or inside the answer to a question. Each receiver keeps the next clock that it expects of
each author: what jumps ahead leaves a hole (lost, if it is never filled), what is behind is a duplicate.
"""

from __future__ import annotations

import bisect
from typing import Final

import pycrdt

from bench.generator.dialects import RoomDialect
from bench.generator.tally import STAGE_SHIFT, Tally
from bench.generator.updates import walk
from collab_server.wire.lib0 import read_var_uint

_PARSED_MAX: Final = 512
_LARGE_BYTES: Final = 65_536
"""Longer updates are not walked here: their state vector is taken from pycrdt, which is fast."""
NOT_TIMED: Final = -1.0
"""Due time of a message whose latency says nothing, because its author was away by plan."""


class Author:
    """One writer of a room, and all messages that it has sent."""

    __slots__ = ("client", "dues", "ends", "slot", "stages")

    def __init__(self, slot: int, client: int) -> None:
        self.slot = slot
        self.client = client
        self.ends: list[int] = []
        """The author's clock after each message."""
        self.dues: list[float] = []
        self.stages: list[int] = []


class Cursor:
    """One client's awareness: message ``n`` has the clock ``n + 1``."""

    __slots__ = ("client", "dues", "slot", "stages")

    def __init__(self, slot: int, client: int) -> None:
        self.slot = slot
        self.client = client
        self.dues: list[float] = []
        self.stages: list[int] = []


class Parsed:
    """What an update holds, for all receivers of the same bytes."""

    __slots__ = ("data", "deletes", "is_large", "ranges")

    def __init__(
        self, data: bytes, ranges: list[tuple[Author, int, int]], deletes: list[int], *, is_large: bool
    ) -> None:
        self.data = data
        self.ranges = ranges
        self.deletes = deletes
        """Numbers of messages that only delete."""
        self.is_large = is_large


class RoomBooks:
    """One room: its authors, what they sent, and what the room held before."""

    __slots__ = (
        "_large", "_parsed", "_states", "authors", "by_client", "cursors", "delete_dues", "delete_numbers",
        "delete_slots", "delete_stages", "dialect", "is_checked", "name", "url_at", "written",
    )  # fmt: skip

    def __init__(self, name: str, dialect: RoomDialect, *, is_checked: bool) -> None:
        self.name = name
        self.dialect = dialect
        self.is_checked = is_checked
        """Whether replicas keep what they got, to be compared at the end."""
        self.authors: list[Author] = []
        self.by_client: dict[int, Author] = {}
        self.cursors: dict[int, Cursor] = {}
        self.written: list[tuple[int, bytes]] = []
        """The truth: every update of the room with its author's slot, in the order of writing."""
        self.delete_numbers: dict[tuple[int, int], int] = {}
        self.delete_dues: list[float] = []
        self.delete_stages: list[int] = []
        self.delete_slots: list[int] = []
        self._parsed: dict[bytes, Parsed] = {}
        self._states: dict[bytes, list[tuple[Cursor, int]]] = {}
        self._large: Parsed | None = None

    def add_author(self, client: int) -> Author:
        """A writer; before anybody has come."""
        author = Author(len(self.authors), client)
        self.authors.append(author)
        self.by_client[client] = author
        return author

    def add_cursor(self, client: int) -> Cursor:
        """A client that says that it is here; before anybody has come."""
        cursor = Cursor(len(self.cursors), client)
        self.cursors[client] = cursor
        return cursor

    def wrote(self, author: Author, update: bytes, end: int, due: float, stage: int) -> None:
        """A message that brings clocks up to ``end``."""
        author.ends.append(end)
        author.dues.append(due)
        author.stages.append(stage)
        if self.is_checked:
            self.written.append((author.slot, update))

    def deleted(self, author: Author, update: bytes, first: tuple[int, int], due: float, stage: int) -> None:
        """A message that only deletes. What another one deleted already is not followed."""
        if first not in self.delete_numbers:
            self.delete_numbers[first] = len(self.delete_dues)
            self.delete_dues.append(due)
            self.delete_stages.append(stage)
            self.delete_slots.append(author.slot)
        if self.is_checked:
            self.written.append((author.slot, update))

    def parse(self, data: bytes) -> Parsed:
        """What an update holds; the same bytes are walked once for all members.

        Raises:
            Exception: It is no update.
        """
        if len(data) > _LARGE_BYTES:
            if self._large is None or self._large.data != data:
                self._large = self._parse_large(data)
            return self._large
        known = self._parsed.get(data)
        if known is not None:
            return known
        walked = walk(data)
        by_client = self.by_client
        ranges = [(by_client[who], a, b) for who, a, b in walked.ranges if who in by_client]
        deletes: list[int] = []
        if walked.deletes and self.delete_numbers:
            numbers = self.delete_numbers
            for client, clock, length in walked.deletes:
                if length <= len(numbers):
                    found = (numbers.get((client, at)) for at in range(clock, clock + length))
                    deletes += [number for number in found if number is not None]
                else:
                    deletes += [
                        number
                        for (who, at), number in numbers.items()
                        if who == client and clock <= at < clock + length
                    ]
        parsed = Parsed(data, ranges, deletes, is_large=False)
        if len(self._parsed) >= _PARSED_MAX:
            self._parsed.clear()
        self._parsed[data] = parsed
        return parsed

    def _parse_large(self, data: bytes) -> Parsed:
        ranges = [
            (self.by_client[client], 0, clock)
            for client, clock in read_state_vector(pycrdt.get_state(data))
            if client in self.by_client
        ]
        return Parsed(data, ranges, [], is_large=True)

    def parse_awareness(self, payload: bytes) -> list[tuple[Cursor, int]]:
        """Whose clock an awareness payload brings. Those who are gone are left out."""
        known = self._states.get(payload)
        if known is not None:
            return known
        found: list[tuple[Cursor, int]] = []
        count, at = read_var_uint(payload, 0)
        for _ in range(count):
            client, at = read_var_uint(payload, at)
            clock, at = read_var_uint(payload, at)
            size, at = read_var_uint(payload, at)
            is_null = size == 4 and payload.startswith(b"null", at)
            at += size
            cursor = self.cursors.get(client)
            if cursor is not None and not is_null:
                found.append((cursor, clock))
        if len(self._states) >= _PARSED_MAX:
            self._states.clear()
        self._states[payload] = found
        return found


class Knowledge:
    """What one member of a room has got."""

    __slots__ = ("_clocks", "_missing", "_nexts", "_own", "_seen_deletes", "_states", "is_blind", "room")

    def __init__(self, room: RoomBooks, own: Author | None) -> None:
        self.room = room
        self._own = -1 if own is None else own.slot
        self._clocks = [0] * len(room.authors)
        self._nexts = [0] * len(room.authors)
        self._missing: dict[int, set[int]] = {}
        self._seen_deletes = bytearray()
        self._states = [0] * len(room.cursors)
        self.is_blind = False
        """A document was too large to look into: neither holes nor repeats can be told."""

    def skip(self) -> None:
        """Take everything so far for known: the server has no document to catch up from."""
        for author in self.room.authors:
            self._nexts[author.slot] = len(author.ends)
            self._clocks[author.slot] = author.ends[-1] if author.ends else 0
        self._missing.clear()
        self._seen_deletes = bytearray(b"\x01" * len(self.room.delete_dues))
        for cursor in self.room.cursors.values():
            self._states[cursor.slot] = len(cursor.dues)

    def state_vector(self) -> list[tuple[int, int]]:
        """Client and clock of all authors that are known without a hole, without oneself."""
        return [
            (author.client, self._clocks[author.slot])
            for author in self.room.authors
            if author.slot != self._own and self._clocks[author.slot] and not self._missing.get(author.slot)
        ]

    def receive(self, parsed: Parsed, now: float, live_from: float, tally: Tally, *, is_answer: bool) -> None:
        """Enter an update that came at ``now``.

        What was due before ``live_from`` (when the connection opened), and what comes as the answer to a
        question, was caught up with and has no latency.
        """
        for author, start, end in parsed.ranges:
            slot = author.slot
            if slot == self._own:
                tally.echoes += 1
                continue
            known = self._clocks[slot]
            if end <= known:
                self._again(author, start, end, tally, is_answer=is_answer)
                continue
            ends = author.ends
            at = self._nexts[slot]
            count = len(ends)
            if start > known and not self.is_blind:
                until = bisect.bisect_right(ends, start, at)
                if until > at:
                    self._missing.setdefault(slot, set()).update(range(at, until))
                    at = until
            self._clocks[slot] = end
            dues = author.dues
            edits = tally.edits
            while at < count and ends[at] <= end:
                due = dues[at]
                if is_answer or due < live_from:
                    tally.caught_up += 1
                else:
                    tally.delivered += 1
                    us = int((now - due) * 1e6)
                    if us > 2047:
                        bucket = us.bit_length() - 11
                        us = (bucket << 10) + (us >> bucket)
                    elif us < 0:
                        us = 0
                    key = author.stages[at] << STAGE_SHIFT | us
                    edits[key] = edits.get(key, 0) + 1
                at += 1
            self._nexts[slot] = at
        if parsed.deletes:
            self._receive_deletes(parsed.deletes, now, live_from, tally, is_answer=is_answer)
        elif parsed.is_large:
            # The walk left the deletions out: those of before are taken for known, the comparison will tell.
            missing = len(self.room.delete_dues) - len(self._seen_deletes)
            self._seen_deletes += b"\x01" * max(0, missing)

    def _again(self, author: Author, start: int, end: int, tally: Tally, *, is_answer: bool) -> None:
        """A range that lies behind what is known: it fills a hole, or it is a duplicate."""
        first = bisect.bisect_right(author.ends, start)
        last = bisect.bisect_right(author.ends, end)
        missing = self._missing.get(author.slot)
        filled = missing.intersection(range(first, last)) if missing else ()
        if missing and filled:
            missing.difference_update(filled)
            tally.reordered += len(filled)
            if not missing:
                del self._missing[author.slot]
        elif not is_answer and not self.is_blind:
            tally.duplicated += max(1, last - first)

    def _receive_deletes(
        self, numbers: list[int], now: float, live_from: float, tally: Tally, *, is_answer: bool
    ) -> None:
        # A server may repeat deletions: a difference holds the whole delete set. So none is a duplicate.
        seen = self._seen_deletes
        room = self.room
        for number in numbers:
            if number >= len(seen):
                seen.extend(bytes(len(room.delete_dues) - len(seen)))
            if seen[number] or room.delete_slots[number] == self._own:
                continue
            seen[number] = 1
            due = room.delete_dues[number]
            if is_answer or due < live_from:
                tally.caught_up += 1
                continue
            tally.delivered += 1
            us = max(0, int((now - due) * 1e6))
            if us > 2047:
                bucket = us.bit_length() - 11
                us = (bucket << 10) + (us >> bucket)
            key = room.delete_stages[number] << STAGE_SHIFT | us
            tally.edits[key] = tally.edits.get(key, 0) + 1

    def receive_awareness(
        self,
        entries: list[tuple[Cursor, int]],
        now: float,
        live_from: float,
        tally: Tally,
        own: Cursor | None,
    ) -> None:
        """Enter awareness: a clock answers for all before it, because the newest wins.

        The time of a superseded state runs until a newer one came: so long did the receiver look at an old
        one. A server that leaves states out looks no better for it.
        """
        for cursor, clock in entries:
            if cursor is own:
                continue
            slot = cursor.slot
            at = self._states[slot]
            last = min(clock, len(cursor.dues))
            if last <= at:
                continue
            self._states[slot] = last
            dues = cursor.dues
            cursors = tally.cursors
            for n in range(at, last):
                due = dues[n]
                if due < live_from:
                    continue
                if n < last - 1:
                    tally.superseded += 1
                else:
                    tally.awareness_delivered += 1
                us = max(0, int((now - due) * 1e6))
                if us > 2047:
                    bucket = us.bit_length() - 11
                    us = (bucket << 10) + (us >> bucket)
                key = cursor.stages[n] << STAGE_SHIFT | us
                cursors[key] = cursors.get(key, 0) + 1

    # -- what is still to come

    def lacks(self, mark: tuple[list[int], int] | None = None) -> int:
        """Messages of others that have not come: of all, or of those that ``mark`` saw sent."""
        sent, deletes = mark or sent_so_far(self.room)
        count = sum(len(missing) for missing in self._missing.values())
        for slot, wanted in enumerate(sent):
            if slot != self._own and wanted > self._nexts[slot]:
                count += wanted - self._nexts[slot]
        seen = self._seen_deletes
        if deletes:
            slots = self.room.delete_slots
            for number in range(deletes):
                if slots[number] != self._own and (number >= len(seen) or not seen[number]):
                    count += 1
        return count

    def lacks_states(self, own: Cursor | None, present: set[int]) -> int:
        """Clients of ``present`` whose newest awareness has not come."""
        return sum(
            1
            for cursor in self.room.cursors.values()
            if cursor is not own and cursor.client in present and self._states[cursor.slot] < len(cursor.dues)
        )


def sent_so_far(room: RoomBooks) -> tuple[list[int], int]:
    """Messages by author, and messages that only delete."""
    return [len(author.ends) for author in room.authors], len(room.delete_dues)


def read_state_vector(data: bytes) -> list[tuple[int, int]]:
    """Client and clock of a state vector."""
    count, at = read_var_uint(data, 0)
    entries = []
    for _ in range(count):
        client, at = read_var_uint(data, at)
        clock, at = read_var_uint(data, at)
        entries.append((client, clock))
    return entries
