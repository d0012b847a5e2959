"""A bus that delays, reorders between senders, repeats and loses, in just the ways that ``bus.base`` allows.

The nodes' side is the memory bus; this is the hub between them. Without faults it only delays, and so it
stands in the contract suite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from collab_server.bus.base import BusMessage, NodeId
from collab_server.bus.memory import MemoryBus, MemoryHub

_Turn = dict[int, list[BusMessage]]


@dataclass
class Weather:
    """How bad it is. Shares are of turns, times in seconds."""

    delay_s: float = 0.002
    lost: float = 0.0
    repeated: float = 0.0
    slow: float = 0.0
    """How much takes up to a hundred times as long."""
    node_timeout_s: float = 10.0
    tells_of_gaps: bool = True
    """False breaks the contract, to see that the simulation notices."""


class SimHub(MemoryHub):
    """A hub in bad weather."""

    def __init__(self, random: Random, weather: Weather | None = None, shards_count: int = 4) -> None:
        super().__init__(shards_count)
        self.weather = weather or Weather()
        self._random = random
        self._arrivals: dict[tuple[NodeId, NodeId], float] = {}
        self._suspected: set[str] = set()

    def others(self, node: NodeId) -> list[NodeId]:
        """Those of whom something was heard lately."""
        if node.name in self._suspected:
            return []
        return [other for other in super().others(node) if other.name not in self._suspected]

    def deliver(self, sender: MemoryBus, turn: _Turn) -> None:
        """Send a turn on its ways."""
        if self._joined.get(sender.node.name) is not sender or self.is_cut(sender.node):
            return
        for other in list(self._joined.values()):
            if other is not sender:
                for shard, messages in turn.items():
                    self._send(sender.node, other, shard, messages)

    def leave(self, bus: MemoryBus) -> None:
        """A node is gone; each of the others is told when it has heard the last word."""
        if self._joined.get(bus.node.name) is not bus:
            return
        del self._joined[bus.node.name]
        self._cut.discard(bus.node.name)
        loop = asyncio.get_running_loop()
        for other in list(self._joined.values()):
            last_word = self._arrivals.get((bus.node, other.node), 0.0)
            loop.call_at(max(loop.time(), last_word + 1e-6), other.hear_gone, bus.node)

    def kill(self, bus: MemoryBus) -> None:
        """End a node as if its process had died: the others notice by its silence."""
        bus.forget()
        if self._joined.get(bus.node.name) is not bus:
            return
        del self._joined[bus.node.name]
        self._cut.discard(bus.node.name)
        self._suspected.discard(bus.node.name)
        asyncio.get_running_loop().call_later(self.weather.node_timeout_s, self._tell_gone, bus.node)

    def cut(self, bus: MemoryBus) -> None:
        """Cut a node off; after a while both sides take each other for dead."""
        super().cut(bus)
        asyncio.get_running_loop().call_later(self.weather.node_timeout_s, self._suspect, bus)

    def heal(self, bus: MemoryBus) -> None:
        """Join a node again."""
        self._suspected.discard(bus.node.name)
        if self.weather.tells_of_gaps:
            super().heal(bus)
        else:
            self._cut.discard(bus.node.name)

    def _send(self, sender: NodeId, other: MemoryBus, shard: int, messages: Sequence[BusMessage]) -> None:
        loop, random, weather = asyncio.get_running_loop(), self._random, self.weather
        delay_s = random.uniform(0, 2 * weather.delay_s)
        if random.random() < weather.slow:
            delay_s *= 100
        way = (sender, other.node)
        at = max(loop.time() + delay_s, self._arrivals.get(way, 0.0) + 1e-6)
        self._arrivals[way] = at
        if random.random() < weather.lost:
            if weather.tells_of_gaps:
                loop.call_at(at + random.uniform(0, 3), self._gap, other, shard)
            return
        loop.call_at(at, self._arrive, sender, other, shard, messages)
        if random.random() < weather.repeated:
            again = at + random.uniform(0, 30 * weather.delay_s)
            loop.call_at(again, self._arrive, sender, other, shard, messages)

    def _arrive(self, sender: NodeId, other: MemoryBus, shard: int, messages: Sequence[BusMessage]) -> None:
        if self._joined.get(other.node.name) is other and not self.is_cut(other.node):
            other.hear(shard, sender, messages)

    def _gap(self, other: MemoryBus, shard: int) -> None:
        if self._joined.get(other.node.name) is other and not self.is_cut(other.node):
            other.hear_gap(shard)

    def _suspect(self, bus: MemoryBus) -> None:
        if not self.is_cut(bus.node) or self._joined.get(bus.node.name) is not bus:
            return
        self._suspected.add(bus.node.name)
        for other in list(self._joined.values()):
            if other is not bus:
                bus.hear_gone(other.node)
        self._tell_gone(bus.node)

    def _tell_gone(self, node: NodeId) -> None:
        for other in list(self._joined.values()):
            if other.node != node and not self.is_cut(other.node):
                other.hear_gone(node)
