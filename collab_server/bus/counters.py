"""Counts that all nodes add to, in Redis. An ``access.meters.SharedCounts``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from collab_server.bus.door import Door
from collab_server.bus.link import Link, LinkError, command
from collab_server.bus.settings import BusSettings
from collab_server.errors import BusConfigError

log = structlog.get_logger(__name__)

KEEP_S = 120
"""How long a count is kept that nobody adds to."""
_RETRY_S = 2.0
_TIMEOUT_S = 1.0
"""Counts that come late are of no use."""


class RedisCounts:
    """Counts by key; a link of its own, so that a flood of them never delays the bus. One call at a time."""

    def __init__(self, settings: BusSettings, client_name: str, *, clock: Callable[[], float]) -> None:
        self._prefix = f"{settings.prefix}:count:"
        self._timeout_s = min(_TIMEOUT_S, settings.timeout_s)
        self._door = Door(settings.address, client_name, self._timeout_s)
        self._clock = clock
        self._link: Link | None = None
        self._not_before = 0.0

    async def add(self, used: Mapping[str, int]) -> Mapping[str, int]:
        """Add to the counts; their totals. An empty mapping while Redis cannot be reached."""
        if not used or (self._link is None and self._clock() < self._not_before):
            return {}
        try:
            if self._link is None:
                self._door.prepare()
                self._link = await self._door.open()
            keys = {name: self._prefix + name for name in used}
            adding = [command("INCRBY", keys[name], amount) for name, amount in used.items()]
            keeping = [command("EXPIRE", key, KEEP_S) for key in keys.values()]
            replies = await self._link.call([*adding, *keeping], self._timeout_s)
        except (LinkError, BusConfigError) as error:
            # The bus says loudly what is wrong; limits are the node's own meanwhile.
            log.debug("counts cannot be shared", reason=str(error))
            self._drop()
            return {}
        except BaseException:
            self._drop()
            raise
        return {name: total for name, total in zip(used, replies, strict=False) if isinstance(total, int)}

    def close(self) -> None:
        """Let go of the link."""
        if self._link is not None:
            self._link.abort()
            self._link = None

    def _drop(self) -> None:
        self.close()
        self._not_before = self._clock() + _RETRY_S
