"""Retention: history that is too old is folded into one state, and what only it held is gone.

One look an hour, a bounded number of documents each. Any node may do it, several at once: the store lets one
of them win, and the others change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from collab_server.errors import CollabError
from collab_server.hosting.compactor import Worker
from collab_server.hosting.settings import HistorySettings
from collab_server.telemetry.metrics import Metrics
from collab_server.ydoc.update import collect_all
from persistence.base import NewCheckpoint, SegmentInfo, Store
from persistence.errors import StoreError
from persistence.history import last_expired, retention_starts_ms

log = structlog.get_logger(__name__)

_PAGE = 1000


class Retention:
    """Drops segments, and named versions that are not pinned, from the old end."""

    def __init__(
        self,
        store: Store,
        worker: Worker,
        settings: HistorySettings,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int],
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._worker = worker
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._random = random

    async def run(self) -> None:
        """Look until cancelled, at intervals between half and one and a half of what is set."""
        while True:
            await asyncio.sleep(self._settings.retention_interval_s * (0.5 + self._random()))
            try:
                await self.look()
            except StoreError as error:
                log.warning("cannot look for old history", error=str(error))
                self._metrics.count_store_error("expired")

    async def look(self) -> None:
        """Trim the documents that have history which is too old. Raises StoreError if none can be found."""
        before_ms = retention_starts_ms(self._now_ms(), self._settings.retention_days)
        rooms = await self._store.expired(before_ms, self._settings.retention_rooms_max)
        for room in rooms:
            try:
                await self._trim(room, before_ms)
            except (StoreError, CollabError) as error:
                # Nothing was dropped: the next look finds it again.
                log.warning("cannot drop old history", room=room, error=str(error))
        if rooms:
            log.info("old history dropped", rooms=len(rooms))

    async def _trim(self, room: str, before_ms: int) -> None:
        last = await self._last_expired(room, before_ms)
        if last is None:
            await self._store.trim(room, before_ms=before_ms)
            return
        part = await self._store.read_history(room, segment=last.id)
        if part is None:
            return
        updates = [part.checkpoint, *part.segments] if part.checkpoint is not None else part.segments
        base = await self._worker.run(collect_all, list(updates))
        await self._store.trim(
            room, upto_segment=last.id, base=NewCheckpoint(base, last.to_ms), before_ms=before_ms
        )

    async def _last_expired(self, room: str, before_ms: int) -> SegmentInfo | None:
        before: int | None = None
        while page := await self._store.list_segments(room, before=before, limit=_PAGE):
            found = last_expired(page, before_ms)
            if found is not None:
                return found
            before = page[-1].id
        return None
