"""The plan of a document's history: where its segments end, when it gets a checkpoint, what retention drops.

Pure functions of rows, sizes and times. A *segment* is what was written in a stretch of time; where it ends,
the document has an automatic version. A *checkpoint* is the whole document at the end of a segment, kept so
that no version is far from one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from persistence.base import SegmentInfo, UpdateRow

DAY_MS = 86_400_000
CHECKPOINT_BYTES_MIN = 16 * 1024
"""Below this it is no trouble to splice segments, however small the document is."""


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """How much goes into one segment: whichever bound is met first ends it."""

    updates_max: int = 10
    """Committed groups, which are rows."""
    span_max_ms: int = 300_000
    """Time between the first of them and the last."""


def plan_segments(rows: Sequence[UpdateRow], rule: SegmentRule) -> list[list[UpdateRow]]:
    """The rows in groups, by the time at which they were received; each group becomes a segment.

    Every row is in exactly one group, no group is empty.
    """
    groups: list[list[UpdateRow]] = []
    for row in sorted(rows, key=lambda row: (row.at_ms, row.id)):
        group = groups[-1] if groups else None
        if group is None or len(group) >= rule.updates_max or row.at_ms - group[0].at_ms >= rule.span_max_ms:
            groups.append([row])
        else:
            group.append(row)
    return groups


def wants_checkpoint(since_checkpoint_bytes: int, state_bytes: int) -> bool:
    """Whether the segments since the last checkpoint outweigh the document itself.

    So a version is opened by reading no more than a few times the document, and all checkpoints together are
    no larger than all segments.
    """
    return since_checkpoint_bytes > max(state_bytes, CHECKPOINT_BYTES_MIN)


def retention_starts_ms(now_ms: int, retention_days: int) -> int:
    """What ended before this moment is dropped; 0 days keep nothing."""
    return now_ms - retention_days * DAY_MS


def last_expired(newest_first: Sequence[SegmentInfo], before_ms: int) -> SegmentInfo | None:
    """The newest of these segments that ended before ``before_ms``: it and all before it are dropped."""
    return next((segment for segment in newest_first if segment.to_ms < before_ms), None)
