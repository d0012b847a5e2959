"""The contract of a bus: what it promises of order, atomicity and loss.

Nodes are Yjs peers of each other. The store is the truth, so a bus may lose things; it must only say so.

- **Order.** The messages of one sender for one shard arrive in the order in which they were published.
  Between senders, and between shards, there is no order.
- **Loss.** A message may be lost, or arrive twice. When something may have been lost between this node and
  the others, in either direction, ``on_gap`` is called for the shard, once for each such occasion, after the
  link works again: whoever listens then asks for a sync of its rooms. A node's own messages never come back
  to it. The others may have missed this node's messages too, so whoever listens also says again what its
  members show of themselves: a node that was late may have been taken for dead.
- **Atomicity.** The messages of one turn of the event loop for one shard (what is published without waiting
  in between) arrive together or not at all, as long as they are fewer than 16,384.
- **Failure.** Nothing here raises for a network's sake. ``publish`` never waits; its queue is bounded in
  bytes, and what is over the bound is lost, with ``on_gap`` to follow. A bad entry stops nobody: it is
  counted, logged once a stream, skipped, and taken for a gap of its shard. ``trouble`` says what is wrong
  meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class BusKind(IntEnum):
    """What a message is. The numbers are on the wire between nodes: never reuse one.

    What ``data`` holds is said in ``hosting.nodemessages``; a bus does not look into it.
    """

    UPDATE = 1
    """An edit that the sender's members made: a Yjs update with numbers before it."""
    AWARENESS = 2
    """What the sender's members say of who is here: an awareness payload."""
    SYNC_REQUEST = 3
    """What the sender has: answer with what it lacks, if anything. See ``hosting.sharing``."""
    SYNC_ANSWER = 4
    """What a sync request lacked, and what the sender has."""
    STATELESS = 5
    """A message for members, which no document keeps. See ``hosting.sharing``."""
    PRESENCE_REQUEST = 6
    """The sender wants to know who is here."""
    CONTROL = 7
    """To nodes, not to a room; the room is empty, and who wants to hear it watches the shard of that name."""
    STORED = 8
    """How far the sender's edits of this room are in the store."""
    PRESENCE_ANSWER = 9
    """Who is here, for a presence request."""
    DELETED = 10
    """The document was deleted from the store."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """One thing that a node says of a room."""

    room: str
    kind: BusKind
    data: bytes


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """A node, and one life of it: a node that restarts keeps its name and gets a new incarnation."""

    name: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class ShardLag:
    """How far this node's reading of one shard is behind."""

    shard: int
    delay_ms: float
    """How old the newest entry was when it was read."""
    entries_behind: int
    """Entries in the stream that are not read yet; 0 if that is not known."""


class BusListener(Protocol):
    """Who is told. Called on the event loop's thread; must not raise and must not wait."""

    def on_messages(self, shard: int, sender: NodeId, messages: Sequence[BusMessage]) -> None:
        """What one node said in one turn."""
        ...

    def on_gap(self, shard: int) -> None:
        """Something may have been lost in this shard: sync its rooms."""
        ...

    def on_node_gone(self, node: NodeId) -> None:
        """A node said goodbye, was not heard of for the heartbeat's time, or lives a new life now.

        Everything that it said and that will be heard was heard before. A node that was only late may come
        back with the same identity: then its messages arrive again, and it has a gap of its own to heal.
        """
        ...


class Bus(Protocol):
    """The way to the other nodes. See the top of this file for what it promises."""

    @property
    def node(self) -> NodeId:
        """This node."""
        ...

    @property
    def shards_count(self) -> int:
        """How many shards there are; the same on every node."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why other nodes may not hear this one, in one sentence without secrets; None while all is well."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether there can be other nodes at all. False: nothing needs to be published."""
        ...

    async def open(self, listener: BusListener) -> None:
        """Connect and announce this node. An unreachable Redis is no error: it is tried again for ever.

        Raises:
            BusConfigError: The nodes do not agree (another count of shards), or the server is too old.
        """
        ...

    async def run(self) -> None:
        """Read, write and beat until cancelled. Call once, after ``open``."""
        ...

    async def close(self) -> None:
        """Say goodbye, after what was published has been written if that is possible within a second."""
        ...

    def shard_of(self, room: str) -> int:
        """Where a room's messages travel: a stable hash of its name."""
        ...

    def watch(self, shard: int) -> None:
        """Begin to listen to a shard, from now on. Counted: the same number of ``unwatch`` ends it.

        What others say just now may still be missed, but never what answers to something that is published
        after this call: ask for what you lack after you have begun to listen.
        """
        ...

    def unwatch(self, shard: int) -> None:
        """Stop to listen, when nobody else watches it."""
        ...

    def publish(self, room: str, kind: BusKind, data: bytes) -> None:
        """Tell the other nodes, soon. Never waits, never raises."""
        ...

    def nodes(self) -> Sequence[NodeId]:
        """The other nodes that are alive, as far as is known."""
        ...

    def lag(self) -> Mapping[int, ShardLag]:
        """For each watched shard, how far behind this node is."""
        ...
