"""The bus alone, for ``bench.bus``: nodes that are nothing but a bus, each in a process of its own.

The first one says what a node would say of edits, at a given rate; the others note how long it took. All read
one machine's monotonic clock. A process gets lines of JSON on stdin (a job, then runs) and answers each.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import time
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import uvloop

from bench.errors import BenchError
from bench.generator.pacer import Alarm
from bench.offered import keystroke, percentile
from collab_server.bus.base import BusKind, BusMessage, NodeId
from collab_server.bus.memory import MemoryBus
from collab_server.bus.redis import RedisBus
from collab_server.bus.settings import BusSettings
from collab_server.bus.urls import parse_bus_url
from collab_server.hosting.nodemessages import Published
from collab_server.telemetry.busmetrics import BusMetrics
from collab_server.telemetry.metrics import Metrics

ROOM_RATE_PER_S = 20
"""Somebody who types fast, and an idle room in between: no room waits for its window."""
TICK_S = 0.001
"""What is due within it is said in one turn of the loop, as what a node reads from its sockets is."""
_STAMP = struct.Struct("d")
_LEAD_S = 0.3
_QUIET_S = 0.5
"""What is not there after a run and this time is lost."""
_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the bus alone came to. Times of one update."""

    nodes: int
    per_s: int
    p50_ms: float
    p99_ms: float
    sender_us: float
    receiver_us: float
    """Mean of the receiving nodes."""
    redis_us: float
    redis_bytes: float
    updates_per_entry: float
    lost: int


def median(loads: Sequence[Load]) -> Load:
    """The median of each figure over repeated runs."""
    columns = zip(*(dataclasses.astuple(load) for load in loads), strict=True)
    return Load(*(statistics.median(column) for column in columns))


class Server:
    """The Redis from outside: what it has used."""

    def __init__(self, url: str) -> None:
        """Raises BenchError where it cannot be asked."""
        try:
            self._redis: Any = redis.Redis.from_url(url, socket_timeout=5, protocol=2)
            info = self._redis.info("server")
        except (redis.RedisError, ValueError) as error:
            raise BenchError(f"no Redis: {error}") from error
        self.name = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
        self.url = url

    def cpu_s(self) -> float:
        """CPU time that the server has used."""
        info = self._redis.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    def memory_bytes(self) -> int:
        """All that the server keeps."""
        return int(self._redis.info("memory")["used_memory"])

    def streams(self, prefix: str) -> tuple[int, float]:
        """Entries that the nodes with this prefix have written so far, and bytes of one that is kept."""
        written = kept = size = 0
        for key in self._redis.scan_iter(f"{prefix}:shard:*", count=1000):
            info = self._redis.xinfo_stream(key)
            kept += int(info["length"])
            # Redis 6.2 does not say it; there, what was trimmed meanwhile is missing.
            written += int(info.get("entries-added", info["length"]))
            size += int(self._redis.memory_usage(key, samples=0) or 0)
        return written, size / max(1, kept)

    def forget(self, prefix: str) -> None:
        """Remove what the nodes of this prefix have left."""
        for key in list(self._redis.scan_iter(f"{prefix}:*", count=1000)):
            self._redis.unlink(key)

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()


# -- one process


class _Ear:
    """Notes how old each update is."""

    def __init__(self) -> None:
        self.ages_s: array[float] = array("d")

    def on_messages(self, shard: int, sender: NodeId, messages: Sequence[BusMessage]) -> None:
        now, unpack = time.monotonic(), _STAMP.unpack_from
        ages = self.ages_s
        for message in messages:
            ages.append(now - unpack(message.data)[0])

    def on_gap(self, shard: int) -> None:
        """Seen in what is lost."""

    def on_node_gone(self, node: NodeId) -> None:
        """Nobody leaves."""


class _Speaker:
    """Publishes at a rate."""

    def __init__(self, bus: RedisBus | MemoryBus) -> None:
        self._bus = bus
        self.sent = 0

    async def speak(self, per_s: int, start: float, seconds: float) -> None:
        loop, rooms = asyncio.get_running_loop(), max(1, per_s // ROOM_RATE_PER_S)
        names = [f"trip-{number}" for number in range(rooms)]
        message = Published(1_000, 990, keystroke(1 << 30, 1_000)).encode()
        count = int(per_s * seconds)
        over: asyncio.Future[None] = loop.create_future()
        sent = 0

        def turn() -> None:
            nonlocal sent
            now = time.monotonic()
            until = min(count, int((now - start) * per_s) + 1)
            data = _STAMP.pack(now) + message
            for number in range(sent, until):
                self._bus.publish(names[number % rooms], BusKind.UPDATE, data)
            sent = self.sent = until
            if sent == count:
                over.set_result(None)
            else:
                alarm.set(now + TICK_S)

        alarm = Alarm(loop, turn)
        alarm.set(start)
        await over
        alarm.close()


async def _run(bus: RedisBus, ear: _Ear, order: dict[str, Any]) -> dict[str, Any]:
    """One run; what this process has seen of it."""
    start, seconds, per_s = float(order["at"]), float(order["seconds"]), int(order["per_s"])
    ear.ages_s = array("d")
    speaker = _Speaker(bus if order["says"] == "bus" else MemoryBus())
    await asyncio.sleep(max(0.0, start - 0.05 - time.monotonic()))
    cpu_s = time.process_time()
    if order["says"]:
        await speaker.speak(per_s, start, seconds)
    else:
        await asyncio.sleep(max(0.0, start + seconds - time.monotonic()))
    await asyncio.sleep(_QUIET_S)
    cpu_s = time.process_time() - cpu_s
    ages = sorted(ear.ages_s)
    found = {"sent": speaker.sent, "heard": len(ages), "cpu_s": cpu_s}
    if ages:
        found |= {"p50_ms": percentile(ages, 0.50) * 1000, "p99_ms": percentile(ages, 0.99) * 1000}
    return found


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def work() -> None:
    """Be one node until stdin ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    job = json.loads(await reader.readline())
    meter: BusMetrics = Metrics("bench").bus
    bus = RedisBus(
        BusSettings(parse_bus_url(job["url"]), job["prefix"]),
        NodeId(job["name"], 1),
        meter,
        clock=loop.time,
        random=random.random,
    )
    ear = _Ear()
    await bus.open(ear)
    running = asyncio.create_task(bus.run())
    for shard in range(bus.shards_count):
        bus.watch(shard)
    while len(bus.nodes()) < job["nodes"] - 1:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    await asyncio.sleep(_QUIET_S)
    _write({"ready": True})
    while line := await reader.readline():
        _write(await _run(bus, ear, json.loads(line)))
    await bus.close()
    await asyncio.gather(running, return_exceptions=True)


# -- all processes


class Nodes:
    """The processes. A context manager: they end with it."""

    def __init__(self, server: Server, prefix: str, count: int) -> None:
        self._server = server
        self._prefix = prefix
        self.count = count
        self._processes: list[asyncio.subprocess.Process] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Nodes]:
        """Start them, and end them."""
        try:
            for number in range(self.count):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "bench.busload"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                self._processes.append(process)
                job = {"name": f"node-{number}", "nodes": self.count}
                self._tell(process, {**job, "url": self._server.url, "prefix": self._prefix})
            for process in self._processes:
                await self._hear(process)
            yield self
        finally:
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            self._server.forget(self._prefix)

    async def measure(self, per_s: int, seconds: float) -> Load:
        """One run."""
        server = self._server
        entries_before, _ = server.streams(self._prefix)
        redis_before = server.cpu_s()
        found = await self._order(per_s, seconds, "bus")
        redis_s = server.cpu_s() - redis_before
        entries, entry_bytes = server.streams(self._prefix)
        entries = max(1, entries - entries_before)
        pacing = (await self._order(per_s, seconds / 2, "nothing"))[0]
        sender, receivers = found[0], found[1:]
        sent = int(sender["sent"])
        return Load(
            nodes=self.count,
            per_s=per_s,
            p50_ms=statistics.median(one.get("p50_ms", 0.0) for one in receivers),
            p99_ms=statistics.median(one.get("p99_ms", 0.0) for one in receivers),
            sender_us=(sender["cpu_s"] - 2 * pacing["cpu_s"]) / sent * 1e6,
            receiver_us=statistics.fmean(one["cpu_s"] for one in receivers) / sent * 1e6,
            redis_us=redis_s / sent * 1e6,
            redis_bytes=entry_bytes * entries / sent,
            updates_per_entry=sent / entries,
            lost=sum(sent - int(one["heard"]) for one in receivers),
        )

    async def _order(self, per_s: int, seconds: float, says: str) -> list[dict[str, Any]]:
        order = {"at": time.monotonic() + _LEAD_S, "seconds": seconds, "per_s": per_s}
        for number, process in enumerate(self._processes):
            self._tell(process, {**order, "says": says if number == 0 else ""})
        return [await self._hear(process) for process in self._processes]

    def _tell(self, process: asyncio.subprocess.Process, line: dict[str, Any]) -> None:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _hear(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        async with asyncio.timeout(_ANSWER_S):
            line = await process.stdout.readline()
        if not line:
            raise BenchError("a process of the bench has ended; what it said is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def fresh_prefix(kind: str) -> str:
    """Keys of our own."""
    return f"bench-{kind}-{os.getpid()}"


if __name__ == "__main__":
    uvloop.run(work())
