"""What this node has read of one shard, and what it must have missed. Pure.

Three things tell of a loss: a jump in a sender's numbers; a sender's first entry, if the one before it lies
behind the place where this node began to read; and a heartbeat that speaks of an entry which lies before the
place that was read and was never seen.
"""

from __future__ import annotations

from enum import Enum

from collab_server.bus.base import NodeId
from collab_server.bus.envelope import START, Entry, StreamId

_SENDERS_MAX = 4096


class Verdict(Enum):
    """What to make of an entry."""

    NEW = "new"
    GAP = "new, and something before it is missing"
    KNOWN = "was read already"


class Reading:
    """One watched shard."""

    __slots__ = ("_began", "_resume", "_seen", "delay_ms", "is_gap_owed", "position", "shard", "watchers")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.watchers = 1
        self.position: StreamId | None = None
        """Up to where the stream was read; None until that is known."""
        self.is_gap_owed = False
        """Whether the listener must be told of a loss as soon as the link works."""
        self.delay_ms = 0.0
        self._began: StreamId = START
        self._resume: StreamId | None = None
        self._seen: dict[NodeId, int] = {}

    def begin(self, place: StreamId) -> None:
        """Something of ours was written at ``place``: everything behind it will be read.

        After ``suspend`` reading goes on where it was, unless the stream has gone backwards since (another
        Redis, or the same one without its data).
        """
        if self.position is not None:
            return
        if self._resume is not None and self._resume <= place:
            self.position = self._resume
        else:
            self.position = self._began = place
            self._seen.clear()
        self._resume = None

    def suspend(self, *, resumes: bool) -> None:
        """Do not read until ``begin``; with ``resumes``, nothing in between is skipped."""
        if self.position is not None:
            self._resume = self.position
        if not resumes:
            self._resume = None
        self.position = None

    def take(self, place: StreamId, entry: Entry) -> Verdict:
        """An entry of another node was read."""
        last = self._seen.get(entry.sender)
        if last is not None and entry.seq <= last:
            return Verdict.KNOWN
        if last is None and len(self._seen) >= _SENDERS_MAX:
            self._seen.clear()
        self._seen[entry.sender] = entry.seq
        if last is None:
            return Verdict.GAP if self._misses_first(entry) else Verdict.NEW
        return Verdict.NEW if entry.seq == last + 1 else Verdict.GAP

    def misses(self, sender: NodeId, seq: int, place: StreamId) -> bool:
        """Whether a sender's last entry, which it says lies at ``place``, was passed by unseen."""
        if self.position is None or not self._began < place <= self.position:
            return False
        if self._seen.get(sender, 0) >= seq:
            return False
        self._seen[sender] = seq
        return True

    def behind(self, sender: NodeId, seq: int, place: StreamId) -> int:
        """How many entries of a sender, whose last one is known, are still to be read."""
        if self.position is None or place <= self.position:
            return 0
        last = self._seen.get(sender)
        return 1 if last is None else max(0, seq - last)

    def has_passed(self, place: StreamId) -> bool:
        """Whether everything up to a place was read, or will never be."""
        return self.position is None or self.position >= place

    def forget(self, sender: NodeId) -> None:
        """A sender is gone."""
        self._seen.pop(sender, None)

    def _misses_first(self, entry: Entry) -> bool:
        if entry.seq == 1:
            return False
        if entry.prev_seq == entry.seq - 1:
            return entry.prev_id > self._began
        # The one before it was written in the same breath, and was not read: it may lie before our beginning.
        return True
