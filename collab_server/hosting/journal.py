"""The group commit: what rooms write goes to the store in groups, and comes back as "committed".

Self-clocked: one commit is in flight, whatever arrives meanwhile is the next group. The first edit after
quiet is committed at once; under load two commits begin at least ``commit_interval_ms`` apart, since each
costs much the same however small it is. A group that failed is tried again as it was, for ever, with jittered
back-off: updates are idempotent, so a commit whose reply was lost does no harm. What waits is bounded in
bytes, for the node and for each room; the rooms ask before they take an edit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from collab_server.hosting.settings import JournalSettings
from collab_server.telemetry.metrics import Metrics
from collab_server.ydoc.update import splice
from persistence.base import Append, Appended, Store
from persistence.errors import StoreError, StoreUnavailableError

log = structlog.get_logger(__name__)


class Writer(Protocol):
    """A room that writes to the journal, and hears what became of it."""

    name: str
    journal_bytes: int
    """Bytes of this room that wait for the store; kept by the journal."""

    def on_committed(self, sequence: int) -> None:
        """Everything that this room put up to ``sequence`` is durable."""
        ...

    def on_deleted(self) -> None:
        """The document was deleted meanwhile; what was put is gone with it."""
        ...

    def on_unstorable(self, error: StoreError) -> None:
        """The store refuses this room's data for good (not: is unavailable). It was not stored."""
        ...


@dataclass(slots=True)
class _Entry:
    writer: Writer
    data: bytes
    authors: tuple[str, ...]
    at_ms: int
    sequence: int


class Journal:
    """One node's way into the store.

    Order: ``on_committed`` comes in the order of ``put``, on the event loop's thread.
    Loss: what was put and not yet reported as committed is lost if the process dies.
    """

    def __init__(
        self,
        store: Store,
        settings: JournalSettings,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._queue: deque[_Entry] = deque()
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._sequence = 0
        self._released = 0
        self._next_commit_at = 0.0
        self._bytes_waiting = 0
        self._failing: str | None = None
        self._commit_started_at: float | None = None

    @property
    def entries_waiting(self) -> int:
        """Updates that wait for the next commit."""
        return len(self._queue)

    @property
    def bytes_waiting(self) -> int:
        """Bytes that are put and not yet committed."""
        return self._bytes_waiting

    @property
    def trouble(self) -> str | None:
        """Why commits do not go through now, in one sentence; None when they do."""
        if self._failing is not None:
            return self._failing
        started_at = self._commit_started_at
        if started_at is not None and self._clock() - started_at > self._settings.stall_s:
            return f"the store has not answered a commit for {self._clock() - started_at:.0f} s"
        return None

    def admits(self, writer: Writer) -> bool:
        """Whether this room may take another edit, as far as the bounds are concerned."""
        return (
            writer.journal_bytes < self._settings.room_journal_bytes_max
            and self._bytes_waiting < self._settings.journal_bytes_max
        )

    def put(self, writer: Writer, data: bytes, authors: Sequence[str], at_ms: int) -> int:
        """Queue an update, whatever the bounds; returns the number that ``on_committed`` will reach."""
        self._sequence += 1
        self._queue.append(_Entry(writer, data, tuple(authors), at_ms, self._sequence))
        writer.journal_bytes += len(data)
        self._bytes_waiting += len(data)
        self._wake.set()
        return self._sequence

    async def run(self) -> None:
        """Commit until ``close`` was called and nothing is left. The owner awaits it."""
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            pause_s = self._next_commit_at - self._clock()
            if pause_s > 0 and not self._closing:
                await asyncio.sleep(pause_s)
            self._next_commit_at = self._clock() + self._settings.commit_interval_ms / 1000
            group = self._take_group()
            await self._commit(group)
            self._released = group[-1].sequence
            del group  # while nothing comes, what was committed last and its room would be kept
            while self._barriers and self._barriers[0][0] <= self._released:
                _, barrier = self._barriers.popleft()
                if not barrier.done():
                    barrier.set_result(None)

    async def settle(self) -> None:
        """Wait until everything that is put by now is committed."""
        if self._released < self._sequence:
            barrier = asyncio.get_running_loop().create_future()
            self._barriers.append((self._sequence, barrier))
            await barrier

    def close(self) -> None:
        """Let ``run`` return once the queue is empty."""
        self._closing = True
        self._wake.set()

    def _take_group(self) -> list[_Entry]:
        group: list[_Entry] = []
        size_bytes = 0
        while self._queue and len(group) < self._settings.group_entries_max:
            size_bytes += len(self._queue[0].data)
            if group and size_bytes > self._settings.group_bytes_max:
                break
            group.append(self._queue.popleft())
        return group

    async def _commit(self, group: list[_Entry]) -> None:
        by_writer: dict[int, list[_Entry]] = {}
        for entry in group:
            by_writer.setdefault(id(entry.writer), []).append(entry)
        parcels = list(by_writer.values())
        rows = [_row(entries) for entries in parcels]
        self._metrics.commit_updates.observe(len(group))
        try:
            outcome = await self._append(rows)
        except StoreError as error:
            # Not "unavailable": something in the group itself cannot be stored. Find out what, so that one
            # room's trouble stays its own.
            log.error("store refused a group", rows=len(rows), error=str(error))
            for entries, row in zip(parcels, rows, strict=True):
                await self._commit_alone(entries, row)
            return
        for entries, appended in zip(parcels, outcome, strict=True):
            self._report(entries, appended)

    async def _commit_alone(self, entries: list[_Entry], row: Append) -> None:
        try:
            outcome = await self._append([row])
        except StoreError as error:
            log.error("store refuses a room's data", room=row.room, bytes=len(row.data), error=str(error))
            self._release(entries)
            entries[0].writer.on_unstorable(error)
            return
        self._report(entries, outcome[0])

    async def _append(self, rows: list[Append]) -> Sequence[Appended]:
        """Append, again and again while the store is unavailable. Raises other StoreErrors."""
        attempt = 0
        while True:
            self._commit_started_at = started_at = self._clock()
            try:
                outcome = await self._store.append(rows)
            except StoreUnavailableError as error:
                if attempt == 0:
                    log.warning("store unavailable", error=str(error), bytes_waiting=self._bytes_waiting)
                if attempt + 1 >= self._settings.failures_until_unready:
                    self._failing = f"the store does not take edits: {error}"
                self._metrics.count_store_error("append")
                self._metrics.store_up.set(0)
                await asyncio.sleep(self._back_off_s(attempt))
                attempt += 1
                continue
            finally:
                self._commit_started_at = None
            if self._failing is not None:
                log.info("store available again", bytes_waiting=self._bytes_waiting)
                self._failing = None
            self._metrics.store_up.set(1)
            self._metrics.commit_seconds.observe(self._clock() - started_at)
            return outcome

    def _back_off_s(self, attempt: int) -> float:
        ceiling_ms = min(self._settings.retry_max_ms, self._settings.retry_min_ms << min(attempt, 20))
        return ceiling_ms * (0.5 + 0.5 * self._random()) / 1000

    def _report(self, entries: list[_Entry], appended: Appended) -> None:
        self._release(entries)
        writer = entries[0].writer
        if appended.deleted:
            writer.on_deleted()
        else:
            writer.on_committed(entries[-1].sequence)

    def _release(self, entries: list[_Entry]) -> None:
        size_bytes = sum(len(entry.data) for entry in entries)
        entries[0].writer.journal_bytes -= size_bytes
        self._bytes_waiting -= size_bytes


def _row(entries: list[_Entry]) -> Append:
    first = entries[0]
    if len(entries) == 1:
        return Append(first.writer.name, first.data, first.authors, first.at_ms)
    authors = dict.fromkeys(author for entry in entries for author in entry.authors)
    return Append(first.writer.name, splice([entry.data for entry in entries]), tuple(authors), first.at_ms)
