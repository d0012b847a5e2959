"""What has to be looked at now and then: silent sockets, slow peers, long logs, notices, the store's health.

One task, one second a turn; a turn that fails is logged, and the next one comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from collab_server.errors import GoneError, PeerError
from collab_server.hosting.compactor import Compactor
from collab_server.hosting.registry import Registry
from collab_server.hosting.settings import HostingSettings
from collab_server.telemetry.metrics import Metrics
from collab_server.ydoc.compaction import Compacted
from persistence.base import Notice, NoticeKind, Store
from persistence.errors import DocumentDeletedError, StoreError

log = structlog.get_logger(__name__)


class NoticeReader:
    """Follows the store's notices: deletions and imports that somebody else made."""

    def __init__(self, store: Store, registry: Registry, settings: HostingSettings) -> None:
        self._store = store
        self._registry = registry
        self._poll_s = settings.store_notice_poll_ms / 1000
        self._after: int | None = None

    async def run(self) -> None:
        """Follow until cancelled. A store that is away is asked again; notices are kept there meanwhile."""
        while True:
            try:
                self._after, notices = await self._store.notices(self._after)
                for notice in notices:
                    await self._heed(notice)
            except StoreError as error:
                log.debug("cannot read notices", error=str(error))
            await asyncio.sleep(self._poll_s)

    async def _heed(self, notice: Notice) -> None:
        host = await self._registry.get_opened(notice.room)
        if host is None:
            return
        if notice.kind is NoticeKind.DELETED:
            host.end(GoneError("the document was deleted"))
            return
        try:
            stored = await self._store.load(notice.room)
        except DocumentDeletedError:
            host.end(GoneError("the document was deleted"))
            return
        if stored is not None:
            updates = [row.data for row in stored.updates]
            if stored.snapshot is not None:
                updates.insert(0, stored.snapshot.data)
            try:
                host.receive_remote(updates)
            except PeerError as error:
                # A row that somebody else wrote and that is no update: it concerns those who read it, not
                # this room.
                log.warning("cannot take in what was stored", room=notice.room, error=str(error))


class StoreWatch:
    """Knows whether the store would take a write, also when nobody writes."""

    def __init__(self, store: Store, settings: HostingSettings, metrics: Metrics) -> None:
        self._store = store
        self._interval_s = settings.store_ping_s
        self._timeout_s = settings.store_timeout_s
        self._metrics = metrics
        self._failures_until_unready = settings.failures_until_unready
        self._failures = 0
        self.trouble: str | None = None
        """Why the store would not take a write, in one sentence; None when it would."""

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(self._interval_s)

    async def check(self) -> None:
        """Ask once, and do not wait for ever."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._store.ping()
        except TimeoutError:
            self._note(f"the store does not answer within {self._timeout_s:g} s")
        except StoreError as error:
            self._note(f"the store would not take edits: {error}")
        else:
            self._note(None)

    def _note(self, trouble: str | None) -> None:
        self._failures = 0 if trouble is None else self._failures + 1
        if trouble is not None and self._failures < self._failures_until_unready:
            return
        if (trouble is None) != (self.trouble is None):
            log.warning("store is away", reason=trouble) if trouble else log.info("store is back")
        if trouble is not None:
            self._metrics.count_store_error("ping")
        self._metrics.store_up.set(trouble is None)
        self.trouble = trouble


class Janitor:
    """Walks over the rooms once a second."""

    def __init__(
        self,
        registry: Registry,
        compactor: Compactor,
        settings: HostingSettings,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._compactor = compactor
        self._settings = settings
        self._clock = clock
        compactor.on_compacted = self._adopt

    async def run(self) -> None:
        """Walk until cancelled."""
        while True:
            await asyncio.sleep(1)
            try:
                self.walk()
            except Exception:
                log.exception("a turn of the janitor failed")

    def walk(self) -> None:
        """Look at every room once."""
        now = self._clock()
        for host in self._registry.hosts:
            since = host.uncompacted_since
            if (
                host.rows_since_compaction >= self._settings.compact_after_updates
                or host.bytes_since_compaction >= self._settings.compact_after_bytes
                or (since is not None and now - since >= self._settings.checkpoint_after_s)
            ):
                host.compaction_requested()
                self._compactor.request(host.name)

    def _adopt(self, room: str, compacted: Compacted) -> None:
        host = self._registry.get(room)
        if host is not None:
            host.adopt(compacted)
