"""The rooms of this node: opened once, evicted when quiet, drained at the end."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from collab_server.errors import BusyError, CloseCode, GoneError, PeerError
from collab_server.hosting.compactor import Compactor
from collab_server.hosting.host import Host
from collab_server.hosting.journal import Journal
from collab_server.hosting.settings import HostingSettings
from collab_server.hosting.turn import TurnEnd
from collab_server.room.room import Room
from collab_server.room.settings import RoomSettings
from collab_server.telemetry.metrics import Metrics, Refusal
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.log import DocumentLog
from persistence.base import Store, StoredDocument
from persistence.errors import DocumentDeletedError, StoreError

log = structlog.get_logger(__name__)


class Neighbours(Protocol):
    """What connects this node's rooms with the same rooms elsewhere. See ``hosting.sharing``."""

    def opening(self, room: str) -> None:
        """A room is going to be read from the store: keep for it what others say meanwhile."""
        ...

    def opened(self, host: Host) -> None:
        """It is open."""
        ...

    def not_opened(self, room: str) -> None:
        """It could not be opened."""
        ...


class Registry:
    """Every room that this node hosts, by name."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        compactor: Compactor,
        settings: HostingSettings,
        room_settings: RoomSettings,
        bounds: Bounds,
        metrics: Metrics,
        *,
        wall_clock_ms: Callable[[], int],
        neighbours: Neighbours | None = None,
    ) -> None:
        """``neighbours`` connect the rooms with those of other nodes; None if there are no others."""
        self._neighbours = neighbours
        self._store = store
        self._journal = journal
        self._compactor = compactor
        self._settings = settings
        self._room_settings = room_settings
        self._bounds = bounds
        self._metrics = metrics
        self._wall_clock_ms = wall_clock_ms
        self._loop = asyncio.get_running_loop()
        self._turn_end = TurnEnd(self._loop)
        self._hosts: dict[str, Host] = {}
        self._opening: dict[str, asyncio.Task[Host]] = {}
        self._evictions: dict[str, asyncio.TimerHandle] = {}
        self._unsettled: set[str] = set()
        self._draining = False
        self._on_quiet, self._on_ended = self._await_quiet, self._forget  # the same objects for all rooms

    @property
    def hosts(self) -> list[Host]:
        """The rooms that are open now."""
        return list(self._hosts.values())

    @property
    def rooms_count(self) -> int:
        """How many rooms are open now."""
        return len(self._hosts)

    def get(self, room: str) -> Host | None:
        """The room if it is open on this node."""
        return self._hosts.get(room)

    async def get_opened(self, room: str) -> Host | None:
        """The room if it is open, or once it is if it is being opened now: it may have been read already."""
        task = self._opening.get(room)
        if task is not None:
            await asyncio.wait([task])
        return self._hosts.get(room)

    @asynccontextmanager
    async def opened(self, room: str) -> AsyncIterator[Host]:
        """The room, read from the store if need be; it is not evicted inside this block.

        Raises GoneError for a deleted document, BusyError when the store or this node cannot take the room
        now.
        """
        host = await self._open(room)
        host.pins += 1
        try:
            yield host
        finally:
            host.pins -= 1
            if not host.peers:
                self._await_quiet(host)

    async def save(self) -> None:
        """Flush every room, and wait until all of it is committed."""
        for host in self.hosts:
            host.flush(adopting=True)
        await self._journal.settle()

    async def drain(self) -> None:
        """Refuse to open rooms from now on, and save what there is."""
        self._draining = True
        await self.save()

    async def close(self) -> None:
        """Drop every room. Call ``drain`` before."""
        self._draining = True
        for timer in self._evictions.values():
            timer.cancel()
        self._evictions.clear()
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for host in self.hosts:
            host.end(BusyError("this node is leaving", CloseCode.SERVICE_RESTART))

    # -- opening

    async def _open(self, room: str) -> Host:
        while True:
            host = self._hosts.get(room)
            if host is not None:
                self._cancel_eviction(room)
                return host
            task = self._opening.get(room)
            if task is None:
                self._admit()
                task = self._loop.create_task(self._load(room), name=f"open {room}")
                self._opening[room] = task
                task.add_done_callback(functools.partial(self._opened, room))
            # A waiter that is cancelled must not take the load away from the others.
            await asyncio.wait([task])
            host = task.result()
            if not host.ended:
                self._cancel_eviction(room)
                return host

    def _opened(self, room: str, task: asyncio.Task[Host]) -> None:
        del self._opening[room]
        if not task.cancelled() and task.exception() is None:
            # Those who waited take it next, and call this off. If all of them have gone meanwhile, it ends.
            self._await_quiet(task.result())

    def _admit(self) -> None:
        if self._draining:
            raise BusyError("this node is leaving", CloseCode.SERVICE_RESTART)
        if len(self._hosts) + len(self._opening) >= self._settings.rooms_max:
            self._metrics.count_refused(Refusal.ROOMS_MAX)
            raise BusyError("this node has as many rooms as it may", CloseCode.OVERLOADED)

    async def _load(self, room: str) -> Host:
        neighbours = self._neighbours
        if neighbours is None:
            return self._admitted(await self._read(room))
        neighbours.opening(room)
        try:
            host = await self._read(room)
        except BaseException:
            neighbours.not_opened(room)
            raise
        neighbours.opened(host)
        return self._admitted(host)

    def _admitted(self, host: Host) -> Host:
        if self._draining:
            host.end(BusyError("this node is leaving", CloseCode.SERVICE_RESTART))
            raise BusyError("this node is leaving", CloseCode.SERVICE_RESTART)
        return host

    async def _read(self, room: str) -> Host:
        started_at = self._loop.time()
        if room in self._unsettled:
            await self._settle(room)
        try:
            stored = await self._store.load(room)
        except DocumentDeletedError as error:
            raise GoneError("the document was deleted") from error
        except StoreError as error:
            log.warning("cannot open a room", room=room, error=str(error))
            self._metrics.count_store_error("load")
            raise BusyError("the store is away", CloseCode.STORE_UNAVAILABLE) from error
        document = self._open_log(room, stored)
        host = Host(
            Room(room, document, self._room_settings),
            self._journal,
            self._settings,
            self._metrics,
            turn_end=self._turn_end,
            wall_clock_ms=self._wall_clock_ms,
            on_quiet=self._on_quiet,
            on_ended=self._on_ended,
        )
        if stored is not None and stored.updates:
            host.rows_since_compaction = len(stored.updates)
            host.bytes_since_compaction = sum(len(row.data) for row in stored.updates)
            age_ms = self._wall_clock_ms() - min(row.at_ms for row in stored.updates)
            host.uncompacted_since = self._loop.time() - max(0, age_ms) / 1000
        self._hosts[room] = host
        self._metrics.room_load_seconds.observe(self._loop.time() - started_at)
        return host

    async def _settle(self, room: str) -> None:
        """Wait until the store has what an earlier life of this room left in the journal."""
        try:
            async with asyncio.timeout(self._settings.settle_timeout_s):
                await self._journal.settle()
        except TimeoutError as error:
            raise BusyError("the store is away", CloseCode.STORE_UNAVAILABLE) from error
        self._unsettled.discard(room)

    def _open_log(self, room: str, stored: StoredDocument | None) -> DocumentLog:
        if stored is None:
            return DocumentLog(self._bounds)
        snapshot = stored.snapshot
        try:
            return DocumentLog.open(
                snapshot.data if snapshot else b"",
                snapshot.index if snapshot else b"",
                [row.data for row in stored.updates],
                self._bounds,
            )
        except PeerError as error:
            # What was stored was inspected when it came: this is a damaged or foreign row. The room stays
            # closed, so that nothing is built upon half a document.
            log.error("a stored document cannot be read", room=room, error=str(error))
            self._metrics.count_store_error("decode")
            raise BusyError("the stored document cannot be read", CloseCode.STORE_UNAVAILABLE) from error

    # -- leaving

    def _await_quiet(self, host: Host) -> None:
        if host.ended or self._draining:
            return
        self._cancel_eviction(host.name)
        self._evictions[host.name] = self._loop.call_later(
            self._settings.room_quiet_evict_s, self._evict_if_quiet, host
        )

    def _evict_if_quiet(self, host: Host) -> None:
        self._evictions.pop(host.name, None)
        if host.ended or host.peers or host.pins:
            return
        host.flush(adopting=True)
        if not host.is_saved:
            # The commit is under way or the store is away: keep the only copy, look again later.
            self._await_quiet(host)
            return
        host.end(BusyError("the room was closed", CloseCode.SERVICE_RESTART))
        self._metrics.rooms_evicted.inc()

    def _cancel_eviction(self, room: str) -> None:
        timer = self._evictions.pop(room, None)
        if timer is not None:
            timer.cancel()

    def _forget(self, host: Host) -> None:
        if self._hosts.get(host.name) is host:
            del self._hosts[host.name]
            self._cancel_eviction(host.name)
            if host.journal_bytes:
                self._unsettled.add(host.name)
            if host.rows_since_compaction > 1 and not self._draining:
                self._compactor.request(host.name)
