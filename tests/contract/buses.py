"""The buses that the contract suite runs on, and a listener that remembers what it was told.

A *world* is one place where nodes meet. It can harm them: cut one off, join it again, kill one.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from collab_server.bus.base import Bus, BusKind, BusMessage, NodeId
from collab_server.bus.memory import MemoryBus, MemoryHub
from collab_server.bus.redis import RedisBus
from collab_server.bus.settings import BusSettings
from collab_server.bus.urls import parse_bus_url
from tests.sim.bus import SimHub, Weather
from tests.support.tcp_proxy import TcpProxy
from tests.support.valkey import Valkey, fresh_prefix, remove_keys, shared_valkey

PATIENCE_S = 30.0
HERALD = "herald"
"""A node of the suite's own, which the tests' listeners do not mention."""


@dataclass
class Ear:
    """A listener that remembers."""

    told: list[tuple[int, NodeId, tuple[BusMessage, ...]]] = field(default_factory=list)
    gaps: Counter[int] = field(default_factory=Counter)
    gone: list[NodeId] = field(default_factory=list)
    probed: set[str] = field(default_factory=set)
    on_heard: Callable[[], None] = lambda: None
    on_gone: Callable[[], None] = lambda: None

    def on_messages(self, shard: int, sender: NodeId, messages: Sequence[BusMessage]) -> None:
        if sender.name == HERALD:
            self.probed.update(message.room for message in messages)
            return
        self.told.append((shard, sender, tuple(messages)))
        self.on_heard()

    def on_gap(self, shard: int) -> None:
        self.gaps[shard] += 1

    def on_node_gone(self, node: NodeId) -> None:
        if node.name != HERALD:
            self.gone.append(node)
            self.on_gone()

    @property
    def messages(self) -> list[BusMessage]:
        return [message for _, _, messages in self.told for message in messages]

    def data(self, room: str) -> list[bytes]:
        return [message.data for message in self.messages if message.room == room]


@dataclass
class Speaker:
    """A node of the world: its bus, what it heard, and the task that runs it."""

    bus: Bus
    ear: Ear = field(default_factory=Ear)
    running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.bus.open(self.ear)
        self.running = asyncio.create_task(self.bus.run())

    async def stop(self) -> None:
        await self.bus.close()
        await self.end_task()

    async def end_task(self) -> None:
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
            self.running = None

    def watch(self, *rooms: str) -> None:
        for room in rooms:
            self.bus.watch(self.bus.shard_of(room))

    def say(self, room: str, *datas: bytes, kind: BusKind = BusKind.UPDATE) -> None:
        for data in datas:
            self.bus.publish(room, kind, data)


class World(Protocol):
    """Where nodes meet."""

    def bus(self, name: str) -> Bus:
        """A new life of the node of this name, not yet opened."""
        ...

    async def kill(self, speaker: Speaker) -> None:
        """End a node as if its process had died."""
        ...

    async def cut(self, speaker: Speaker) -> None:
        """Let nothing through to a node or from it, from now on."""
        ...

    async def heal(self, speaker: Speaker) -> None:
        """Join it again."""
        ...


class MemoryWorld:
    """Nodes of one process."""

    def __init__(self) -> None:
        self._hub = MemoryHub()

    def bus(self, name: str) -> Bus:
        return MemoryBus(self._hub, name)

    async def kill(self, speaker: Speaker) -> None:
        assert isinstance(speaker.bus, MemoryBus)
        self._hub.kill(speaker.bus)
        await speaker.end_task()

    async def cut(self, speaker: Speaker) -> None:
        assert isinstance(speaker.bus, MemoryBus)
        self._hub.cut(speaker.bus)

    async def heal(self, speaker: Speaker) -> None:
        assert isinstance(speaker.bus, MemoryBus)
        self._hub.heal(speaker.bus)


@asynccontextmanager
async def memory_world() -> AsyncIterator[World]:
    yield MemoryWorld()


@dataclass
class CountingMeter:
    """Counts as the metrics do, and can be asked."""

    entries_sent: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    messages_dropped: int = 0
    gaps: int = 0
    bad_entries: int = 0
    links_lost: int = 0

    def sent(self, entries: int, messages: int, bytes_count: int, seconds: float) -> None:
        self.entries_sent += entries
        self.messages_sent += messages

    def received(self, messages: int, bytes_count: int, delay_s: float) -> None:
        self.messages_received += messages

    def dropped(self, messages: int) -> None:
        self.messages_dropped += messages

    def gap(self) -> None:
        self.gaps += 1

    def bad_entry(self) -> None:
        self.bad_entries += 1

    def lost_link(self) -> None:
        self.links_lost += 1


class SimWorld(MemoryWorld):
    """Nodes of the simulation, in fair weather."""

    def __init__(self) -> None:
        self._hub = SimHub(random.Random(1), Weather(node_timeout_s=0.2), shards_count=32)


@asynccontextmanager
async def sim_world() -> AsyncIterator[World]:
    yield SimWorld()


class RedisWorld:
    """Nodes of a Redis, each behind a proxy of its own. Time goes faster: a dead node is soon gone."""

    def __init__(self, server: Valkey, prefix: str, proxies: Sequence[TcpProxy], **changes: Any) -> None:
        """``changes`` are settings of the bus."""
        self.prefix = prefix
        self.changes = changes
        self.meters: dict[NodeId, CountingMeter] = {}
        self._url = server.url
        self._free = list(proxies)
        self._proxies: dict[NodeId, TcpProxy] = {}
        self._lives = itertools.count(1)
        self._random = random.Random(1)

    def bus(self, name: str) -> RedisBus:
        node = NodeId(name, next(self._lives))
        self._proxies[node] = proxy = self._free.pop()
        address = replace(parse_bus_url(self._url), places=(("127.0.0.1", proxy.port),))
        settings = BusSettings(address, self.prefix, heartbeat_s=0.5, node_timeout_s=4.0)
        self.meters[node] = meter = CountingMeter()
        return RedisBus(
            replace(settings, **self.changes),
            node,
            meter,
            clock=asyncio.get_running_loop().time,
            random=self._random.random,
        )

    def proxy(self, speaker: Speaker) -> TcpProxy:
        """What stands between a node and the server."""
        return self._proxies[speaker.bus.node]

    def meter(self, speaker: Speaker) -> CountingMeter:
        """What a node has counted."""
        return self.meters[speaker.bus.node]

    async def kill(self, speaker: Speaker) -> None:
        await self.cut(speaker)
        await speaker.end_task()

    async def cut(self, speaker: Speaker) -> None:
        proxy = self._proxies[speaker.bus.node]
        proxy.refusing = True
        proxy.cut()

    async def heal(self, speaker: Speaker) -> None:
        self._proxies[speaker.bus.node].refusing = False


@asynccontextmanager
async def redis_world(server: Valkey | None = None, **changes: Any) -> AsyncIterator[RedisWorld]:
    server = server or shared_valkey()
    prefix = fresh_prefix()
    async with AsyncExitStack() as exits:
        proxies = [await exits.enter_async_context(TcpProxy(server.port).serve()) for _ in range(12)]
        yield RedisWorld(server, prefix, proxies, **changes)
    if not server.is_private:
        await remove_keys(server, prefix)


WORLDS: dict[str, Callable[[], AbstractAsyncContextManager[World]]] = {
    "memory": memory_world,
    "sim": sim_world,
    "redis": redis_world,
}
"""Every bus that is held to the contract."""


class House:
    """The nodes of one test; all are stopped at its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._speakers: list[Speaker] = []

    async def enter(self, name: str, *rooms: str) -> Speaker:
        """A started node that listens to the shards of some rooms, and knows the nodes before it."""
        speaker = Speaker(self.world.bus(name))
        await speaker.start()
        speaker.watch(*rooms)
        self._speakers.append(speaker)
        await eventually(self._all_met, "the nodes have met")
        if rooms:
            await self.hears(speaker, *rooms)
        return speaker

    def _here(self) -> list[Speaker]:
        return [speaker for speaker in self._speakers if speaker.running is not None]

    def _all_met(self) -> bool:
        here = self._here()
        names = {speaker.bus.node for speaker in here}
        return all(names - {speaker.bus.node} <= set(speaker.bus.nodes()) for speaker in here)

    async def hears(self, speaker: Speaker, *rooms: str) -> None:
        """Return when a node certainly listens to the shards of these rooms."""
        herald = Speaker(self.world.bus(HERALD))
        await herald.start()
        for room in rooms:
            shard = herald.bus.shard_of(room)
            # A name of the same shard that no test uses.
            probe = next(n for i in range(100_000) if herald.bus.shard_of(n := f"probe-{i}") == shard)
            speaker.ear.probed.clear()
            while probe not in speaker.ear.probed:
                herald.say(probe, b"", kind=BusKind.CONTROL)
                await asyncio.sleep(0.005)
        await herald.stop()
        await eventually(
            lambda: all(herald.bus.node not in other.bus.nodes() for other in self._here()), "the herald left"
        )

    async def close(self) -> None:
        for speaker in self._speakers:
            if speaker.running is not None:
                await speaker.stop()


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait for a condition, with patience."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - what is waited for may be anything
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None
