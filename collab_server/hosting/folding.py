"""What a compaction makes of a stored document: a small snapshot, and the history of what went into it.

Pure; for large documents it runs in a worker process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from collab_server.ydoc.bounds import DEFAULT_BOUNDS, Bounds
from collab_server.ydoc.compaction import Compacted, compact, segment
from persistence.base import HistorySize, NewCheckpoint, NewSegment, StoredDocument, UpdateRow
from persistence.history import SegmentRule, plan_segments, wants_checkpoint


@dataclass(frozen=True, slots=True)
class Past:
    """What the store holds of a document's history already, as far as the next segment needs to know."""

    size: HistorySize
    until_ms: int = 0
    """Where its last segment ends."""
    is_kept: bool = True
    """Whether the server keeps history at all."""
    rule: SegmentRule = field(default_factory=SegmentRule)


@dataclass(frozen=True, slots=True)
class Folded:
    """The new snapshot, the segments since the one before, and a checkpoint at their end where it is due."""

    compacted: Compacted
    segments: Sequence[NewSegment]
    checkpoint: NewCheckpoint | None


def fold(stored: StoredDocument, past: Past, bounds: Bounds = DEFAULT_BOUNDS) -> Folded:
    """Compact a document and cut its rows into segments.

    Raises:
        MalformedError: A row is not an update.
    """
    base = stored.snapshot.data if stored.snapshot else None
    compacted = compact(base, [row.data for row in stored.updates], bounds)
    if not past.is_kept:
        return Folded(compacted, (), None)
    segments = []
    until_ms = past.until_ms
    for group in plan_segments(stored.updates, past.rule):
        made = _segment(group, until_ms)
        segments.append(made)
        until_ms = made.to_ms
    since_bytes = past.size.since_checkpoint_bytes + sum(len(made.data) for made in segments)
    if not wants_checkpoint(since_bytes, len(compacted.data)):
        return Folded(compacted, segments, None)
    return Folded(compacted, segments, NewCheckpoint(compacted.data, until_ms))


def _segment(rows: Sequence[UpdateRow], until_ms: int) -> NewSegment:
    """Not before ``until_ms``: the clocks of nodes differ, but one segment follows the other."""
    authors = dict.fromkeys(author for row in rows for author in row.authors)
    times = [max(row.at_ms, until_ms) for row in rows]
    return NewSegment(segment([row.data for row in rows]), min(times), max(times), tuple(authors), len(rows))
