"""What a bus on Redis knows and keeps while its links come and go. Its parts share it, and never wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from collab_server.bus.base import NodeId
from collab_server.bus.envelope import START, StreamId, Tails
from collab_server.bus.link import LinkError, command
from collab_server.bus.outbox import Outbox
from collab_server.bus.peers import Peers
from collab_server.bus.reading import Reading
from collab_server.bus.settings import BusSettings
from collab_server.bus.telling import Teller

log = structlog.get_logger(__name__)


class BusMeter(Protocol):
    """What is counted; ``telemetry.busmetrics.BusMetrics`` is one."""

    def sent(self, entries: int, messages: int, bytes_count: int, seconds: float) -> None:
        """A pipeline was written."""
        ...

    def received(self, messages: int, bytes_count: int, delay_s: float) -> None:
        """An entry of another node was read."""
        ...

    def dropped(self, messages: int) -> None:
        """Messages were lost before they were said."""
        ...

    def gap(self) -> None:
        """A shard may have lost something."""
        ...

    def bad_entry(self) -> None:
        """An entry could not be read."""
        ...

    def lost_link(self) -> None:
        """The link to Redis was lost, or could not be had."""
        ...


class SessionError(LinkError):
    """The server answers, but it will not do, or not now: begin again. One line for who runs it."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of all that the bus keeps in Redis."""

    config: str
    nodes: str
    control: str
    own_beat: str
    own_wake: str
    beat_prefix: str
    streams: tuple[bytes, ...]

    @classmethod
    def of(cls, prefix: str, node: NodeId, shards_count: int) -> Keys:
        """The names under a prefix."""
        beat_prefix = f"{prefix}:node:"
        return cls(
            config=f"{prefix}:config",
            nodes=f"{prefix}:nodes",
            control=f"{prefix}:control",
            own_beat=beat_prefix + member_of(node),
            own_wake=f"{prefix}:wake:{member_of(node)}",
            beat_prefix=beat_prefix,
            streams=tuple(f"{prefix}:shard:{shard}".encode() for shard in range(shards_count)),
        )


def member_of(node: NodeId) -> str:
    """A node as it is written into the set of nodes."""
    return f"{node.name}/{node.incarnation}"


def node_of(member: bytes) -> NodeId | None:
    """The opposite of ``member_of``; None for what is no node."""
    name, slash, incarnation = member.decode(errors="replace").rpartition("/")
    return NodeId(name, int(incarnation)) if slash and incarnation.isdecimal() else None


@dataclass(slots=True)
class BusState:
    """The heart of a bus on Redis."""

    node: NodeId
    settings: BusSettings
    keys: Keys
    outbox: Outbox
    peers: Peers
    meter: BusMeter
    clock: Callable[[], float]
    random: Callable[[], float]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to give the writer something to do."""
    readings: dict[int, Reading] = field(default_factory=dict)
    teller: Teller | None = None
    control_position: StreamId = START
    wake_position: StreamId = START
    clock_offset_ms: float = 0.0
    """What to add to our clock's milliseconds to get the server's."""
    refused: str | None = None
    """Why Redis does not take what is to be written, while it does not."""
    broken: dict[int, str] = field(default_factory=dict)
    """Shards that cannot be read or written, and why."""
    is_reader_asleep: bool = False
    is_wake_wanted: bool = False
    is_closing: bool = False
    written: set[int] = field(default_factory=set)
    """Shards that were written since they were last trimmed."""
    _logged: set[str] = field(default_factory=set)

    def server_ms(self) -> float:
        """The server's clock, as well as it is known."""
        return self.clock() * 1000 + self.clock_offset_ms

    def log_once(self, key: str, message: str, **facts: object) -> None:
        """Say something the first time only, until ``log_again``."""
        if key not in self._logged:
            self._logged.add(key)
            log.warning(message, **facts)

    def log_again(self, key: str) -> None:
        """What was said once may be said again."""
        self._logged.discard(key)

    def begin_reading(self, shard: int, place: StreamId) -> None:
        """Something of ours was written into a shard for which we waited: its link works both ways."""
        if self.broken.pop(shard, None) is not None:
            log.info("a shard of the bus works again", shard=shard)
        self.log_again(f"broken {shard}")
        reading = self.readings.get(shard)
        if reading is None:
            return
        if reading.position is None:
            self.is_wake_wanted = True
        reading.begin(place)
        if reading.is_gap_owed:
            reading.is_gap_owed = False
            self.tell_gap(shard)

    def break_shard(self, shard: int, reason: str) -> None:
        """A shard cannot be used; the others can."""
        self.log_once(f"broken {shard}", "a shard of the bus cannot be used", shard=shard, reason=reason)
        self.broken[shard] = reason
        self.outbox.lose(shard, reason)
        if (reading := self.readings.get(shard)) is not None:
            reading.suspend(resumes=True)

    def owe_gap(self, shard: int) -> None:
        """What waited in a shard is lost; its listener is told when it works again."""
        if (reading := self.readings.get(shard)) is not None:
            reading.is_gap_owed = True

    def recover(self, shard: int) -> None:
        """Try a shard again that has lost something."""
        self.outbox.recover(shard)
        if shard in self.readings or shard in self.broken:
            self.outbox.mark(shard)

    def tell_gap(self, shard: int) -> None:
        """Tell the listener that something may have been lost."""
        self.meter.gap()
        if self.teller is not None:
            self.teller.gap(shard)

    def tell_gone(self) -> None:
        """Tell the listener of the nodes that are gone, once their last words were read."""
        for node in self.peers.gone(self._has_passed, self.clock()):
            for reading in self.readings.values():
                reading.forget(node)
            log.info("another node is gone", gone=node.name)
            if self.teller is not None:
                self.teller.gone(node)

    def _has_passed(self, tails: Tails) -> bool:
        readings = self.readings
        return all(
            shard in self.broken or shard not in readings or readings[shard].has_passed(place)
            for shard, (_, place) in tails.items()
        )


def stream_command(key: bytes, entries_max_approx: int) -> bytes:
    """The beginning of the command that appends an entry to a stream; the entry's data goes behind it."""
    whole = command("XADD", key, "MAXLEN", "~", entries_max_approx, "*", "e", b"")
    return whole.removesuffix(b"$0\r\n\r\n")


def with_data(beginning: bytes, data: bytes) -> bytes:
    """The whole command."""
    return b"%b$%d\r\n%b\r\n" % (beginning, len(data), data)
