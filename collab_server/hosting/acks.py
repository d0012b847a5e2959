"""Who waits to hear "saved", and for what. Pure bookkeeping; no clock, no socket."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from collab_server.room.member import Member
from collab_server.wire.frame import Frame


class Acks:
    """The acknowledgements that one room owes.

    Order: each member's frames come out in the order in which they were put in. Nothing comes out before
    everything that the room had taken when it was put in is committed.
    """

    __slots__ = ("_committed", "_flushed", "_unflushed", "_unflushed_edits", "_waiting")

    def __init__(self) -> None:
        self._flushed = 0
        """The journal's sequence number of the newest edit of this room that was flushed."""
        self._committed = 0
        self._unflushed_edits = False
        self._unflushed: list[tuple[Member, Frame]] = []
        self._waiting: list[tuple[int, Member, Frame]] = []  # an empty deque takes 760 bytes in each room

    @property
    def is_settled(self) -> bool:
        """Whether everything that the room has taken is committed."""
        return not self._unflushed_edits and self._committed >= self._flushed

    def edited(self) -> None:
        """The room has taken an edit, which a later flush will give its sequence number."""
        self._unflushed_edits = True

    def flushed(self, sequence: int) -> None:
        """Everything that the room has taken is in the journal, up to ``sequence``."""
        self._flushed = sequence
        self._unflushed_edits = False
        if self._unflushed:
            self._waiting.extend((sequence, member, frame) for member, frame in self._unflushed)
            self._unflushed.clear()

    def wait(self, member: Member, frame: Frame) -> None:
        """Keep ``frame`` for ``member`` until everything taken so far is committed."""
        if self._unflushed_edits:
            self._unflushed.append((member, frame))
        else:
            self._waiting.append((self._flushed, member, frame))

    def committed(self, sequence: int) -> Sequence[tuple[Member, Frame]]:
        """The journal has committed up to ``sequence``: what may be sent now, in order."""
        self._committed = sequence
        if not self._waiting:
            return ()
        due = bisect_right(self._waiting, sequence, key=_sequence_of)
        ready = [(member, frame) for _, member, frame in self._waiting[:due]]
        del self._waiting[:due]
        return ready

    def forget(self, member: Member) -> None:
        """Drop what waits for a member that has left."""
        if any(waiting[1] is member for waiting in self._waiting):
            self._waiting = [waiting for waiting in self._waiting if waiting[1] is not member]
        if self._unflushed:
            self._unflushed = [waiting for waiting in self._unflushed if waiting[0] is not member]


def _sequence_of(waiting: tuple[int, Member, Frame]) -> int:
    return waiting[0]
