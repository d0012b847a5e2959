"""One room on this node: the pure room core with a clock, sockets to write to and a journal to save in.

Everything here runs on the event loop's thread and nothing waits. The room says when it wants to be flushed;
the host calls it then, writes what it says to the peers, puts what is new into the journal, and answers
those who asked "is it saved?" when the journal says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from collab_server.errors import BusyError, CloseCode, GoneError, PeerError
from collab_server.hosting.acks import Acks
from collab_server.hosting.journal import Journal
from collab_server.hosting.peer import Peer
from collab_server.hosting.settings import Ack, HostingSettings
from collab_server.hosting.turn import TurnEnd
from collab_server.room.member import Member
from collab_server.room.room import Flush, Room
from collab_server.telemetry.metrics import Kind, Metrics, Refusal
from collab_server.wire.frame import Frame
from collab_server.wire.sync import PLAIN, Framing
from collab_server.ydoc.compaction import Compacted
from persistence.errors import StoreError

log = structlog.get_logger(__name__)


class Outlet(Protocol):
    """What is told of a room to the other nodes that host it. See ``hosting.sharedroom``."""

    def flushed(self, flush: Flush, sequence: int) -> None:
        """The room has flushed; what it journals has this number."""
        ...

    def committed(self, sequence: int) -> None:
        """What was journaled is stored, up to this number."""
        ...

    def ended(self) -> None:
        """The room is closed here."""
        ...


@dataclass(slots=True)
class _Held:
    """What a peer with a full socket gets when it has drained."""

    frames: deque[Frame]
    bytes_total: int = 0
    state_vector: bytes | None = None
    """Its newest step 1 that is not answered yet."""


class Host:
    """One room on this node.

    ``on_quiet`` is called when the last peer has left, ``on_ended`` when the room must be dropped (deleted,
    or broken): by then every peer has been closed.
    """

    def __init__(
        self,
        room: Room,
        journal: Journal,
        settings: HostingSettings,
        metrics: Metrics,
        *,
        turn_end: TurnEnd,
        wall_clock_ms: Callable[[], int],
        on_quiet: Callable[[Host], None],
        on_ended: Callable[[Host], None],
    ) -> None:
        self.name = room.name
        self.room = room
        self.peers: dict[Member, Peer] = {}
        self.journal_bytes = 0
        self.pins = 0
        """Callers that hold the room open; it stays while there are any."""
        self.rows_since_compaction = 0
        self.bytes_since_compaction = 0
        self.uncompacted_since: float | None = None
        """When the oldest row came that no compaction has been asked for; the loop's time."""
        self.ended = False
        self.outlet: Outlet | None = None
        """Where the other nodes hear of this room; None if there are no others."""
        self._journal = journal
        self._settings = settings
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._wall_clock_ms = wall_clock_ms
        self.opened_at_ms = wall_clock_ms()
        self._on_quiet = on_quiet
        self._on_ended = on_ended
        self._acks = Acks()
        self._held: dict[Member, _Held] = {}
        self._shared_answer: tuple[bytes, object, Frame] | None = None
        """The last long step 2, the key of its framing, and the frame of it."""
        self._shared_until: asyncio.TimerHandle | None = None
        self._turn_end = turn_end
        self._is_due = False
        """Whether the room is flushed at the end of this turn."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # -- what peers do

    def attach(self, peer: Peer, *, asks: bool = True) -> None:
        """Take a peer in and greet it: our step 1, and who is here. Raises PeerError if there is no place.

        ``asks`` is False for a dialect whose clients are asked later, with ``ask``.
        """
        now = self._loop.time()
        try:
            self.room.join(peer.member, now)
        except BusyError:
            self._metrics.count_refused(Refusal.MEMBERS_MAX)
            raise
        self.peers[peer.member] = peer
        if self.room.adopt_unproven(now):
            self._acks.edited()  # what the peer wrote elsewhere is not sent again: our "saved" speaks of it
        state_vector, awareness = self.room.greeting(peer.member)
        if asks:
            peer.send(peer.member.framing.step1(state_vector))
            self._metrics.sent[Kind.SYNC_STEP_1].add(len(state_vector))
        if awareness is not None:
            self._send_awareness(peer, awareness)
        self._schedule()

    def detach(self, peer: Peer, *, goodbye: bool) -> None:
        """Let a peer go. What it wrote stays. ``goodbye``: it closed in order, so its presence ends now."""
        if self.peers.pop(peer.member, None) is None:
            return
        self._held.pop(peer.member, None)
        self._acks.forget(peer.member)
        self.room.leave(peer.member, self._loop.time(), goodbye=goodbye)
        self._schedule()
        if not self.peers:
            self._on_quiet(self)

    def receive_step1(self, peer: Peer, state_vector: bytes) -> None:
        """Answer with what the peer is missing. Raises PeerError."""
        held = self._held.get(peer.member)
        if held is not None:
            held.state_vector = state_vector
            return
        with self._breakable():
            self._flush_edits()
            answer = self.room.receive_step1(peer.member, state_vector, self._loop.time())
            self._send_answer(peer, answer)
            self._schedule()

    def ask(self, peer: Peer) -> None:
        """Ask a peer for what it has: our step 1."""
        state_vector, _ = self.room.greeting(peer.member)
        self._send_or_hold(peer.member, peer.member.framing.step1(state_vector))
        self._metrics.sent[Kind.SYNC_STEP_1].add(len(state_vector))

    def receive_update(self, peer: Peer, update: bytes, *, is_answer: bool = False) -> None:
        """Take an edit, or the answer to our step 1.

        Raises PeerError: 4503 while the journal is full and the edit is new.
        """
        self.room.refuses_edits = None if self._journal.admits(self) else _STORE_AWAY
        try:
            if self.room.receive_update(peer.member, update, self._loop.time(), is_answer=is_answer):
                self._acks.edited()
            self._schedule()
        except PeerError:
            raise
        except Exception:  # noqa: BLE001 - the room's own, whatever it is
            self._break()

    def receive_awareness(self, peer: Peer, payload: bytes) -> None:
        """Take a peer's presence. Raises PeerError."""
        with self._breakable():
            self.room.receive_awareness(peer.member, payload, self._loop.time())
            self._schedule()

    def receive_query_awareness(self, peer: Peer) -> None:
        """Answer with who is here."""
        payload = self.room.query_awareness()
        if payload is not None and peer.member not in self._held:
            self._send_awareness(peer, payload)

    def receive_sync_status(self, peer: Peer, payload: bytes) -> None:
        """Answer ``payload`` when all that the peer sent before is committed (or applied, where so set)."""
        frame = peer.member.framing.sync_status(payload)
        self._metrics.sent[Kind.SYNC_STATUS].add(len(payload))
        if self._settings.ack is Ack.APPLIED or self._acks.is_settled:
            self._send_or_hold(peer.member, frame)
        else:
            self._acks.wait(peer.member, frame)

    def peer_full(self, peer: Peer) -> None:
        """The peer's socket is over its high-water mark: it gets one difference when it has drained."""
        if peer.member in self.peers and peer.member not in self._held:
            self._held[peer.member] = _Held(deque())
            self.room.mark_slow(peer.member)

    def peer_drained(self, peer: Peer) -> None:
        """The peer's socket has room again: bring it up to date in one difference."""
        held = self._held.pop(peer.member, None)
        if held is None:
            return
        with self._breakable():
            self._flush_edits()
            now = self._loop.time()
            update, awareness = self.room.resume(peer.member, now)
            # The difference goes last: it may fill the socket again, and nothing may come on top of that.
            for frame in held.frames:
                peer.send(frame)
            if awareness is not None:
                self._send_awareness(peer, awareness)
            if held.state_vector is not None:
                self._send_answer(peer, self.room.receive_step1(peer.member, held.state_vector, now))
            elif update is not None:
                peer.send(peer.member.framing.update(update))
                self._metrics.resyncs.inc()
                self._metrics.sent[Kind.UPDATE].add(len(update))
            self._schedule()

    # -- what others do

    def receive_remote(self, updates: Iterable[bytes]) -> None:
        """Take updates that are stored already, and tell the peers what is new in them."""
        with self._breakable():
            now = self._loop.time()
            for update in updates:
                self.room.receive_remote(update, now)
            self._schedule()

    def edit(self, update: bytes, author: str | None) -> bool:
        """Take an edit of the server's own making, and send and journal it at once. False if nothing is new.

        It is durable when the journal has settled. Raises PeerError, as for any edit.
        """
        if self.ended:
            raise BusyError("the room was closed", CloseCode.SERVICE_RESTART)
        self.room.refuses_edits = None if self._journal.admits(self) else _STORE_AWAY
        with self._breakable():
            if not self.room.receive_update(Member(0, PLAIN, user_id=author), update, self._loop.time()):
                return False
            self._acks.edited()
            self.flush()
        if self.ended:
            raise BusyError("the room had to be opened again", CloseCode.RESET)
        return True

    def change(self, work: Callable[[Room, float], None]) -> None:
        """Have something done to the room, at the present time, that is not a peer's doing.

        Does nothing once the room is closed. Raises PeerError; anything else that is raised ends this room
        alone.
        """
        if self.ended:
            return
        with self._breakable():
            work(self.room, self._loop.time())
            self._schedule()

    def compaction_requested(self) -> None:
        """Start to count anew: somebody compacts what is stored by now."""
        self.rows_since_compaction = self.bytes_since_compaction = 0
        self.uncompacted_since = None

    def adopt(self, compacted: Compacted) -> None:
        """Exchange what the room holds for the compacted form of it, and go on from there."""
        with self._breakable():
            self.room.adopt(compacted.data, compacted.index, self._loop.time())
            self._schedule()

    def encode(self) -> bytes:
        """The whole document as one update, with all that was received until now."""
        self._flush_edits()
        return self.room.log.encode()

    def flush(self, *, adopting: bool = False) -> None:
        """Write and journal everything that waits for its window, now.

        With ``adopting`` also what other nodes may not have stored: the room is about to be closed.
        """
        if not self.ended:
            if adopting:
                self.room.adopt_unproven(self._loop.time())
            self._apply(self.room.flush(self._loop.time(), force=True))
            self._schedule()

    def end(self, error: PeerError) -> None:
        """Close every peer with ``error`` and stop. What is in the journal still goes to the store."""
        if self.ended:
            return
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._shared_until is not None:
            self._shared_until.cancel()
            self._forget_answer()
        if self.outlet is not None:
            self.outlet.ended()
        for peer in list(self.peers.values()):
            peer.close(error)
        self._on_ended(self)

    @property
    def slow_members_count(self) -> int:
        """How many members wait for their sockets to drain."""
        return len(self._held)

    @property
    def is_saved(self) -> bool:
        """Whether nothing is waiting to be committed."""
        return self._acks.is_settled

    # -- what the journal says

    def on_committed(self, sequence: int) -> None:
        """Answer everybody whose edits are durable now."""
        for member, frame in self._acks.committed(sequence):
            self._send_or_hold(member, frame)
        if self.outlet is not None:
            self.outlet.committed(sequence)

    def on_deleted(self) -> None:
        """The document was deleted by somebody else."""
        self.end(GoneError("the document was deleted"))

    def on_unstorable(self, error: StoreError) -> None:
        """What the peers have is not what can be stored: let them sync again with what is."""
        self.end(
            BusyError(f"the store refuses this room: {type(error).__name__}", CloseCode.STORE_UNAVAILABLE)
        )

    # -- inside

    def _schedule(self) -> None:
        if self._is_due:
            return
        due = self.room.next_due()
        if due is None or self.ended:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        if self._timer is not None:
            if self._timer_at <= due:
                # Too early is harmless (a flush with nothing to do), and cheaper than a new timer for each
                # input.
                return
            self._timer.cancel()
            self._timer = None
        if due <= self._loop.time():
            self._is_due = True
            self._turn_end.call(self._on_due)
        else:
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._on_due()

    def _on_due(self) -> None:
        self._is_due = False
        if self.ended:
            return
        try:
            self._apply(self.room.flush(self._loop.time()))
            self._schedule()
        except Exception:  # noqa: BLE001 - nobody asked for this: whatever it is, it is the room's own
            self._break()

    @contextmanager
    def _breakable(self) -> Iterator[None]:
        """Pass a member's own error on; whatever else happens is the room's."""
        try:
            yield
        except PeerError:
            raise
        except Exception:  # noqa: BLE001 - the room's own, whatever it is
            self._break()

    def _break(self) -> None:
        """The room cannot be trusted any more: it starts afresh from the store, the others go on."""
        log.exception("a room broke", room=self.name)
        self.end(BusyError("the room had to be opened again", CloseCode.RESET))

    def _flush_edits(self) -> None:
        if self.room.has_edits_waiting:
            self._apply(self.room.flush(self._loop.time(), force=True))

    def _apply(self, flush: Flush) -> None:
        sequence = 0
        if flush.journal is not None:
            sequence = self._journal.put(self, flush.journal, flush.authors, self._wall_clock_ms())
            self._acks.flushed(sequence)
            self.rows_since_compaction += 1
            self.bytes_since_compaction += len(flush.journal)
            if self.uncompacted_since is None:
                self.uncompacted_since = self._loop.time()
        if self.outlet is not None:
            self.outlet.flushed(flush, sequence)
        # Presence goes first: what is said of it later is said to those that are not full, and an edit may
        # fill a socket.
        for member, nulls in flush.awareness_private:
            self._send_awareness(self.peers[member], nulls)
        if flush.awareness is not None:
            frames: dict[object, Frame] = {}
            for member in flush.awareness_recipients:
                key = member.framing.key
                frame = frames.get(key)
                if frame is None:
                    frame = frames[key] = member.framing.awareness(flush.awareness)
                self.peers[member].send(frame)
            recipients = len(flush.awareness_recipients)
            self._metrics.sent[Kind.AWARENESS].add(len(flush.awareness) * recipients, recipients)
        if flush.update is not None:
            self._broadcast(flush, flush.update, sequence)
        for member, difference in flush.late:
            self.peers[member].send(member.framing.update(difference))
            self._metrics.sent[Kind.UPDATE].add(len(difference))

    def _send_answer(self, peer: Peer, answer: bytes) -> None:
        """Send a step 2. Those who come for the same bytes within a second share one frame."""
        framing = peer.member.framing
        self._metrics.sent[Kind.SYNC_STEP_2].add(len(answer))
        if len(answer) < _SHARED_FROM_BYTES:
            peer.send(framing.step2(answer))
            return
        shared = self._shared_answer
        if shared is None or shared[0] is not answer or shared[1] != framing.key:
            shared = self._shared_answer = (answer, framing.key, framing.step2(answer))
            if self._shared_until is not None:
                self._shared_until.cancel()
            self._shared_until = self._loop.call_later(_SHARED_FOR_S, self._forget_answer)
        peer.send(shared[2])

    def _forget_answer(self) -> None:
        self._shared_answer = self._shared_until = None

    def _send_awareness(self, peer: Peer, payload: bytes) -> None:
        peer.send(peer.member.framing.awareness(payload))
        self._metrics.sent[Kind.AWARENESS].add(len(payload))

    def _broadcast(self, flush: Flush, update: bytes, sequence: int) -> None:
        frames: dict[object, Frame] = {}
        peers = self.peers
        framing: Framing | None = None
        frame: Frame | None = None
        for member in flush.recipients:
            if frame is None or member.framing is not framing:  # all plain members have the same one
                framing = member.framing
                frame = frames.get(framing.key)
                if frame is None:
                    frame = frames[framing.key] = framing.update(update)
            peers[member].send(frame)
        for member in flush.echo:
            if self._settings.ack is Ack.APPLIED or not sequence:
                self._send_or_hold(member, member.framing.update(update))
            else:
                self._acks.wait(member, member.framing.update(update))
        metrics = self._metrics
        metrics.delivery_seconds.observe(self._loop.time() - flush.received_at)
        metrics.flush_window_seconds.observe(flush.window_ms / 1000)
        metrics.flush_recipients.observe(len(flush.recipients))
        metrics.sent[Kind.UPDATE].add(len(update) * len(flush.recipients), len(flush.recipients))

    def _send_or_hold(self, member: Member, frame: Frame) -> None:
        held = self._held.get(member)
        if held is None:
            self.peers[member].send(frame)
        elif (
            len(held.frames) < self._settings.held_frames_max
            and held.bytes_total + len(frame) <= self._settings.held_bytes_max
        ):
            held.frames.append(frame)
            held.bytes_total += len(frame)
        else:
            self.peers[member].close(BusyError("too slow to read its acknowledgements", CloseCode.OVERLOADED))


_SHARED_FROM_BYTES = 16 * 1024
_SHARED_FOR_S = 1.0
"""A join storm is over before; a frame that is kept longer would double the memory of a quiet room."""

_STORE_AWAY = BusyError("the store cannot take edits of this room now", CloseCode.STORE_UNAVAILABLE)
