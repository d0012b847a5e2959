"""One room: who is in it, what they edit, who gets what and when.

A synchronous state machine: inputs and times come in, decisions go out (``Flush``). It waits for nothing,
knows no socket, and holds the document as bytes (``ydoc.log``). An exception that is not a ``PeerError``
means that the room is broken; a ``PeerError`` closes the member whose input raised it, and changes nothing
for anybody else.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from collab_server.errors import BusyError, PeerError, TooBigError
from collab_server.room.awareness import Presence
from collab_server.room.flush import Flush
from collab_server.room.gathering import Gathering
from collab_server.room.member import Member
from collab_server.room.narrowing import Narrowing, Writers, refuse_reader
from collab_server.room.settings import RoomSettings
from collab_server.room.unproven import Unproven
from collab_server.room.window import Window
from collab_server.wire.awareness import AwarenessBounds, decode_awareness
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.inspection import Inspected, inspect
from collab_server.ydoc.log import DocumentLog, Novelty
from collab_server.ydoc.statevector import decode_state_vector, encode_state_vector

__all__ = ["Flush", "Room"]


class Room:
    """One room. ``log`` is the document; nobody else changes it while the room is open.

    After each call ``next_due`` says when ``flush`` has something to do.
    """

    __slots__ = (
        "_changes",
        "_gathering",
        "_greeting",
        "_late",
        "_members",
        "_narrowing",
        "_pending_from",
        "_presence",
        "_settings",
        "_slowing",
        "_unproven",
        "_vector",
        "_window",
        "_writers",
        "log",
        "name",
        "refuses_edits",
    )

    def __init__(self, name: str, log: DocumentLog, settings: RoomSettings) -> None:
        self.name = name
        self.log = log
        self.refuses_edits: PeerError | None = None
        """Set while the store cannot take more: an edit that is new is refused with this error's code and
        reason."""
        self._settings = settings
        self._members: dict[Member, None] = {}
        self._slowing: list[Member] = []
        """Slow members that still get what the open window holds; they stop with its flush."""
        self._late: list[tuple[float, Member]] = []  # short; an empty deque would take 760 bytes in each room
        """When a member that is not live gets a difference, earliest first. Members that are live are
        skipped."""
        self._window = Window(settings)
        self._gathering: Gathering | None = None
        self._presence = Presence(settings)
        self._changes = 0
        """Counts what was integrated."""
        self._vector: tuple[int, dict[int, int]] = (-1, {})
        """A copy of the state vector that lagging members share, and the count of changes that it is of."""
        self._greeting: tuple[int, bytes] = (-1, b"")
        """The same, encoded."""
        self._pending_from: frozenset[Member | None] = _NOBODY
        """The members that sent what waits for its earlier parts; empty if nothing waits."""
        self._writers = Writers(settings.writers_remembered_max)
        self._narrowing: Narrowing | None = None
        """Only while a member is here that may write under some root types only."""
        self._unproven = Unproven()

    # -- members

    @property
    def members_count(self) -> int:
        """How many members there are."""
        return len(self._members)

    def join(self, member: Member, now: float) -> None:
        """Take a member in. It gets live edits from its step 1 on, or when the patience with it has run out.

        Raises:
            BusyError: The room has as many members as it may.
        """
        if len(self._members) >= self._settings.members_max:
            raise BusyError("this room has as many members as it may")
        self._members[member] = None
        self._leave_behind(member)
        member.patience_until = now + self._settings.join_patience_ms / 1000
        self._late.append((member.patience_until, member))
        if member.is_narrowed:
            self._narrow()

    def leave(self, member: Member, now: float, *, goodbye: bool) -> None:
        """Let a member go; what it wrote stays.

        After a ``goodbye`` its presence ends at once, otherwise after the grace.
        """
        if member not in self._members:
            return
        del self._members[member]
        if member in self._slowing:
            self._slowing.remove(member)
        member.lag = None
        self._presence.leave(member, now, goodbye=goodbye)
        if self._narrowing is not None and not any(other.is_narrowed for other in self._members):
            self._narrowing.close()
            self._narrowing = None

    def greeting(self, member: Member) -> tuple[bytes, bytes | None]:
        """The state vector for the server's step 1, and an awareness payload if anybody is here."""
        if self._greeting[0] != self._changes:
            self._greeting = (self._changes, encode_state_vector(self.log.state_vector))
        return self._greeting[1], self._presence.snapshot()

    def mark_slow(self, member: Member) -> None:
        """Stop sending to a member whose socket is full; what the open window holds still goes to it."""
        if member.slow or member not in self._members:
            return
        member.slow = True
        member.lag_awareness = self._presence.told
        if member.lag is not None:
            return
        if self._gathering is not None:
            self._slowing.append(member)
        else:
            self._leave_behind(member)

    def resume(self, member: Member, now: float) -> tuple[bytes | None, bytes | None]:
        """Go on sending to a slow member: the update and the awareness payload that it missed.

        While a window is open, and for a member whose step 1 is still waited for, the update comes later,
        with a flush.
        """
        if not member.slow:
            return None, None
        member.slow = False
        awareness = self._presence.since(member.lag_awareness)
        if member in self._slowing:
            self._slowing.remove(member)
        if member.lag is None or now < member.patience_until:
            return None, awareness
        if self._gathering is not None:
            self._late.insert(0, (self._gathering.due, member))
            return None, awareness
        return self._catch_up(member), awareness

    # -- edits

    def receive_step1(self, member: Member, state_vector: bytes, now: float) -> bytes:
        """Answer a member's step 1: the payload for step 2. From here on it gets live edits.

        A caller flushes an open window first; otherwise those begin with a difference after it.

        Raises:
            MalformedError: Not a state vector.
        """
        vector = decode_state_vector(state_vector, self._settings.bounds)
        answer = self.log.since(vector) if vector else self.log.encode()
        member.patience_until = 0.0
        if member.slow and member not in self._slowing:
            self._leave_behind(member)
        elif not member.slow and self._gathering is not None:
            self._leave_behind(member)
            self._late.insert(0, (self._gathering.due, member))
        elif not member.slow:
            member.lag = None
        return answer

    def receive_update(self, member: Member, update: bytes, now: float, *, is_answer: bool = True) -> bool:
        """Take an edit, or the answer to our step 1. True if a flush will journal something.

        That is the edit, as far as it is new, and what other nodes have not said to be stored of that which
        is not new or which the edit needs.

        ``is_answer`` is False for what the client calls an update. An answer (step 2) carries all deletions
        that the client knows of, and Yjs makes some by itself as it integrates (of two concurrent values of a
        map's key it deletes the loser): those that the member may not make are ignored.

        Raises:
            MalformedError: It cannot be decoded, or is nested too deep.
            TooBigError: It, or the room with it, or what waits for its earlier parts is over a bound.
            RefusedError: It brings something new that the member may not write. Nothing of it was taken.
            PeerError: ``refuses_edits`` is set, and it brings something new.
        """
        inspected = inspect(update, self._settings.bounds)
        if inspected.is_empty:
            return False
        log = self.log
        if not member.can_write:
            refuse_reader(log, inspected, is_answer=is_answer)
            return False
        if member.writable_roots is not None:
            permitted = self._narrow().permit(member, member.writable_roots, inspected, is_answer=is_answer)
            if permitted is None:
                return False
            inspected, update = permitted, permitted.data
        if self.refuses_edits is not None and self._is_new(inspected):
            # A fresh one: an error that is raised again and again keeps every traceback.
            raise PeerError(self.refuses_edits.reason, self.refuses_edits.close_code)
        room_bytes_max = self._settings.room_bytes_max
        if log.bytes_total + len(update) > room_bytes_max and inspected.sections and self._is_new(inspected):
            log.fold()
            if log.bytes_total + len(update) > room_bytes_max:
                raise TooBigError("this room is full")
        waiting = log.pending_bytes
        novelty = log.add(inspected)
        if novelty.journal is None:
            return self.adopt_unproven(now)
        if self._narrowing is not None:
            self._narrowing.follow(inspected)
        holder: Member | None = member
        if waiting and novelty.update is not None and novelty.update is not novelty.journal:
            holder = self._holder_of_released(member, inspected, novelty.update)
        self._note_pending(member, novelty)
        gathering = self._gather(novelty, holder, now, inspected)
        unproven = self._unproven
        if unproven and (novelty.journal is not update or unproven.is_needed_by(inspected)):
            gathering.adopt(unproven.take())
        if member.lag is not None and novelty.update is not None and holder is member:
            self._advance_lag(member, member.lag, inspected)
        if member.user_id is not None:
            gathering.authors[member.user_id] = None
        if not is_answer and inspected.sections and inspected.sections[0].client != member.wrote_as:
            member.wrote_as = inspected.sections[0].client
            self._writers.note(member.wrote_as, member.user_id)
        if member.wants_echo and novelty.update is not None:
            gathering.echo[member] = None
        return True

    # -- edits of others

    def receive_remote(self, update: bytes, now: float) -> None:
        """Take an edit that is stored already, and send it to everybody. Raises PeerError if it is none."""
        _, novelty = self._add_remote(update)
        if novelty.update is not None:
            self._gather(Novelty(novelty.update, None), None, now)

    def receive_published(self, update: bytes, node: Hashable, sequence: int, now: float) -> None:
        """Take an edit that a node has published under this number and will store, as ``room.unproven`` says.

        Raises:
            PeerError: It cannot be decoded.
        """
        inspected, novelty = self._add_remote(update)
        if novelty.update is not None:
            self._gather(Novelty(novelty.update, None), None, now)
        if novelty.journal is not None:
            self._unproven.add(node, sequence, novelty.journal, inspected, now)

    def receive_unstored(self, update: bytes, now: float) -> None:
        """Take an edit that nobody may have stored: it goes to everybody and, as far as new, to the journal.

        Raises:
            PeerError: It cannot be decoded.
        """
        _, novelty = self._add_remote(update)
        if novelty.journal is None:
            return
        gathering = self._gather(Novelty(novelty.update, None), None, now)
        gathering.adopt([*self._unproven.take(), novelty.journal])

    def stored_elsewhere(self, node: Hashable, sequence: int) -> None:
        """A node has stored its edits up to this number."""
        self._unproven.stored(node, sequence)

    def adopt_unproven(self, now: float, node: Hashable | None = None) -> bool:
        """Have the unproven edits of a node, or of all nodes, journaled with the next flush.

        False if there are none.
        """
        updates = self._unproven.take(node) if self._unproven else None
        if not updates:
            return False
        self._gather(Novelty(None, None), None, now).adopt(updates)
        return True

    @property
    def unproven(self) -> Unproven:
        """The edits of other nodes that nobody has said to be stored. For looking at."""
        return self._unproven

    def adopt(self, base: bytes, index: bytes, now: float) -> None:
        """Exchange what the log holds for a compacted base; what that has beyond the log goes to everybody.

        Raises:
            PeerError: The base cannot be read; nothing has changed.
        """
        gained = self.log.adopt(base, index)
        if gained is not None:
            self._gather(Novelty(gained, None), None, now)

    @property
    def has_edits_waiting(self) -> bool:
        """Whether a window is open."""
        return self._gathering is not None

    # -- presence

    def receive_awareness(self, member: Member, payload: bytes, now: float) -> None:
        """Take what a member says of who is here; ``room.awareness`` says what counts.

        Raises:
            MalformedError: It cannot be decoded.
            TooBigError: It, or the room's awareness with it, is over a bound.
        """
        if len(payload) > self._settings.awareness_bytes_max:
            raise TooBigError("awareness message too big")
        self._presence.receive(member, decode_awareness(payload, self._awareness_bounds()), now)

    def receive_remote_awareness(self, payload: bytes, now: float, node: Hashable = None) -> None:
        """Take what another node says of who is there. Raises PeerError if it cannot be decoded."""
        self._presence.receive_remote(decode_awareness(payload, self._awareness_bounds()), now, node)

    def node_gone(self, node: Hashable, now: float) -> None:
        """A node has gone: its clients go, and what it may not have stored is journaled here."""
        self._presence.node_gone(node, now)
        self.adopt_unproven(now, node)

    def own_awareness(self) -> bytes | None:
        """An awareness payload of those for whom this node speaks; None if there are none."""
        return self._presence.own_snapshot()

    def farewell(self) -> bytes | None:
        """The awareness payload that removes those for whom this node speaks; None if there are none."""
        return self._presence.farewell()

    @property
    def presence(self) -> Presence:
        """Who is here. For looking at."""
        return self._presence

    def query_awareness(self) -> bytes | None:
        """An awareness payload of everybody who is here; None if nobody is."""
        return self._presence.snapshot()

    # -- going out

    def next_due(self) -> float | None:
        """The earliest time at which ``flush`` has something to do; a past one means when this turn ends."""
        if self._narrowing is not None and self._narrowing.is_behind:
            return 0.0
        due = self._presence.next_due()
        gathering = self._gathering
        if gathering is not None and (due is None or gathering.due < due):
            due = gathering.due
        late = self._late
        while late and late[0][1].lag is None:
            late.pop(0)
        if late and (due is None or late[0][0] < due):
            due = late[0][0]
        return due

    def flush(self, now: float, *, force: bool = False) -> Flush:
        """Say what is to be done by now. With ``force`` an open window is closed before its time."""
        flush = Flush()
        if self._narrowing is not None:
            self._narrowing.keep_up()
        gathering = self._gathering
        if gathering is not None and (force or gathering.due <= now):
            self._close_window(gathering, flush, now)
        due = self._presence.next_due()
        if due is not None and due <= now:
            self._flush_presence(flush, now)
        while self._late and self._late[0][0] <= now:
            self._serve_late(self._late.pop(0)[1], flush)
        return flush

    # -- inside

    def _add_remote(self, update: bytes) -> tuple[Inspected, Novelty]:
        inspected = inspect(update, UNBOUNDED)
        novelty = self.log.add(inspected, trusted=True)
        if self._narrowing is not None:
            self._narrowing.follow(inspected)
        self._note_pending(None, novelty)
        return inspected, novelty

    def _gather(
        self, novelty: Novelty, holder: Member | None, now: float, inspected: Inspected | None = None
    ) -> Gathering:
        """Put what is new into the window; ``inspected`` is what it was found in, if it was."""
        self._window.count(len(self._members), now)
        gathering = self._gathering
        if gathering is None:
            gathering = self._gathering = Gathering(now, self._window.due(now), self._changes)
        if novelty.update is not None:
            self._changes += 1
        update, journal = novelty.update, novelty.journal
        if inspected is not None and update is inspected.data:
            gathering.add(inspected, inspected if journal is update else journal, holder)
        else:
            gathering.add(update, journal, holder)
        if self._narrowing is not None:
            self._narrowing.keep_up()
        return gathering

    def _narrow(self) -> Narrowing:
        """What decides on the edits of narrowed members; made when the first one is here."""
        if self._narrowing is None:
            self._narrowing = Narrowing(self.log, self._presence, self._writers)
        return self._narrowing

    def _close_window(self, gathering: Gathering, flush: Flush, now: float) -> None:
        self._gathering = None
        self._window.flushed(now)
        flush.update, flush.journal, flush.publish = gathering.close()
        flush.authors = tuple(gathering.authors)
        flush.received_at = gathering.received_at
        flush.window_ms = (now - gathering.received_at) * 1000
        flush.updates_count = gathering.updates_count
        if flush.update is not None:
            echo = gathering.echo
            sole = None if gathering.several else gathering.sole
            if echo:
                flush.echo = [member for member in echo if member in self._members]
                flush.recipients = [
                    m for m in self._members if m.lag is None and m is not sole and m not in echo
                ]
                for member in flush.echo:
                    if member.lag is not None and member.lag_changes >= gathering.changes_before:
                        self._leave_behind(member)  # the echo holds all that it lacks
            else:
                flush.recipients = [m for m in self._members if m.lag is None and m is not sole]
        if self._slowing:
            for member in self._slowing:
                self._leave_behind(member)
            self._slowing.clear()
        if self.log.tail_bytes > self._settings.tail_bytes_max:
            self.log.fold()

    def _flush_presence(self, flush: Flush, now: float) -> None:
        presence = self._presence.flush(now)
        if presence is None:
            return
        flush.awareness = presence.payload
        flush.awareness_publish = presence.publish
        members = self._members
        if presence.payload is not None:
            sole = presence.sole_author
            flush.awareness_recipients = [m for m in members if not m.slow and m is not sole]
        flush.awareness_private = [(m, data) for m, data in presence.private if m in members and not m.slow]

    def _serve_late(self, member: Member, flush: Flush) -> None:
        if member.lag is None or member.slow:
            return
        if self._gathering is not None:
            self._late.insert(0, (self._gathering.due, member))
            return
        difference = self._catch_up(member)
        if difference is not None:
            flush.late.append((member, difference))

    def _leave_behind(self, member: Member) -> None:
        """Send a member nothing live from here on, and remember where it stands."""
        if self._vector[0] != self._changes:
            self._vector = (self._changes, dict(self.log.state_vector))
        member.lag_changes, member.lag = self._vector

    def _advance_lag(self, member: Member, lag: dict[int, int], inspected: Inspected) -> None:
        """Spare a lagging member its own edits in the difference that it will get."""
        if member.lag_changes == self._changes - 1:
            member.lag_changes = self._changes
        lag, vector = dict(lag), self.log.state_vector
        for section in inspected.sections:
            if not section.gaps and section.clock <= lag.get(section.client, 0) < section.end:
                # A part of the edit may wait for its earlier parts while another has come in.
                lag[section.client] = min(section.end, vector.get(section.client, 0))
        member.lag = lag

    def _catch_up(self, member: Member) -> bytes | None:
        """Make a member live, and say what it has missed."""
        lag = member.lag
        member.lag = None
        member.patience_until = 0.0
        if lag is None or member.lag_changes == self._changes:
            return None
        return self.log.since(lag)

    def _is_new(self, inspected: Inspected) -> bool:
        """Whether an update brings anything that the log does not hold, without taking it."""
        vector = self.log.state_vector
        if any(section.end > vector.get(section.client, 0) for section in inspected.sections):
            return True
        spans = inspected.spans
        covers = self.log.deletes.covers
        return any(not covers(spans[i], spans[i + 1], spans[i + 2]) for i in range(0, len(spans), 3))

    def _holder_of_released(self, member: Member, inspected: Inspected, update: bytes) -> Member | None:
        """Who has all of ``update``, when it may hold more than what ``member`` has just sent."""
        if self._pending_from <= {member}:
            return member
        sent = {section.client: section for section in inspected.sections}
        for section in inspect(update, UNBOUNDED).sections:
            own = sent.get(section.client)
            if own is None or section.clock < own.clock or section.end > own.end:
                return None
        return member

    def _note_pending(self, member: Member | None, novelty: Novelty) -> None:
        if not self.log.pending_bytes:
            self._pending_from = _NOBODY
        elif novelty.journal is not None and novelty.journal is not novelty.update:
            self._pending_from |= {member}

    def _awareness_bounds(self) -> AwarenessBounds:
        return AwarenessBounds(state_bytes_max=self._settings.awareness_state_bytes_max)


_NOBODY: Final[frozenset[Member | None]] = frozenset()
"""An empty set of its own would take each room 216 bytes."""
