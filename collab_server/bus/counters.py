"""Counts that all nodes add to, in Redis. An ``access.meters.SharedCounts``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from collab_server.bus.client import open_client, tls_context
from collab_server.bus.link import LinkError
from collab_server.bus.settings import BusSettings
from collab_server.errors import BusConfigError

log = structlog.get_logger(__name__)

KEEP_S = 120
"""How long a count is kept that nobody adds to."""
_RETRY_S = 2.0
_TIMEOUT_S = 1.0
"""Counts that come late are of no use."""


class RedisCounts:
    """Counts by key. Their connection is their own, so that they never delay the bus. One call at a time."""

    def __init__(self, settings: BusSettings, *, clock: Callable[[], float]) -> None:
        self._address = settings.address
        self._prefix = f"{settings.prefix}:count:"
        self._timeout_s = min(_TIMEOUT_S, settings.timeout_s)
        self._clock = clock
        self._client: Redis | None = None
        self._not_before = 0.0

    async def add(self, used: Mapping[str, int]) -> Mapping[str, int]:
        """Add to the counts; their totals. An empty mapping while Redis is away, or takes nothing."""
        if not used or self._clock() < self._not_before:
            return {}
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._add(used)
        except (RedisError, LinkError, OSError, BusConfigError) as error:
            # The bus says loudly what is wrong; limits are the node's own meanwhile.
            log.debug("counts cannot be shared", reason=str(error))
            self._not_before = self._clock() + _RETRY_S
            await self.close()
            return {}

    async def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _add(self, used: Mapping[str, int]) -> Mapping[str, int]:
        if self._client is None:
            self._client = await open_client(self._address, tls_context(self._address), self._timeout_s)
        async with self._client.pipeline(transaction=False) as pipe:
            for name, amount in used.items():
                pipe.incrby(self._prefix + name, amount)
            for name in used:
                pipe.expire(self._prefix + name, KEEP_S)
            totals = await pipe.execute()
        return dict(zip(used, totals, strict=False))
