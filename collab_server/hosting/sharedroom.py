"""One room's talk with the other nodes that host it: what it publishes, what it asks, what it answers.

**Edits.** Each flush goes out with the number that the journal gave it; the numbers up to which this node's
edits are stored go with the next edit, or soon after by themselves. What that is for: ``room.unproven``.

**Sync.** A request says what this node has. Whoever has more answers with that, after a moment that is drawn
by lot, and not if somebody else's answer has covered it meanwhile. An answer says what its sender has, so
that the asker can give back what that one lacks: one exchange heals both sides. Whoever has less than the
asker reads the store (where most of it is) and then asks itself, if it still has less by then. An answer goes
to everybody, means the same if it comes twice, and what is new in it is journaled by whoever takes it: its
sender may be gone before its own commit. Requests are owed one answer together, so that their number costs
nothing.

**Presence.** What this node's members say is published as they say it, all of it again for a node that has
just opened the room or has lost messages, and a farewell when the room is closed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from collab_server.bus.base import Bus, BusKind, NodeId
from collab_server.hosting.host import Host
from collab_server.hosting.nodemessages import (
    Published,
    SyncAnswer,
    SyncRequest,
    decode_stored,
    encode_stored,
)
from collab_server.hosting.presences import Presences
from collab_server.hosting.settings import SharingSettings
from collab_server.room.flush import Flush
from collab_server.room.room import Room
from collab_server.telemetry.metrics import Metrics
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.idset import IdSet
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.statevector import StateVector, covers

_ASKED_FOR_S = 10.0
"""An answer that comes later than this after the question is not given anything back: anti-entropy will."""


@dataclass(slots=True)
class _Owed:
    """The answer that is due."""

    vector: StateVector
    """What all who asked have, at least."""
    deletes: bool
    awareness: bool
    told: IdSet | None = None
    """The deletions that somebody else's answer has told meanwhile."""
    timer: asyncio.TimerHandle | None = None


class Neighbours(Protocol):
    """What a shared room needs of the node's sharing."""

    bus: Bus
    settings: SharingSettings
    metrics: Metrics
    presences: Presences
    random: Callable[[], float]

    def is_gone(self, node: NodeId) -> bool:
        """Whether a node is taken for dead."""
        ...

    def heard(self, shared: SharedRoom) -> None:
        """Another node has spoken of the room."""
        ...

    def mark_soon(self, shared: SharedRoom) -> None:
        """Call ``mark`` in a moment."""
        ...

    def resync(self, room: str) -> None:
        """Read the store again and ask the others."""
        ...

    def look_deleted(self, room: str) -> None:
        """Somebody says that the document was deleted."""
        ...

    def receive_stateless(self, room: str, data: bytes) -> None:
        """Give a stateless message to the members."""
        ...

    def forget(self, shared: SharedRoom) -> None:
        """The room was closed here."""
        ...


class SharedRoom:
    """A room of this node, as the other nodes see it."""

    __slots__ = (
        "_asked_at", "_behind", "_committed", "_loop", "_neighbours", "_next_answer_at", "_owed",
        "_published", "_told", "check_at", "heard_at", "host", "name", "shard",
    )  # fmt: skip

    def __init__(self, host: Host, neighbours: Neighbours, shard: int) -> None:
        self.host = host
        self.name = host.name
        self.shard = shard
        self.heard_at: float | None = None
        """When another node last spoke of the room; None if none has for long."""
        self.check_at = 0.0
        """When anti-entropy is due."""
        self._neighbours = neighbours
        self._loop = asyncio.get_running_loop()
        self._asked_at: float | None = None
        self._behind: tuple[StateVector, asyncio.TimerHandle] | None = None
        self._owed: _Owed | None = None
        self._next_answer_at = 0.0
        self._published = 0
        self._committed = 0
        self._told = 0

    # -- what this node does

    def flushed(self, flush: Flush, sequence: int) -> None:
        """Publish what is to be published of a flush that was journaled under this number."""
        bus = self._neighbours.bus
        if flush.publish is not None:
            self._published = sequence
            self._told = self._committed
            message = Published(sequence, self._committed, flush.publish)
            bus.publish(self.name, BusKind.UPDATE, message.encode())
        if flush.awareness_publish is not None:
            bus.publish(self.name, BusKind.AWARENESS, flush.awareness_publish)

    def committed(self, sequence: int) -> None:
        """What was journaled is stored up to this number."""
        self._committed = sequence
        if self.heard_at is not None:
            self._neighbours.mark_soon(self)

    def mark(self) -> None:
        """Say how far our edits are stored, if that was not said yet."""
        if self._told < min(self._committed, self._published):
            self._told = self._committed
            self._neighbours.bus.publish(self.name, BusKind.STORED, encode_stored(self._committed))

    def ask(self, *, urgent: bool) -> None:
        """Tell the others what is here, so that they say what is missing."""
        log = self.host.room.log
        self._asked_at = self._loop.time()
        self._neighbours.metrics.count_sync("asked")
        request = SyncRequest(log.state_vector, log.deletes.digest(), urgent)
        self._neighbours.bus.publish(self.name, BusKind.SYNC_REQUEST, request.encode())

    def announce(self) -> None:
        """Say again who is here."""
        payload = self.host.room.own_awareness()
        if payload is not None:
            self._neighbours.bus.publish(self.name, BusKind.AWARENESS, payload)

    def ended(self) -> None:
        """The room is closed here: say farewell for its members, and what is stored."""
        payload = self.host.room.farewell()
        if payload is not None:
            self._neighbours.bus.publish(self.name, BusKind.AWARENESS, payload)
        if self._owed is not None and self._owed.timer is not None:
            self._owed.timer.cancel()
        if self._behind is not None:
            self._behind[1].cancel()
        self._owed = self._behind = None
        self._neighbours.forget(self)

    # -- what others say

    def receive(self, sender: NodeId, kind: BusKind, data: bytes, room: Room, now: float) -> None:
        """Take one message. Raises PeerError if it cannot be decoded."""
        neighbours = self._neighbours
        self.heard_at = now
        neighbours.heard(self)
        match kind:
            case BusKind.UPDATE:
                self._receive_published(sender, Published.decode(data), room, now)
            case BusKind.STORED:
                room.stored_elsewhere(sender, decode_stored(data))
            case BusKind.AWARENESS:
                if not neighbours.is_gone(sender):
                    room.receive_remote_awareness(data, now, sender)
            case BusKind.SYNC_REQUEST:
                self._receive_request(SyncRequest.decode(data), room)
            case BusKind.SYNC_ANSWER:
                self._receive_answer(SyncAnswer.decode(data), room, now)
            case BusKind.STATELESS:
                neighbours.receive_stateless(self.name, data)
            case BusKind.PRESENCE_REQUEST:
                neighbours.presences.answer(room, data)
            case BusKind.DELETED:
                neighbours.look_deleted(self.name)
            case _:
                pass  # of a newer version, or not for rooms

    def _receive_published(self, sender: NodeId, message: Published, room: Room, now: float) -> None:
        if self._neighbours.is_gone(sender):
            room.receive_unstored(message.update, now)
            return
        room.receive_published(message.update, sender, message.sequence, now)
        room.stored_elsewhere(sender, message.stored)
        if room.unproven.bytes_total > self._neighbours.settings.unproven_bytes_max:
            room.adopt_unproven(now)

    def _receive_request(self, request: SyncRequest, room: Room) -> None:
        log = room.log
        spread_s = self._neighbours.settings.answer_spread_ms / 1000
        differ = request.deletes_digest != log.deletes.digest()
        if differ or request.urgent or not covers(request.vector, log.state_vector):
            lot = self._neighbours.random()
            delay_s = spread_s * lot if request.urgent else spread_s * (5 + 10 * lot)
            self._owe(request.vector, deletes=differ, awareness=request.urgent, delay_s=delay_s)
        if self._behind is None and not covers(log.state_vector, request.vector):
            # Most likely it is on its way to us.
            delay_s = spread_s * (5 + 10 * self._neighbours.random())
            timer = self._loop.call_later(delay_s, self._look_behind)
            self._behind = (request.vector, timer)
        self.mark()

    def _receive_answer(self, answer: SyncAnswer, room: Room, now: float) -> None:
        owed = self._owed
        deletes: IdSet | None = None
        if owed is not None or self._asked_at is not None:
            inspected = inspect(answer.update, UNBOUNDED)
            if answer.has_deletes:
                deletes = IdSet.of_spans(inspected.spans)
            if owed is not None:
                for section in inspected.sections:
                    known = owed.vector.get(section.client, 0)
                    if not section.gaps and section.clock <= known < section.end:
                        owed.vector[section.client] = section.end
                if deletes is not None and owed.told is None:
                    owed.told = deletes
                elif deletes is not None and owed.told is not None:
                    owed.told.union(deletes)
        room.receive_unstored(answer.update, now)
        if self._asked_at is None or now - self._asked_at > _ASKED_FOR_S:
            return
        self._asked_at = None
        more_deletes = deletes is not None and not room.log.deletes.subtract(deletes).is_empty()
        if more_deletes or not covers(answer.vector, room.log.state_vector):
            self._owe(answer.vector, deletes=more_deletes, awareness=False, delay_s=0.0)

    # -- answering

    def _owe(self, vector: StateVector, *, deletes: bool, awareness: bool, delay_s: float) -> None:
        owed = self._owed
        if owed is not None:
            owed.vector = {c: min(clock, vector[c]) for c, clock in owed.vector.items() if c in vector}
            if deletes and not owed.deletes:
                owed.told = None
            owed.deletes |= deletes
            owed.awareness |= awareness
            return
        owed = self._owed = _Owed(dict(vector), deletes, awareness)
        at = max(self._loop.time() + delay_s, self._next_answer_at)
        owed.timer = self._loop.call_at(at, self._answer)

    def _answer(self) -> None:
        self.host.change(self._answer_now)

    def _answer_now(self, room: Room, now: float) -> None:
        owed, self._owed = self._owed, None
        if owed is None:
            return
        neighbours = self._neighbours
        self._next_answer_at = now + 1 / neighbours.settings.sync_answers_max_per_s
        if owed.awareness:
            self.announce()
        log = room.log
        deletes = owed.deletes and (owed.told is None or not log.deletes.subtract(owed.told).is_empty())
        if not deletes and covers(owed.vector, log.state_vector):
            neighbours.metrics.count_sync("spared")
            return
        update = log.since(owed.vector, deletes=deletes)
        answer = SyncAnswer(log.state_vector, update, deletes)
        neighbours.bus.publish(self.name, BusKind.SYNC_ANSWER, answer.encode())
        neighbours.metrics.count_sync("answered")

    def _look_behind(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None and not covers(self.host.room.log.state_vector, behind[0]):
            self._neighbours.resync(self.name)
