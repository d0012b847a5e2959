"""Revocations between the store and the doors: made here, heard of here, by whichever node made them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from collab_server.access.revocations import Held, Revocations
from collab_server.errors import BusyError
from persistence.base import NewRevocation, Revocation, Store
from persistence.errors import StoreError

log = structlog.get_logger(__name__)

DAY_MS = 86_400_000
_PAGE = 1000
_DROP_EVERY_MS = 3_600_000


class Revoker:
    """Keeps the revocations in memory in step with the store's, and has sessions closed that one matches.

    A store that is away leaves the last known ones in force. Ids in the store grow in the order of the
    commits, so whoever goes on from the last one read misses none.
    """

    def __init__(
        self,
        store: Store,
        revocations: Revocations,
        *,
        poll_ms: float,
        keep_days: int,
        wall_clock_ms: Callable[[], int],
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._revocations = revocations
        self._poll_s = poll_ms / 1000
        self._keep_ms = keep_days * DAY_MS
        self._wall_clock_ms = wall_clock_ms
        # Not all nodes at once.
        self._drop_after_ms = wall_clock_ms() + round(random() * _DROP_EVERY_MS)
        self._after = 0
        self.on_revoked: Callable[[], None] = lambda: None
        """Called when something was revoked that was not before: who is here may have to go."""

    async def run(self) -> None:
        """Follow until cancelled. A store that is away is asked again."""
        while True:
            try:
                await self.catch_up()
                await self._drop_old()
            except StoreError as error:
                log.debug("cannot read revocations", error=str(error))
            await asyncio.sleep(self._poll_s)

    async def catch_up(self) -> None:
        """Take in what was revoked since the last time. Raises StoreError."""
        is_news = False
        try:
            while True:
                page = await self._store.revocations(self._after, limit=_PAGE)
                for stored in page:
                    held = Held(stored.user, stored.session, stored.room, stored.at_ms, stored.until_ms)
                    is_news |= self._revocations.add(held)
                if page:
                    self._after = max(self._after, page[-1].id)
                if len(page) < _PAGE:
                    break
        finally:
            # Also where a later page could not be read: what was taken in is no news the next time.
            if is_news:
                self.on_revoked()

    async def revoke(self, user: str | None, session: str | None, room: str | None) -> Revocation:
        """Make void what was issued until now; committed, and in force on this node, when this returns.

        Raises:
            BusyError: There are too many, or the store is away.
            ValueError: Neither user nor session nor room is named.
        """
        if self._revocations.is_full:
            raise BusyError(f"there are {len(self._revocations)} revocations: raise revocations_max")
        at_ms = self._wall_clock_ms()
        asked = NewRevocation(at_ms, at_ms + self._keep_ms, user, session, room)
        try:
            revocation_id = await self._store.add_revocation(asked)
        except StoreError as error:
            raise BusyError("the store does not answer; nothing is known to be revoked") from error
        if self._revocations.add(Held(user, session, room, asked.at_ms, asked.until_ms)):
            self.on_revoked()
        return Revocation(asked.at_ms, asked.until_ms, user, session, room, revocation_id)

    async def list(self, after: int, limit: int) -> Sequence[Revocation]:
        """Those in the store with an id above ``after``. Raises BusyError while the store is away."""
        try:
            return await self._store.revocations(after, limit=limit)
        except StoreError as error:
            raise BusyError("the store does not answer") from error

    async def _drop_old(self) -> None:
        now_ms = self._wall_clock_ms()
        if now_ms < self._drop_after_ms:
            return
        self._drop_after_ms = now_ms + _DROP_EVERY_MS
        self._revocations.drop(now_ms)
        await self._store.drop_revocations(now_ms)
