"""What a command to Redis costs this process: our link beside redis-py, for ``bench.bus``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from collab_server.bus.client import open_client, tls_context
from collab_server.bus.door import Door
from collab_server.bus.link import Link
from collab_server.bus.state import stream_command, with_data
from collab_server.bus.urls import parse_bus_url

PIPELINES = (1, 10, 100)
COMMANDS = 2_000
_ENTRIES_MAX = 1_000
_TIMEOUT_S = 5.0
_DATA = bytes(100)


@dataclass(frozen=True, slots=True)
class CommandCost:
    """CPU time of one XADD of 100 bytes, its answer included."""

    pipeline: int
    link_us: float
    redis_py_us: float

    @property
    def ratio(self) -> float:
        """How often ours fits into redis-py's."""
        return self.redis_py_us / self.link_us


async def _timed(act: Callable[[], Awaitable[Any]], pipeline: int) -> float:
    began = time.process_time_ns()
    for _ in range(COMMANDS // pipeline):
        await act()
    return (time.process_time_ns() - began) / COMMANDS / 1000


async def measure(url: str, prefix: str, repeats: int) -> list[CommandCost]:
    """Both, in turns."""
    address = parse_bus_url(url)
    door = Door(address, "bench", _TIMEOUT_S)
    door.prepare()
    link = await door.open()
    client = await open_client(address, tls_context(address), _TIMEOUT_S)
    key = f"{prefix}:stream"
    runs: dict[tuple[int, str], list[float]] = {}
    try:
        for _ in range(repeats):
            for pipeline in PIPELINES:
                ours = await _timed(lambda size=pipeline: _link(link, key, size), pipeline)  # type: ignore[misc]
                theirs = await _timed(lambda size=pipeline: _redis_py(client, key, size), pipeline)  # type: ignore[misc]
                runs.setdefault((pipeline, "ours"), []).append(ours)
                runs.setdefault((pipeline, "theirs"), []).append(theirs)
        await client.unlink(key)
    finally:
        link.abort()
        await client.aclose()
    return [
        CommandCost(size, statistics.median(runs[size, "ours"]), statistics.median(runs[size, "theirs"]))
        for size in PIPELINES
    ]


async def _link(link: Link, key: str, pipeline: int) -> None:
    beginning = stream_command(key.encode(), _ENTRIES_MAX)
    await link.call([with_data(beginning, _DATA) for _ in range(pipeline)], _TIMEOUT_S)


async def _redis_py(client: redis.asyncio.Redis, key: str, pipeline: int) -> None:
    async with client.pipeline(transaction=False) as pipe:
        for _ in range(pipeline):
            pipe.xadd(key, {b"e": _DATA}, maxlen=_ENTRIES_MAX, approximate=True)
        await pipe.execute()
