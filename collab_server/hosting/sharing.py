"""This node's rooms and the same rooms elsewhere: messages in, gaps, nodes that go, and what heals it all.

Nodes are Yjs peers of each other. The store is the truth; the bus makes it quick. What one room says and
answers is ``hosting.sharedroom``; this is what concerns all rooms of a node.

**Opening.** The room's shard is watched first, then the store is read, and what others say meanwhile is kept.
The room is served at once and asks the others for what it lacks, so it is never behind by more than the bus's
delay: what was committed was in the store, what was published came, and what is neither comes with an answer.

**Gaps.** When the bus has lost something, each room of that shard reads the store again (most of what is
missing is there) and then asks. That is bounded per second; the rooms that others host come first.

**Gone nodes.** Their clients are removed, and what they may not have stored is stored here.

**Deleted documents.** A message says so at once; it is believed when the store agrees. A message for a room
that is not open here changes nothing, so nothing late can revive a document.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from collab_server.bus.base import Bus, BusKind, BusMessage, NodeId
from collab_server.errors import BusyError, CloseCode, GoneError, PeerError
from collab_server.hosting.host import Host
from collab_server.hosting.presences import Presences
from collab_server.hosting.settings import SharingSettings
from collab_server.hosting.sharedroom import SharedRoom
from collab_server.room.room import Room
from collab_server.telemetry.metrics import Metrics
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.log import DocumentLog
from persistence.base import Store, StoredDocument
from persistence.errors import DocumentDeletedError, StoreError

log = structlog.get_logger(__name__)

_MARK_AFTER_S = 0.05
_RESYNC_WORKERS = 4
_RETRY_S = 2.0
_GONE_MAX = 1_000
"""Nodes that are remembered as gone."""
_SILENT_AFTER = 3
"""After so many intervals of anti-entropy without a word of another node a room is not compared any more."""


@dataclass(slots=True)
class _Opening:
    """What others have said of a room that is being read."""

    shard: int
    messages: deque[tuple[NodeId, BusMessage | None]] = field(default_factory=deque)
    """In order; None where that node has gone."""
    bytes_total: int = 0
    lost: bool = False
    """Whether something was lost or dropped meanwhile."""


class Sharing:
    """Connects a node's rooms with the other nodes: a ``BusListener``, and the registry's ``Neighbours``."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        presences: Presences,
        settings: SharingSettings,
        bounds: Bounds,
        metrics: Metrics,
        *,
        random: Callable[[], float],
        store_works: Callable[[], bool] = lambda: True,
    ) -> None:
        """``store_works`` says whether what is journaled now would be committed."""
        self.bus = bus
        self.settings = settings
        self.metrics = metrics
        self.presences = presences
        self.random = random
        self.on_stateless: Callable[[str, bytes], None] = lambda _room, _data: None
        """Gives a message to the members of a room. May raise PeerError."""
        self._store = store
        self._bounds = bounds
        self._store_works = store_works
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, SharedRoom] = {}
        self._openings: dict[str, _Opening] = {}
        self._lively: dict[str, SharedRoom] = {}
        """The rooms that another node has spoken of lately."""
        self._gone: dict[NodeId, None] = {}
        self._unmarked: dict[str, SharedRoom] = {}
        self._marking: asyncio.TimerHandle | None = None
        self._resyncs: dict[str, None] = {}
        self._deleted: set[str] = set()
        """Rooms to be read again of which somebody said that they were deleted."""
        self._retries: dict[str, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        metrics.shared_rooms.set_function(lambda: len(self._lively))

    @property
    def shared_rooms_count(self) -> int:
        """Rooms of this node that another node has spoken of lately."""
        return len(self._lively)

    def is_shared(self, room: str) -> bool:
        """Whether another node has spoken of this room lately."""
        return room in self._lively

    def queues(self) -> dict[str, int]:
        """How much waits where, for those who watch over the bounds."""
        return {
            "opening_bytes": sum(opening.bytes_total for opening in self._openings.values()),
            "resyncs": len(self._resyncs),
            "unproven_bytes": sum(shared.host.room.unproven.bytes_total for shared in self._rooms.values()),
        }

    def publish_stateless(self, room: str, data: bytes) -> None:
        """Give a stateless message to the members of a room on other nodes."""
        self.bus.publish(room, BusKind.STATELESS, data)

    def publish_deleted(self, room: str) -> None:
        """Tell the others that a document was deleted from the store."""
        self.bus.publish(room, BusKind.DELETED, b"")

    # -- rooms come and go

    def opening(self, room: str) -> None:
        """Watch a room's shard, and keep what is said of the room until it is open."""
        shard = self.bus.shard_of(room)
        self.bus.watch(shard)
        self._openings[room] = _Opening(shard)

    def not_opened(self, room: str) -> None:
        """Forget it again."""
        self.bus.unwatch(self._openings.pop(room).shard)

    def opened(self, host: Host) -> None:
        """Catch up with what was said meanwhile, and ask for the rest."""
        opening = self._openings.pop(host.name)
        shared = self._rooms[host.name] = SharedRoom(host, self, opening.shard)
        host.outlet = shared
        for sender, message in opening.messages:
            if message is None:
                host.change(lambda room, now, node=sender: room.node_gone(node, now))  # type: ignore[misc]
            else:
                self._receive(shared, sender, message)
        if host.ended:
            return
        shared.ask(urgent=True)
        if opening.lost:
            self.resync(host.name)

    def forget(self, shared: SharedRoom) -> None:
        """A room was closed."""
        if self._rooms.get(shared.name) is not shared:
            return
        del self._rooms[shared.name]
        self._lively.pop(shared.name, None)
        self._resyncs.pop(shared.name, None)
        self._deleted.discard(shared.name)
        retry = self._retries.pop(shared.name, None)
        if retry is not None:
            retry.cancel()
        self.bus.unwatch(shared.shard)

    # -- what the bus says

    def on_messages(self, shard: int, sender: NodeId, messages: Sequence[BusMessage]) -> None:
        """Give each message to its room; a bad one is counted and skipped."""
        for message in messages:
            if message.kind is BusKind.PRESENCE_ANSWER:
                try:
                    self.presences.receive(message.room, message.data)
                except PeerError as error:
                    self._refuse(sender, message, error)
                continue
            shared = self._rooms.get(message.room)
            if shared is not None:
                self._receive(shared, sender, message)
                continue
            opening = self._openings.get(message.room)
            if opening is not None:
                self._keep(opening, sender, message)

    def on_gap(self, shard: int) -> None:
        """Read the rooms of this shard from the store again, and ask for them."""
        names = [name for name, shared in self._rooms.items() if shared.shard == shard]
        names.sort(key=lambda name: name not in self._lively)
        for name in names:
            self.resync(name)
        for opening in self._openings.values():
            if opening.shard == shard:
                opening.lost = True

    def on_node_gone(self, node: NodeId) -> None:
        """Remove its clients everywhere, and store what it may not have stored."""
        self._gone[node] = None
        if len(self._gone) > _GONE_MAX:
            del self._gone[next(iter(self._gone))]
        for shared in list(self._rooms.values()):
            shared.host.change(lambda room, now: room.node_gone(node, now))
        for opening in self._openings.values():
            opening.messages.append((node, None))

    def is_gone(self, node: NodeId) -> bool:
        """Whether a node is taken for dead: what it says now was on its way when it died."""
        if node not in self._gone:
            return False
        if node in self.bus.nodes():
            del self._gone[node]
            return False
        return True

    def heard(self, shared: SharedRoom) -> None:
        """Another node hosts this room too."""
        if shared.name not in self._lively and self._rooms.get(shared.name) is shared:
            self._lively[shared.name] = shared
            shared.check_at = self._loop.time() + self._lot_s()

    def receive_stateless(self, room: str, data: bytes) -> None:
        """Give a message of another node to the members. Raises PeerError."""
        self.on_stateless(room, data)

    def _receive(self, shared: SharedRoom, sender: NodeId, message: BusMessage) -> None:
        try:
            shared.host.change(partial(shared.receive, sender, message.kind, message.data))
        except PeerError as error:
            self._refuse(sender, message, error)

    def _refuse(self, sender: NodeId, message: BusMessage, error: PeerError) -> None:
        self.metrics.node_messages_refused.inc()
        log.warning(
            "a message of another node could not be taken",
            room=message.room,
            kind=int(message.kind),
            node=sender.name,
            error=str(error),
        )

    def _keep(self, opening: _Opening, sender: NodeId, message: BusMessage) -> None:
        if opening.bytes_total + len(message.data) > self.settings.opening_bytes_max:
            opening.lost = True
            return
        opening.bytes_total += len(message.data) + _KEPT_OVERHEAD_BYTES
        opening.messages.append((sender, message))

    # -- what is stored

    def mark_soon(self, shared: SharedRoom) -> None:
        """Say in a moment what is stored, unless an edit has said it by then."""
        self._unmarked[shared.name] = shared
        if self._marking is None:
            self._marking = self._loop.call_later(_MARK_AFTER_S, self._mark)

    def _mark(self) -> None:
        self._marking = None
        unmarked, self._unmarked = self._unmarked, {}
        for shared in unmarked.values():
            shared.mark()

    # -- healing

    def resync(self, room: str) -> None:
        """Read a room from the store again soon, and then ask for it."""
        self._resyncs[room] = None
        self._wake.set()

    def look_deleted(self, room: str) -> None:
        """Look in the store whether a document was deleted, before anything else."""
        self._deleted.add(room)
        self._resyncs = {room: None, **self._resyncs}
        self._wake.set()

    async def run(self) -> None:
        """Heal until cancelled. Call once; the owner awaits it."""
        async with asyncio.TaskGroup() as group:
            for number in range(_RESYNC_WORKERS):
                group.create_task(self._resync_rooms(), name=f"resync {number}")
            group.create_task(self._compare_rooms(), name="anti-entropy")

    def close(self) -> None:
        """Cancel what is due later. Rooms are closed before."""
        if self._marking is not None:
            self._marking.cancel()
        for retry in self._retries.values():
            retry.cancel()
        self._retries.clear()

    async def _compare_rooms(self) -> None:
        while True:
            await asyncio.sleep(1)
            now = self._loop.time()
            for shared in list(self._lively.values()):
                try:
                    self._look_after(shared, now)
                except Exception:
                    log.exception("a room could not be compared", room=shared.name)

    def _look_after(self, shared: SharedRoom, now: float) -> None:
        settings = self.settings
        heard_at = shared.heard_at
        if heard_at is None or now - heard_at > _SILENT_AFTER * settings.anti_entropy_interval_s:
            shared.heard_at = None
            del self._lively[shared.name]
        elif now >= shared.check_at:
            shared.check_at = now + self._lot_s()
            shared.ask(urgent=False)
        if now - shared.host.room.unproven.oldest_at > settings.adopt_after_s and self._store_works():
            shared.host.change(_adopt)

    def _lot_s(self) -> float:
        return self.settings.anti_entropy_interval_s * (0.5 + self.random())

    async def _resync_rooms(self) -> None:
        pause_s = _RESYNC_WORKERS / self.settings.resync_rooms_max_per_s
        while True:
            if not self._resyncs:
                self._wake.clear()
                await self._wake.wait()
                continue
            room = next(iter(self._resyncs))
            del self._resyncs[room]
            shared = self._rooms.get(room)
            if shared is not None:
                try:
                    await self._resync(shared)
                except PeerError as error:
                    log.error("a stored document cannot be read again", room=room, error=str(error))
                    self.metrics.count_store_error("decode")
            await asyncio.sleep(pause_s)

    async def _resync(self, shared: SharedRoom) -> None:
        was_deleted = shared.name in self._deleted
        self._deleted.discard(shared.name)
        stored: StoredDocument | None = None
        try:
            async with asyncio.timeout(self.settings.store_timeout_s):
                stored = await self._store.load(shared.name)
        except DocumentDeletedError:
            shared.host.end(GoneError("the document was deleted"))
            return
        except (StoreError, TimeoutError) as error:
            log.debug("a room could not be read again", room=shared.name, error=str(error))
            self._try_again(shared, was_deleted=was_deleted)
        else:
            if was_deleted:
                # Deleted and made anew: what is open here is another document than what is stored.
                shared.host.end(BusyError("reset: the document was deleted and made anew", CloseCode.RESET))
                return
        if shared.host.ended:
            return
        if stored is not None:
            shared.host.change(partial(self._take_stored, stored))
        self.metrics.count_sync("resynced")
        if not shared.host.ended:
            shared.ask(urgent=True)
            shared.announce()

    def _take_stored(self, stored: StoredDocument, room: Room, now: float) -> None:
        snapshot = stored.snapshot
        there = DocumentLog.open(
            snapshot.data if snapshot else b"",
            snapshot.index if snapshot else b"",
            [row.data for row in stored.updates],
            self._bounds,
        )
        gained = there.beyond(room.log)
        if gained is not None:
            room.receive_remote(gained, now)

    def _try_again(self, shared: SharedRoom, *, was_deleted: bool) -> None:
        if shared.name not in self._retries and self._rooms.get(shared.name) is shared:
            again = self.look_deleted if was_deleted else self.resync
            delay_s = _RETRY_S * (0.5 + self.random())
            self._retries[shared.name] = self._loop.call_later(delay_s, self._retry, shared.name, again)

    def _retry(self, room: str, again: Callable[[str], None]) -> None:
        self._retries.pop(room, None)
        if room in self._rooms:
            again(room)


def _adopt(room: Room, now: float) -> None:
    room.adopt_unproven(now)


_KEPT_OVERHEAD_BYTES = 200
"""What a kept message costs beside its bytes."""
