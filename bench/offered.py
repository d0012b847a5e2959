"""Updates that come at a given rate, whatever the store does, and how long each takes to be durable.

Open loop: every update has a moment at which it is due. It is put into the journal at the first turn of the
loop after that, and its time runs from when it was due until the journal says that it is committed. So a
stall counts for all that would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from collab_server.hosting.journal import Journal
from collab_server.hosting.settings import JournalSettings
from collab_server.telemetry.loop import settle_gc, unsettle_gc
from collab_server.telemetry.metrics import Metrics
from collab_server.wire.lib0 import encode_var_uint
from persistence.base import Store
from persistence.errors import StoreError

TICK_S = 0.001
WRITERS_PER_ROOM = 4
DRAIN_LIMIT_S = 5.0
_FIRST_CLIENT = 1 << 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rate over one number of rooms gave. Times in milliseconds."""

    offered_per_s: int
    rooms: int
    committed_per_s: float
    p50_ms: float
    p99_ms: float
    waiting_early: int
    """The most updates that waited for the store in the first half of the time."""
    waiting_late: int
    """The same for the second half: a queue that grows shows here, and in the rate."""
    cpu: float
    """Processor time of this process per second; a store's own processes are not in it."""


class _Room:
    """A room as the journal knows it."""

    __slots__ = ("due", "journal_bytes", "name", "times_s")

    def __init__(self, name: str, times_s: array[float]) -> None:
        self.name = name
        self.journal_bytes = 0
        self.due: deque[tuple[int, float]] = deque()
        self.times_s = times_s

    def on_committed(self, sequence: int) -> None:
        now, due = time.perf_counter(), self.due
        while due and due[0][0] <= sequence:
            self.times_s.append(now - due.popleft()[1])

    def on_deleted(self) -> None:
        raise AssertionError(f"{self.name} was deleted by somebody else")

    def on_unstorable(self, error: StoreError) -> None:
        raise error


def keystroke(client: int, clock: int) -> bytes:
    """One typed character, as Yjs 13 encodes it: an item behind the one before it."""
    writer = encode_var_uint(client)
    place = b"\x84" + writer + encode_var_uint(clock - 1) if clock else b"\x04\x01\x05notes"
    return b"\x01\x01" + writer + encode_var_uint(clock) + place + b"\x01a\x00"


def keystrokes(count: int, rooms: int, first_clock: int) -> list[bytes]:
    """What ``WRITERS_PER_ROOM`` people in each room type, room after room."""
    writers = rooms * WRITERS_PER_ROOM
    return [
        keystroke(_FIRST_CLIENT + number % writers, first_clock + number // writers)
        for number in range(count)
    ]


async def offer(store: Store, *, per_s: int, rooms: int, seconds: float) -> Outcome:
    """Offer ``per_s`` updates a second for some seconds, and wait (not for ever) until they are committed."""
    times_s: array[float] = array("d")
    journal = Journal(store, JournalSettings(), Metrics(), clock=time.perf_counter, random=random.random)
    running = asyncio.create_task(journal.run())
    places = [_Room(f"bench-{os.getpid()}-{rooms}-{number}", times_s) for number in range(rooms)]
    updates = keystrokes(int(per_s * seconds), rooms, 1)
    try:
        for place in places:  # A room's first row costs more than the next ones, and comes once.
            journal.put(place, keystroke(_FIRST_CLIENT, 0), (), 1)
        await journal.settle()
        settle_gc()  # as the server does
        return await _run(journal, places, updates, per_s, times_s)
    finally:
        unsettle_gc()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _run(
    journal: Journal, places: Sequence[_Room], updates: Sequence[bytes], per_s: int, times_s: array[float]
) -> Outcome:
    rooms = len(places)
    waiting_max = [0, 0]
    sent, count = 0, len(updates)
    cpu_before, started = time.process_time(), time.perf_counter()
    while sent < count:
        until = min(count, int((time.perf_counter() - started) * per_s) + 1)
        for number in range(sent, until):
            place = places[number % rooms]
            sequence = journal.put(place, updates[number], ("bench",), 1)
            place.due.append((sequence, started + number / per_s))
        sent = until
        half = 2 * sent > count
        waiting_max[half] = max(waiting_max[half], journal.entries_waiting)
        await asyncio.sleep(TICK_S)
    with contextlib.suppress(TimeoutError):  # what is not committed by then shows in the rate
        await asyncio.wait_for(journal.settle(), DRAIN_LIMIT_S)
    elapsed = time.perf_counter() - started
    cpu = (time.process_time() - cpu_before) / elapsed
    for place in places:
        times_s.extend(elapsed + started - due for _, due in place.due)
    committed = count - sum(len(place.due) for place in places)
    ordered = sorted(times_s)
    return Outcome(
        per_s,
        rooms,
        committed / elapsed,
        percentile(ordered, 0.50) * 1000,
        percentile(ordered, 0.99) * 1000,
        waiting_max[0],
        waiting_max[1],
        cpu,
    )


def median(outcomes: Sequence[Outcome]) -> Outcome:
    """The median of each figure over repeated runs of one measurement."""
    return Outcome(
        outcomes[0].offered_per_s,
        outcomes[0].rooms,
        statistics.median(outcome.committed_per_s for outcome in outcomes),
        statistics.median(outcome.p50_ms for outcome in outcomes),
        statistics.median(outcome.p99_ms for outcome in outcomes),
        int(statistics.median(outcome.waiting_early for outcome in outcomes)),
        int(statistics.median(outcome.waiting_late for outcome in outcomes)),
        statistics.median(outcome.cpu for outcome in outcomes),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of an ordered list lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
