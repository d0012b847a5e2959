"""Structs that came before what they need, kept apart until it has come.

Each client's pending structs are runs of bytes, sorted by clock. What the first of them waits for stands in a
heap under the client that must bring it, so that an edit looks at nothing here unless somebody waits for
exactly its client. The wait is over when that client's clock has reached the needed one.
"""

from __future__ import annotations

from bisect import insort
from heapq import heappop, heappush

from collab_server.ydoc.idset import IdSet

RUN_OVERHEAD_BYTES = 256
"""What a run costs beside its bytes; counted against the bound, so that many tiny runs are as dear as they
are.
"""

_JOIN_BELOW_BYTES = 4096
"""A run that goes on where a shorter one than this ends is joined with it."""


class Run:
    """Structs of one client that follow each other, as a stretch of bytes."""

    __slots__ = ("at", "client", "clock", "data", "end", "until")

    def __init__(self, client: int, clock: int, end: int, data: bytes, at: int, until: int) -> None:
        self.client = client
        self.clock = clock
        self.end = end
        self.data = data
        self.at = at
        self.until = until

    def __lt__(self, other: Run) -> bool:
        return self.clock < other.clock

    @property
    def size(self) -> int:
        """Bytes of the structs."""
        return self.until - self.at

    def raw(self) -> bytes:
        """The structs' bytes."""
        return self.data[self.at : self.until]


class Pending:
    """All runs that wait in one document."""

    __slots__ = ("_waits", "blocked", "bytes_total", "ids", "runs", "runs_total")

    def __init__(self) -> None:
        self.runs: dict[int, list[Run]] = {}
        self.blocked: dict[int, tuple[int, int]] = {}
        """For each client with runs: the client and the clock that it waits for."""
        self._waits: dict[int, list[tuple[int, int]]] = {}
        """For each awaited client a heap of (clock, who waits); entries that no longer hold are passed
        over.
        """
        self.ids = IdSet()
        """What has come. Ids that were released stay in it while their client has runs: nobody asks for them
        again.
        """
        self.bytes_total = 0
        self.runs_total = 0

    @property
    def weight(self) -> int:
        """What counts against the bound, in bytes."""
        return self.bytes_total + self.runs_total * RUN_OVERHEAD_BYTES

    def awaits(self, client: int, clock: int) -> bool:
        """Whether somebody waits for this client to reach this clock, or one below it."""
        waits = self._waits.get(client)
        return waits is not None and waits[0][0] <= clock

    def block(self, client: int, on: int, clock: int) -> None:
        """Note that a client's first run waits until client ``on`` has reached ``clock``."""
        if self.blocked.get(client) != (on, clock):
            self.blocked[client] = (on, clock)
            heappush(self._waits.setdefault(on, []), (clock, client))

    def waiting_for(self, client: int, clock: int) -> list[int]:
        """Who waits for this client to reach this clock or one below it.

        They stay noted until they are unblocked.
        """
        waits = self._waits.get(client)
        if waits is None:
            return []
        popped = []
        while waits and waits[0][0] <= clock:
            popped.append(heappop(waits))
        found = {entry for entry in popped if self.blocked.get(entry[1]) == (client, entry[0])}
        for entry in found:
            heappush(waits, entry)
        if not waits:
            del self._waits[client]
        return [who for _, who in found]

    def insert(self, run: Run) -> None:
        """Keep a run; its bytes are copied out of the update that brought it."""
        runs = self.runs.setdefault(run.client, [])
        self.ids.add(run.client, run.clock, run.end)
        self.bytes_total += run.size
        if runs and runs[-1].end == run.clock and runs[-1].size < _JOIN_BELOW_BYTES:
            last = runs[-1]
            joined = last.raw() + run.raw()
            runs[-1] = Run(run.client, last.clock, run.end, joined, 0, len(joined))
            return
        kept = Run(run.client, run.clock, run.end, run.raw(), 0, run.size)
        if not runs or kept.clock >= runs[-1].clock:
            runs.append(kept)
        else:
            insort(runs, kept)
        self.runs_total += 1

    def release(self, client: int, whole: int, rest: Run | None) -> None:
        """Let go of a client's first ``whole`` runs; ``rest`` takes the place of the last of them."""
        runs = self.runs.get(client)
        if runs is None:
            return
        gone = runs[:whole]
        self.bytes_total -= sum(run.size for run in gone)
        self.runs_total -= whole
        del runs[:whole]
        if rest is not None:
            runs.insert(0, rest)
            self.bytes_total += rest.size
            self.runs_total += 1
        if not runs:
            del self.runs[client]
            self.blocked.pop(client, None)
            self.ids.remove_client(client)
