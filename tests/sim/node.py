"""A node of the simulation: everything of the real hosting layer, with a store that misbehaves."""

from __future__ import annotations

import asyncio
from random import Random

from collab_server.bus.memory import MemoryBus
from collab_server.hosting.compactor import Compactor
from collab_server.hosting.janitor import Janitor, NoticeReader
from collab_server.hosting.journal import Journal
from collab_server.hosting.presences import Presences
from collab_server.hosting.registry import Registry
from collab_server.hosting.settings import HostingSettings, JournalSettings, SharingSettings
from collab_server.hosting.sharing import Sharing
from collab_server.room.settings import RoomSettings
from collab_server.telemetry.metrics import Metrics
from collab_server.ydoc.bounds import DEFAULT_BOUNDS
from persistence.memory import MemoryDatabase, MemoryStore
from tests.sim.bus import SimHub
from tests.support.faulty_store import FaultyStore
from tests.unit.hosting.house import InPlace

HOSTING = HostingSettings(
    room_quiet_evict_s=5.0, compact_after_updates=8, checkpoint_after_s=20.0, store_timeout_s=3.0
)
SHARING = SharingSettings(store_timeout_s=3.0, opening_bytes_max=4_000, unproven_bytes_max=2_000)


class SimNode:
    """One life of a node."""

    def __init__(
        self, name: str, hub: SimHub, database: MemoryDatabase, random: Random, metrics: Metrics
    ) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.is_alive = False
        self.hub = hub
        self.bus = MemoryBus(hub, name)
        self.store = FaultyStore(MemoryStore(database, now_ms=lambda: round(loop.time() * 1000)))
        self.journal = Journal(
            self.store,
            JournalSettings(retry_min_ms=20, retry_max_ms=500),
            metrics,
            clock=loop.time,
            random=random.random,
        )
        self.compactor = Compactor(self.store, InPlace(), DEFAULT_BOUNDS, HOSTING, metrics)
        self.presences = Presences(
            lambda room: self.registry.get(room),  # noqa: PLW0108 - it is made below
            self.bus,
            random=random.random,
        )
        self.sharing = Sharing(
            self.bus,
            self.store,
            self.presences,
            SHARING,
            DEFAULT_BOUNDS,
            metrics,
            random=random.random,
            store_works=lambda: self.journal.trouble is None,
        )
        self.registry = Registry(
            self.store,
            self.journal,
            self.compactor,
            HOSTING,
            RoomSettings(),
            DEFAULT_BOUNDS,
            metrics,
            wall_clock_ms=lambda: round(loop.time() * 1000),
            neighbours=self.sharing,
        )
        self.janitor = Janitor(self.registry, self.compactor, HOSTING, clock=loop.time)
        self.notices = NoticeReader(self.store, self.registry, HOSTING)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.store.open()
        await self.bus.open(self.sharing)
        parts = (self.journal, self.compactor, self.sharing, self.janitor, self.notices)
        self._tasks = [asyncio.get_running_loop().create_task(part.run()) for part in parts]
        self.is_alive = True

    async def crash(self) -> None:
        """Die: nothing is flushed, nobody is told, and what was about to be written is not."""
        self.is_alive = False
        self.hub.kill(self.bus)
        await self.store.inner.close()
        tasks = [*self._tasks, *self.registry._opening.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.sharing.close()

    async def drain(self) -> None:
        """Leave in order: save, close the rooms, say goodbye."""
        await self.registry.drain()
        await self.registry.close()
        await self.journal.settle()
        self.is_alive = False
        await self.bus.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.sharing.close()
