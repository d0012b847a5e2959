"""The history of one document in plain lists: what the contract's words about history mean.

A place on the line is a number. A segment's end is its id; a checkpoint stands at the end of a segment, or at
a number of its own. Numbers are drawn by the caller and only grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from persistence.base import (
    DocumentDump,
    DumpedCheckpoint,
    DumpedSegment,
    DumpedVersion,
    HistoryPart,
    HistorySize,
    NewCheckpoint,
    NewSegment,
    SegmentInfo,
    Snapshot,
    VersionInfo,
)

T = TypeVar("T")


@dataclass(slots=True)
class History:
    """Segments, checkpoints and named versions, each by id, in the order of their ids."""

    segments: dict[int, DumpedSegment] = field(default_factory=dict)
    checkpoints: dict[int, NewCheckpoint] = field(default_factory=dict)
    versions: dict[int, DumpedVersion] = field(default_factory=dict)
    has_snapshot: bool = False
    """Whether everything in the document's snapshot is on the line."""

    def add(
        self,
        replaced: Snapshot | None,
        segments: Sequence[NewSegment],
        checkpoint: NewCheckpoint | None,
        next_id: Callable[[], int],
    ) -> None:
        """Take in what a compaction gives, which has replaced a snapshot."""
        if segments and replaced is not None and not self.has_snapshot:
            self.checkpoints[next_id()] = NewCheckpoint(replaced.data, segments[0].from_ms)
        place = 0
        for new in segments:
            place = next_id()
            self.segments[place] = DumpedSegment(
                bytes(new.data), new.from_ms, new.to_ms, tuple(new.authors), new.updates_count
            )
        if checkpoint is not None:
            self.checkpoints[place or next_id()] = NewCheckpoint(bytes(checkpoint.data), checkpoint.at_ms)
        self.has_snapshot = bool(segments) or checkpoint is not None

    def list_segments(self, before: int | None, limit: int) -> list[SegmentInfo]:
        """See the contract."""
        return [
            SegmentInfo(at, kept.from_ms, kept.to_ms, kept.authors, kept.updates_count, len(kept.data))
            for at, kept in _newest_first(self.segments, before, limit)
        ]

    def list_versions(self, before: int | None, limit: int) -> list[VersionInfo]:
        """See the contract."""
        return [
            VersionInfo(at, kept.name, kept.at_ms, kept.author, kept.pinned, len(kept.data))
            for at, kept in _newest_first(self.versions, before, limit)
        ]

    def read(self, segment: int | None, at_ms: int | None) -> HistoryPart | None:
        """See the contract."""
        places = self.segments.keys() | self.checkpoints.keys()
        if segment is not None:
            places &= {segment}
        elif at_ms is not None:
            places = {at for at, kept in self.segments.items() if kept.to_ms <= at_ms} | {
                at for at, kept in self.checkpoints.items() if kept.at_ms <= at_ms and at not in self.segments
            }
        if not places:
            return None
        upto = max(places)
        start = max((at for at in self.checkpoints if at <= upto), default=0)
        parts = [kept.data for at, kept in self.segments.items() if start < at <= upto]
        return HistoryPart(self.checkpoints[start].data if start else None, parts)

    def size(self) -> HistorySize:
        """See the contract."""
        start = max(self.checkpoints, default=0)
        return HistorySize(
            len(self.segments),
            sum(len(kept.data) for kept in self.segments.values()),
            sum(len(kept.data) for at, kept in self.segments.items() if at > start),
            len(self.checkpoints),
            sum(len(kept.data) for kept in self.checkpoints.values()),
            len(self.versions),
            sum(len(kept.data) for kept in self.versions.values()),
        )

    def is_expired(self, before_ms: int) -> bool:
        """Whether ``trim`` would find something."""
        return any(kept.to_ms < before_ms for kept in self.segments.values()) or any(
            kept.at_ms < before_ms and not kept.pinned for kept in self.versions.values()
        )

    def trim(self, before_ms: int, upto: int | None, base: NewCheckpoint | None) -> bool:
        """See the contract."""
        if upto is not None and base is not None:
            if upto not in self.segments:
                return False
            self.segments = {at: kept for at, kept in self.segments.items() if at > upto}
            later = {at: kept for at, kept in self.checkpoints.items() if at > upto}
            self.checkpoints = {upto: NewCheckpoint(bytes(base.data), base.at_ms)} | later
        self.versions = {
            at: kept for at, kept in self.versions.items() if kept.pinned or kept.at_ms >= before_ms
        }
        return True

    def fill(self, dump: DocumentDump, next_id: Callable[[], int]) -> None:
        """Take in a dump. Its snapshot counts as not on the line, which is always safe."""
        for entry in dump.line():
            if isinstance(entry, DumpedSegment):
                self.segments[next_id()] = replace(
                    entry, data=bytes(entry.data), authors=tuple(entry.authors)
                )
            else:
                self.checkpoints[next_id()] = NewCheckpoint(bytes(entry.data), entry.at_ms)
        for version in dump.versions:
            self.versions[next_id()] = replace(version, data=bytes(version.data))

    def dumped_checkpoints(self) -> list[DumpedCheckpoint]:
        """The checkpoints, each with the number of segments before it."""
        return [
            DumpedCheckpoint(kept.data, kept.at_ms, sum(segment <= at for segment in self.segments))
            for at, kept in self.checkpoints.items()
        ]


def _newest_first(kept: dict[int, T], before: int | None, limit: int) -> list[tuple[int, T]]:
    found = [(at, entry) for at, entry in reversed(kept.items()) if before is None or at < before]
    return found[: max(0, limit)]
