"""The reference of a bus: nodes of one process, joined by a hub. Also the bus of a server that is alone.

It waits for nothing and loses nothing by itself. Tests cut a node off and join it again with the hub's
``cut``, ``heal`` and ``kill``; what is published meanwhile is lost, with ``on_gap`` to follow.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from collab_server.bus.base import BusKind, BusListener, BusMessage, NodeId, ShardLag
from collab_server.bus.shards import SHARDS_DEFAULT, shard_of
from collab_server.bus.telling import Teller

_Turn = dict[int, list[BusMessage]]


class MemoryHub:
    """What joins the buses of one process."""

    def __init__(self, shards_count: int = SHARDS_DEFAULT) -> None:
        self.shards_count = shards_count
        self._joined: dict[str, MemoryBus] = {}
        self._cut: set[str] = set()
        self._lives: Counter[str] = Counter()

    def next_incarnation(self, name: str) -> int:
        """The number of a new life of the node of this name."""
        self._lives[name] += 1
        return self._lives[name]

    def join(self, bus: MemoryBus) -> None:
        """A node is here; an earlier life of it ends."""
        earlier = self._joined.get(bus.node.name)
        if earlier is not None and earlier is not bus:
            self.leave(earlier)
        self._joined[bus.node.name] = bus

    def leave(self, bus: MemoryBus) -> None:
        """A node is gone; the others are told."""
        if self._joined.get(bus.node.name) is not bus:
            return
        del self._joined[bus.node.name]
        self._cut.discard(bus.node.name)
        for other in list(self._joined.values()):
            other.hear_gone(bus.node)

    def kill(self, bus: MemoryBus) -> None:
        """End a node as if its process had died: what it has not said yet is lost."""
        bus.forget()
        self.leave(bus)

    def cut(self, bus: MemoryBus) -> None:
        """Let nothing through to a node or from it."""
        self._cut.add(bus.node.name)

    def heal(self, bus: MemoryBus) -> None:
        """Join a node again that was cut off: it has a gap in every shard that it watches."""
        if bus.node.name in self._cut:
            self._cut.discard(bus.node.name)
            bus.hear_gaps()

    def is_cut(self, node: NodeId) -> bool:
        """Whether a node is cut off."""
        return node.name in self._cut

    def others(self, node: NodeId) -> list[NodeId]:
        """The nodes that are here, without this one."""
        return sorted(bus.node for bus in self._joined.values() if bus.node != node)

    def deliver(self, sender: MemoryBus, turn: _Turn) -> None:
        """Pass on what one node said in one turn."""
        if self._joined.get(sender.node.name) is not sender or self.is_cut(sender.node):
            return
        for shard, messages in turn.items():
            for other in list(self._joined.values()):
                if other is not sender and not self.is_cut(other.node):
                    other.hear(shard, sender.node, messages)


class MemoryBus:
    """One node's bus. Without a hub there is nobody else, and nothing costs anything. See ``base.Bus``."""

    def __init__(
        self, hub: MemoryHub | None = None, name: str = "node", incarnation: int | None = None
    ) -> None:
        self._hub = hub
        if incarnation is None:
            incarnation = hub.next_incarnation(name) if hub is not None else 1
        self._node = NodeId(name, incarnation)
        self._shards_count = hub.shards_count if hub is not None else SHARDS_DEFAULT
        self._teller: Teller | None = None
        self._watched: Counter[int] = Counter()
        self._turn: _Turn = {}

    @property
    def node(self) -> NodeId:
        """This node."""
        return self._node

    @property
    def shards_count(self) -> int:
        """How many shards there are."""
        return self._shards_count

    @property
    def trouble(self) -> str | None:
        """Only what a test has done to it."""
        cut = self._hub is not None and self._hub.is_cut(self._node)
        return "this node is cut off from the others" if cut else None

    @property
    def is_shared(self) -> bool:
        """Whether there is a hub."""
        return self._hub is not None

    async def open(self, listener: BusListener) -> None:
        """Join the hub."""
        self._teller = Teller(listener)
        if self._hub is not None:
            self._hub.join(self)

    async def run(self) -> None:
        """Nothing to do: what is published is delivered in the next turn of the event loop."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Say what is left to say, and goodbye."""
        self._say()
        if self._hub is not None:
            self._hub.leave(self)
        self.forget()

    def shard_of(self, room: str) -> int:
        """Where a room's messages travel."""
        return shard_of(room, self._shards_count)

    def watch(self, shard: int) -> None:
        """Begin to listen to a shard, from now on."""
        self._watched[shard] += 1

    def unwatch(self, shard: int) -> None:
        """Stop to listen, when nobody else watches it."""
        self._watched[shard] -= 1
        if self._watched[shard] <= 0:
            del self._watched[shard]

    def publish(self, room: str, kind: BusKind, data: bytes) -> None:
        """Tell the other nodes in the next turn of the event loop."""
        if self._hub is None or self._teller is None:
            return
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._say)
        self._turn.setdefault(self.shard_of(room), []).append(BusMessage(room, kind, data))

    def nodes(self) -> Sequence[NodeId]:
        """The other nodes of the hub."""
        return self._hub.others(self._node) if self._hub is not None else ()

    def lag(self) -> Mapping[int, ShardLag]:
        """Never behind."""
        return {shard: ShardLag(shard, 0.0, 0) for shard in sorted(self._watched)}

    # -- the hub's side

    def hear(self, shard: int, sender: NodeId, messages: Sequence[BusMessage]) -> None:
        """Another node said something."""
        if self._teller is not None and self._watched[shard]:
            self._teller.messages(shard, sender, messages)

    def hear_gone(self, node: NodeId) -> None:
        """Another node has ended."""
        if self._teller is not None:
            self._teller.gone(node)

    def hear_gap(self, shard: int) -> None:
        """Something may have been lost in a shard."""
        if self._teller is not None and self._watched[shard]:
            self._teller.gap(shard)

    def hear_gaps(self) -> None:
        """Something may have been lost in every shard."""
        for shard in sorted(self._watched):
            self.hear_gap(shard)

    def forget(self) -> None:
        """Say and hear nothing any more."""
        self._turn = {}
        self._teller = None

    def _say(self) -> None:
        turn, self._turn = self._turn, {}
        if turn and self._hub is not None:
            self._hub.deliver(self, turn)
