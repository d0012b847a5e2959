"""Compaction: many update rows become one snapshot and a piece of history, while the room goes on.

It reads the rows from the store and deletes exactly those, so it is safe beside any appender, on any node,
at any moment; a compaction that loses a race changes nothing and is forgotten. Large documents are worked on
in a worker process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from collab_server.errors import CollabError
from collab_server.hosting.folding import Folded, Past, fold
from collab_server.hosting.settings import HistorySettings, HostingSettings
from collab_server.telemetry.metrics import Metrics
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.compaction import Compacted
from persistence.base import Snapshot, Store, StoredDocument
from persistence.errors import StoreError

log = structlog.get_logger(__name__)

_REST_S_PER_ROW = 40e-6
"""After a fold in place, which takes about 10 us a row: a fifth of the loop's time at most."""


class Worker(Protocol):
    """Runs a module-level function in a worker process. Raises CollabError when that cannot be done."""

    @property
    def run(self) -> Callable[..., Awaitable[Any]]:
        """Call a function there with these arguments, and wait for what it returns."""
        ...


async def past_of(store: Store, room: str, settings: HistorySettings) -> Past:
    """What a compaction of this room has to know of its history. Raises StoreError."""
    size = await store.history_size(room)
    last = await store.list_segments(room, limit=1) if size.segments_count else ()
    return Past(size, last[0].to_ms if last else 0, settings.retention_days > 0, settings.rule)


async def store_folded(store: Store, stored: StoredDocument, folded: Folded) -> bool:
    """Put the result in place of what was read; False, and nothing changed, if somebody else was first."""
    return await store.compact(
        stored.room,
        Snapshot(folded.compacted.data, folded.compacted.index),
        [row.id for row in stored.updates],
        segments=folded.segments,
        checkpoint=folded.checkpoint,
    )


class Compactor:
    """Compacts one document after the other; ``on_compacted`` lets an open room shrink too."""

    def __init__(
        self,
        store: Store,
        worker: Worker,
        bounds: Bounds,
        settings: HostingSettings,
        metrics: Metrics,
        history: HistorySettings | None = None,
    ) -> None:
        self._store = store
        self._worker = worker
        self._settings = settings
        self._history = history or HistorySettings()
        self._bounds = bounds
        self._metrics = metrics
        self._rooms: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._rest_s = 0.0
        """How long to let others have the loop before the next one."""
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
            # Rooms of the same age come due together, and a store in memory never waits: leave most of the
            # loop's time to others.
            await asyncio.sleep(self._rest_s)
            self._rest_s = 0.0
            room = next(iter(self._rooms))
            del self._rooms[room]
            try:
                await self.compact(room)
            except (StoreError, CollabError) as error:
                # Nothing is lost: the rows are still there, and the next request finds them.
                log.warning("compaction failed", room=room, error=str(error))
                self._metrics.count_compaction("failed")
                await asyncio.sleep(1)

    async def compact(self, room: str) -> bool:
        """Compact one document now, if there is anything to compact.

        False if another compaction, or a deletion, came in between. Raises StoreError or CollabError; the
        document is then as it was.
        """
        stored = await self._store.load(room)
        if stored is None or not stored.updates:
            return True
        past = await past_of(self._store, room, self._history)
        began = time.perf_counter()
        if stored.bytes_total < self._settings.compact_in_worker_bytes:
            folded = fold(stored, past, self._bounds)
            self._rest_s = len(stored.updates) * _REST_S_PER_ROW
        else:
            folded = await self._worker.run(fold, stored, past, self._bounds)
        self._metrics.compaction_seconds.observe(time.perf_counter() - began)
        done = await store_folded(self._store, stored, folded)
        self._metrics.count_compaction("done" if done else "lost")
        if done:
            self.on_compacted(room, folded.compacted)
        return done
