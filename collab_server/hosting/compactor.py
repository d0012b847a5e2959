"""Compaction: many update rows become one snapshot, in a worker process, while the room goes on.

It reads the rows from the store and deletes exactly those, so it is safe beside any appender, on any node,
at any moment; a compaction that loses a race changes nothing and is forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from collab_server.errors import CollabError
from collab_server.hosting.settings import HostingSettings
from collab_server.telemetry.metrics import Metrics
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.compaction import Compacted, compact
from persistence.base import Snapshot, Store
from persistence.errors import StoreError

log = structlog.get_logger(__name__)


class Worker(Protocol):
    """Runs a module-level function in a worker process. Raises CollabError when that cannot be done."""

    async def run(
        self,
        function: Callable[[bytes | None, Sequence[bytes], Bounds], Compacted],
        snapshot: bytes | None,
        updates: Sequence[bytes],
        bounds: Bounds,
        /,
    ) -> Compacted:
        """Call ``function`` there with these arguments."""
        ...


class Compactor:
    """Compacts one document after the other; ``on_compacted`` lets an open room shrink too."""

    def __init__(
        self, store: Store, worker: Worker, bounds: Bounds, settings: HostingSettings, metrics: Metrics
    ) -> None:
        self._store = store
        self._worker = worker
        self._settings = settings
        self._bounds = bounds
        self._metrics = metrics
        self._rooms: dict[str, None] = {}
        self._wake = asyncio.Event()
        self.on_compacted: Callable[[str, Compacted], None] = lambda _room, _compacted: None

    def request(self, room: str) -> None:
        """Compact this room's document soon. Asking twice is asking once."""
        self._rooms[room] = None
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled. The owner awaits it."""
        while True:
            if not self._rooms:
                self._wake.clear()
                await self._wake.wait()
            room = next(iter(self._rooms))
            del self._rooms[room]
            try:
                await self.compact(room)
            except (StoreError, CollabError) as error:
                # Nothing is lost: the rows are still there, and the next request finds them.
                log.warning("compaction failed", room=room, error=str(error))
                self._metrics.count_compaction("failed")
                await asyncio.sleep(1)

    async def compact(self, room: str) -> None:
        """Compact one document now. Raises StoreError or CollabError; the document is then as it was."""
        stored = await self._store.load(room)
        if stored is None or not stored.updates:
            return
        began = time.perf_counter()
        base = stored.snapshot.data if stored.snapshot else None
        updates = [row.data for row in stored.updates]
        if stored.bytes_total < self._settings.compact_in_worker_bytes:
            compacted = compact(base, updates, self._bounds)
        else:
            compacted = await self._worker.run(compact, base, updates, self._bounds)
        self._metrics.compaction_seconds.observe(time.perf_counter() - began)
        snapshot = Snapshot(compacted.data, compacted.index)
        done = await self._store.compact(room, snapshot, [row.id for row in stored.updates])
        self._metrics.count_compaction("done" if done else "lost")
        if done:
            self.on_compacted(room, compacted)
