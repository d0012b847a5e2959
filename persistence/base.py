"""What a store promises. Every implementation passes ``tests/contract``.

A document is known by its room's name. It is stored as at most one *snapshot* and the *update rows*
that came after it, each of them Yjs update bytes (v1) that the store never looks into.

Order: updates are sets; the rows of one room may be read in any order that respects each appender's own.
Durability: when a call that writes returns, what it wrote survives the death of the process and of the
machine.
Atomicity: each call is one transaction and sees one moment; a call that raises has written nothing, except
that ``StoreUnavailableError`` from a call that writes may be raised after a commit whose reply was lost.
Repeating such a call is always safe: an update stored twice means the same as once, and a compaction, a trim
or a restored dump that is there already is not done again. (``add_version`` alone may leave two versions.)

History: what compaction absorbs is kept beside the document, as *segments* (the updates of a stretch of time,
un-collected) on a line with *checkpoints* (full states). The state at any place of the line is the newest
checkpoint there or before, and the segments after it. Ids of segments grow along the line, which is the order
in which compactions were committed. A *named version* carries a full state of its own and needs no line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """One appended update. ``id`` is unique in the store and says nothing about order of commit."""

    id: int
    data: bytes
    authors: Sequence[str] = ()
    at_ms: int = 0
    """When the update was received, in milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The compacted part of a document, and an opaque index that lets it be opened without a walk."""

    data: bytes
    index: bytes = b""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """Everything that the store holds of one live document, read at one moment."""

    room: str
    snapshot: Snapshot | None
    updates: Sequence[UpdateRow]

    @property
    def bytes_total(self) -> int:
        """The size of snapshot and updates together, in bytes."""
        return (len(self.snapshot.data) if self.snapshot else 0) + sum(len(row.data) for row in self.updates)


@dataclass(frozen=True, slots=True)
class Append:
    """One update of one room, to be appended with others in one group."""

    room: str
    data: bytes
    authors: Sequence[str] = field(default=())
    at_ms: int = 0
    """When the update was received, in milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of one ``Append`` of a group, in the group's order."""

    id: int
    """The new row's id; 0 when the document is deleted and nothing was written for it."""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A line of the list of documents."""

    room: str
    bytes_total: int
    """Snapshot and updates, as ``load`` reads them. What the history takes is told by ``history_size``."""
    updates_count: int
    created_at_ms: int
    changed_at_ms: int


class NoticeKind(Enum):
    """What a notice tells the servers that share a store."""

    DELETED = "deleted"
    CHANGED = "changed"
    """Somebody wrote to the document past the server that hosts it (an import): read it again."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to all servers on this store, about one room."""

    id: int
    room: str
    kind: NoticeKind


@dataclass(frozen=True, slots=True)
class NewRevocation:
    """Tokens that are void from now on: a user's, a session's, those for a room, or for what these share.

    At least one of the three is given. It concerns tokens that were issued until ``at_ms``.
    """

    at_ms: int
    until_ms: int
    """When it may be forgotten, because every such token has run out by itself. Both since the epoch."""
    user: str | None = None
    session: str | None = None
    room: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for one that names nobody, and for text that cannot be encoded."""
        named = [text for text in (self.user, self.session, self.room) if text is not None]
        if not named:
            raise ValueError("a revocation names a user, a session or a room")
        for text in named:
            text.encode()


@dataclass(frozen=True, slots=True)
class Revocation(NewRevocation):
    """A stored revocation."""

    id: int = 0


@dataclass(frozen=True, slots=True)
class NewSegment:
    """The updates of a stretch of time, spliced but not collected, to be kept as history."""

    data: bytes
    from_ms: int
    to_ms: int
    """When its first and its last update were received, in milliseconds since the epoch."""
    authors: Sequence[str] = ()
    updates_count: int = 0


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """The full state of a document at some place of its history."""

    data: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A line of the list of segments. A segment's end is an automatic version of the document."""

    id: int
    from_ms: int
    to_ms: int
    authors: Sequence[str]
    updates_count: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """What makes a state of the past: checkpoint and segments, spliced."""

    checkpoint: bytes | None
    """None where the history reaches back to the document's beginning and has no checkpoint yet."""
    segments: Sequence[bytes]
    """Those after the checkpoint, oldest first."""


@dataclass(frozen=True, slots=True)
class HistorySize:
    """What the history of one document takes. Bytes are those of the contents."""

    segments_count: int = 0
    segments_bytes: int = 0
    since_checkpoint_bytes: int = 0
    """The segments after the newest checkpoint, which are read to open the newest state of the past."""
    checkpoints_count: int = 0
    checkpoints_bytes: int = 0
    versions_count: int = 0
    versions_bytes: int = 0


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A line of the list of named versions."""

    id: int
    name: str
    at_ms: int
    author: str | None
    pinned: bool
    """Whether it outlives the retention of the history."""
    bytes_total: int


@dataclass(frozen=True, slots=True)
class DumpedSegment:
    """A segment in a dump."""

    data: bytes
    from_ms: int
    to_ms: int
    authors: Sequence[str]
    updates_count: int


@dataclass(frozen=True, slots=True)
class DumpedCheckpoint:
    """A checkpoint in a dump."""

    data: bytes
    at_ms: int
    after_segments: int
    """How many of the dump's segments lie before it: 0 for a base before the first."""


@dataclass(frozen=True, slots=True)
class DumpedVersion:
    """A named version in a dump."""

    name: str
    at_ms: int
    author: str | None
    pinned: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class DocumentDump:
    """Everything that a store holds of one live document, its history included, read at one moment.

    Segments, checkpoints and versions come oldest first.
    """

    room: str
    stored: StoredDocument
    created_at_ms: int
    changed_at_ms: int
    segments: Sequence[DumpedSegment] = ()
    checkpoints: Sequence[DumpedCheckpoint] = ()
    versions: Sequence[DumpedVersion] = ()

    def line(self) -> Iterator[DumpedSegment | DumpedCheckpoint]:
        """Segments and checkpoints in the order in which a store gives them ids, each one of its own."""
        checkpoints = deque(sorted(self.checkpoints, key=lambda checkpoint: checkpoint.after_segments))
        for count, segment in enumerate(self.segments):
            while checkpoints and checkpoints[0].after_segments <= count:
                yield checkpoints.popleft()
            yield segment
        yield from checkpoints

    @property
    def bytes_total(self) -> int:
        """The size of all contents together, in bytes."""
        history_bytes = (
            sum(len(segment.data) for segment in self.segments)
            + sum(len(checkpoint.data) for checkpoint in self.checkpoints)
            + sum(len(version.data) for version in self.versions)
        )
        return self.stored.bytes_total + history_bytes


class Store(Protocol):
    """Where documents are kept. All calls are safe to make from many tasks at once, from one event loop."""

    @property
    def schema_version(self) -> int:
        """The version of the schema that ``open`` left; 0 before, and where there is no schema."""
        ...

    @property
    def migrated(self) -> tuple[int, int] | None:
        """The schema's version before and after ``open`` brought it up to date; None where it was already."""
        ...

    async def open(self, *, migrate: bool = True, read_only: bool = False) -> None:
        """Connect, and bring the schema up to date.

        Args:
            migrate: with False, an old schema (or none) is refused instead.
            read_only: for a replica. Nothing is migrated, a call that writes raises StoreError, and no right
                to write is needed; ``ping`` then tells whether a read would work.

        Raises:
            StoreUnavailableError: it cannot be reached.
            SchemaError: it is newer than this code, another program's, or old and not to be migrated.
        """
        ...

    async def close(self) -> None:
        """Finish the calls under way, refuse further ones, and let go of every resource. Idempotent."""
        ...

    async def ping(self) -> None:
        """Prove that a write would work now, as far as that can be told cheaply.

        Raises StoreUnavailableError if it would not.
        """
        ...

    async def load(self, room: str) -> StoredDocument | None:
        """Read one document, as of one moment; None if there is none.

        Raises DocumentDeletedError on a tombstone.
        """
        ...

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        """Append a group of updates in one transaction, creating documents as needed; durable on return.

        A deleted document's rows are skipped and reported as ``deleted``; they never fail the others.
        """
        ...

    async def compact(
        self,
        room: str,
        snapshot: Snapshot,
        absorbed: Sequence[int],
        *,
        segments: Sequence[NewSegment] = (),
        checkpoint: NewCheckpoint | None = None,
    ) -> bool:
        """Replace the snapshot, delete exactly the rows in ``absorbed``, and add to the end of the history.

        The caller has read those rows, and the snapshot before this one, with ``load``, and absorbs every row
        that this load gave it. Rows appended meanwhile stay. Returns False, and changes nothing, when another
        compaction or a deletion came in between: a row of ``absorbed`` is no longer there; or ``absorbed`` is
        empty and there is a snapshot already, because then nothing would tell.

        Args:
            room: the document.
            snapshot: its state with everything absorbed, collected.
            absorbed: ids of the rows that are in it.
            segments: what was absorbed, for the history, oldest first; all of it, or nothing. Whoever gives
                none writes no history. If the snapshot before holds something that was never put into the
                history (because of that, or of an import), it becomes a checkpoint before these segments.
            checkpoint: the full state at the end of the last of ``segments``.
        """
        ...

    async def delete(self, room: str) -> bool:
        """Remove all rows of a document and all of its history; leave a tombstone and a DELETED notice.

        False if there was no such document.
        """
        ...

    async def restore_name(self, room: str) -> None:
        """Remove a tombstone, so that the room may be used again. No effect where there is none."""
        ...

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        """The live documents by name (code point order), after the name ``after``."""
        ...

    async def notify(self, room: str, kind: NoticeKind) -> None:
        """Leave a notice for every server on this store."""
        ...

    async def notices(self, after: int | None) -> tuple[int, Sequence[Notice]]:
        """The notices after the id ``after``, and the id to go on from; with None just that id.

        Whoever goes on from that id misses none. A notice is kept for an hour.
        """
        ...

    async def add_revocation(self, revocation: NewRevocation) -> int:
        """Keep a revocation; its id. What is the same twice is kept twice, which does no harm."""
        ...

    async def revocations(self, after: int = 0, *, limit: int = 1000) -> Sequence[Revocation]:
        """The revocations with an id above ``after``, in the order of their ids.

        Whoever goes on from the last id that it got misses none: no lower id is committed later.
        """
        ...

    async def drop_revocations(self, before_ms: int) -> int:
        """Forget the revocations whose ``until_ms`` is before this time; how many there were."""
        ...

    async def list_segments(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[SegmentInfo]:
        """The segments of a document, newest first, from below the id ``before``; no content is read.

        Empty where there is no such document.
        """
        ...

    async def read_history(
        self, room: str, *, segment: int | None = None, at_ms: int | None = None
    ) -> HistoryPart | None:
        """The state at the end of a segment: the newest checkpoint until there, and the segments after it.

        Args:
            room: the document.
            segment: its id.
            at_ms: instead of that, a time: the last segment (the one with the highest id) with ``to_ms`` at
                or before it. With neither, the last segment.

        Returns:
            None if that is before the history that was kept, there is no such segment, or no document.

        Raises:
            ValueError: both were given.
        """
        ...

    async def history_size(self, room: str) -> HistorySize:
        """What the history of a document takes; all zeros where there is none."""
        ...

    async def expired(self, before_ms: int, limit: int, *, after: str = "") -> Sequence[str]:
        """The documents that have something for ``trim`` with this ``before_ms``, by name, after ``after``.

        That is: a segment that ends before that time, or a version that is not pinned and older.
        """
        ...

    async def trim(
        self,
        room: str,
        *,
        before_ms: int,
        upto_segment: int | None = None,
        base: NewCheckpoint | None = None,
    ) -> bool:
        """Cut off the old end of a history.

        Puts ``base`` in the place of all segments until ``upto_segment`` (this one too) and of all
        checkpoints there; the caller made it of ``read_history(room, segment=upto_segment)``. Drops the
        versions older than ``before_ms`` that are not pinned; with ``upto_segment`` None, this alone. What a
        compaction has added to the history meanwhile stays.

        Returns False, and changes nothing, when there is no such document or segment any more.

        Raises:
            ValueError: one of ``upto_segment`` and ``base`` is missing.
        """
        ...

    async def add_version(
        self, room: str, name: str, author: str | None, at_ms: int, data: bytes, pinned: bool
    ) -> int:
        """Keep a full state of a document under a name (which need not be the only one); returns its id.

        Raises:
            DocumentDeletedError: on a tombstone.
            DocumentMissingError: there is no such document.
        """
        ...

    async def list_versions(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[VersionInfo]:
        """The named versions, newest first, from below the id ``before``; no content is read."""
        ...

    async def read_version(self, room: str, version: int) -> bytes | None:
        """The state that a named version keeps; None if there is none with this id."""
        ...

    async def set_pinned(self, room: str, version: int, pinned: bool) -> bool:
        """Pin a named version, or let it go with the others; False if there is none with this id."""
        ...

    async def rename_version(self, room: str, version: int, name: str) -> bool:
        """Give a named version another name; False if there is none with this id."""
        ...

    async def delete_version(self, room: str, version: int) -> bool:
        """Remove a named version; False if there is none with this id."""
        ...

    async def dump(self, room: str, *, bytes_max: int) -> DocumentDump | None:
        """Read a document with all its history, as of one moment; None if there is none.

        Raises:
            DocumentDeletedError: on a tombstone.
            DumpTooLargeError: all contents together have more than ``bytes_max`` bytes; told before any is
                read.
        """
        ...

    async def restore_dump(self, dump: DocumentDump, *, revive: bool = False) -> bool:
        """Write a document that is not there, with all its history, and leave a CHANGED notice.

        Everything gets new ids, in the order of the dump. Returns False, and changes nothing, when there is a
        live document of that name; or a tombstone, unless ``revive`` says to replace it.
        """
        ...
