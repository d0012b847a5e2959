"""The reference implementation: what the contract means, in plain dictionaries.

A ``MemoryDatabase`` plays the part of the file; several stores may share one. Nothing here waits, so each
call is atomic by itself. It is durable for as long as the database object lives, and no longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any

from persistence.base import (
    Append,
    Appended,
    DocumentDump,
    DocumentInfo,
    DumpedVersion,
    HistoryPart,
    HistorySize,
    NewCheckpoint,
    NewRevocation,
    NewSegment,
    Notice,
    NoticeKind,
    Revocation,
    SegmentInfo,
    Snapshot,
    StoredDocument,
    UpdateRow,
    VersionInfo,
)
from persistence.errors import (
    DocumentDeletedError,
    DocumentMissingError,
    DumpTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from persistence.memoryhistory import History

NOTICES_KEEP_MS = 3_600_000
"""How long a notice can be read, in milliseconds."""


def wall_clock_ms() -> int:
    """The time now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Row:
    data: bytes
    authors: tuple[str, ...]
    at_ms: int


@dataclass(slots=True)
class _Document:
    created_at_ms: int
    changed_at_ms: int
    deleted_at_ms: int | None = None
    snapshot: Snapshot | None = None
    rows: dict[int, _Row] = field(default_factory=dict)
    history: History = field(default_factory=History)

    def stored(self, room: str) -> StoredDocument:
        rows = [UpdateRow(row_id, row.data, row.authors, row.at_ms) for row_id, row in self.rows.items()]
        return StoredDocument(room, self.snapshot, rows)

    def dumped(self, room: str) -> DocumentDump:
        history = self.history
        return DocumentDump(
            room,
            self.stored(room),
            self.created_at_ms,
            self.changed_at_ms,
            list(history.segments.values()),
            history.dumped_checkpoints(),
            list(history.versions.values()),
        )

    def bytes_total(self) -> int:
        return (len(self.snapshot.data) if self.snapshot else 0) + sum(
            len(row.data) for row in self.rows.values()
        )


@dataclass(slots=True)
class MemoryDatabase:
    """What the stores that share it hold."""

    documents: dict[str, _Document] = field(default_factory=dict)
    notices: list[tuple[int, Notice]] = field(default_factory=list)
    revocations: list[Revocation] = field(default_factory=list)
    row_id_last: int = 0
    history_id_last: int = 0
    """The last number given to a segment, a checkpoint or a version."""
    notice_id_last: int = 0
    revocation_id_last: int = 0

    def next_row_id(self) -> int:
        """An id for an update row."""
        self.row_id_last += 1
        return self.row_id_last

    def next_history_id(self) -> int:
        """An id for something of a history."""
        self.history_id_last += 1
        return self.history_id_last


class MemoryStore:
    """The store contract without a disk."""

    def __init__(
        self, database: MemoryDatabase | None = None, *, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        self._database = MemoryDatabase() if database is None else database
        self._now_ms = now_ms
        self._is_open = False
        self._is_read_only = False

    @property
    def schema_version(self) -> int:
        """There is no schema."""
        return 0

    @property
    def migrated(self) -> tuple[int, int] | None:
        """There is no schema."""
        return None

    async def open(self, *, migrate: bool = True, read_only: bool = False) -> None:
        """Allow calls; nothing is ever migrated."""
        self._is_open = True
        self._is_read_only = read_only

    async def close(self) -> None:
        """Refuse further calls; the database object keeps what it holds."""
        self._is_open = False

    async def ping(self) -> None:
        """A write always works while the store is open."""
        self._opened()

    async def load(self, room: str) -> StoredDocument | None:
        """See the contract."""
        document = self._found(room)
        return document.stored(room) if document else None

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        """See the contract."""
        database = self._writable()
        for entry in group:
            entry.room.encode()  # every store refuses a lone surrogate, before anything is written
        now_ms = self._now_ms()
        return [self._append_one(database, entry, entry.at_ms or now_ms) for entry in group]

    def _append_one(self, database: MemoryDatabase, entry: Append, at_ms: int) -> Appended:
        document = database.documents.get(entry.room)
        if document is None:
            document = database.documents[entry.room] = _Document(at_ms, at_ms)
        elif document.deleted_at_ms is not None:
            return Appended(0, deleted=True)
        row_id = database.next_row_id()
        document.rows[row_id] = _Row(bytes(entry.data), tuple(entry.authors), at_ms)
        document.changed_at_ms = max(document.changed_at_ms, at_ms)
        return Appended(row_id)

    async def compact(
        self,
        room: str,
        snapshot: Snapshot,
        absorbed: Sequence[int],
        *,
        segments: Sequence[NewSegment] = (),
        checkpoint: NewCheckpoint | None = None,
    ) -> bool:
        """See the contract."""
        database = self._writable()
        document = self._live(room)
        if document is None:
            return False
        row_ids = set(absorbed)
        if not row_ids <= document.rows.keys() or (not row_ids and document.snapshot is not None):
            return False
        for row_id in row_ids:
            del document.rows[row_id]
        document.history.add(document.snapshot, segments, checkpoint, database.next_history_id)
        document.snapshot = Snapshot(bytes(snapshot.data), bytes(snapshot.index))
        return True

    async def delete(self, room: str) -> bool:
        """See the contract."""
        self._writable()
        document = self._live(room)
        if document is None:
            return False
        document.snapshot = None
        document.rows.clear()
        document.history = History()
        document.deleted_at_ms = self._now_ms()
        await self.notify(room, NoticeKind.DELETED)
        return True

    async def restore_name(self, room: str) -> None:
        """See the contract."""
        documents = self._writable().documents
        document = documents.get(room)
        if document is not None and document.deleted_at_ms is not None:
            del documents[room]

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        """See the contract."""
        documents = self._opened().documents
        rooms = sorted(
            room
            for room, document in documents.items()
            if document.deleted_at_ms is None and room > after and room.startswith(prefix)
        )
        return [
            DocumentInfo(
                room,
                documents[room].bytes_total(),
                len(documents[room].rows),
                documents[room].created_at_ms,
                documents[room].changed_at_ms,
            )
            for room in rooms[: max(0, limit)]
        ]

    async def notify(self, room: str, kind: NoticeKind) -> None:
        """See the contract; notices of more than an hour ago are dropped."""
        database = self._writable()
        now_ms = self._now_ms()
        database.notice_id_last += 1
        database.notices = [entry for entry in database.notices if entry[0] >= now_ms - NOTICES_KEEP_MS]
        database.notices.append((now_ms, Notice(database.notice_id_last, room, kind)))

    async def notices(self, after: int | None) -> tuple[int, Sequence[Notice]]:
        """See the contract."""
        database = self._opened()
        if after is None:
            return database.notice_id_last, []
        found = [notice for _, notice in database.notices if notice.id > after]
        return (found[-1].id if found else after), found

    async def add_revocation(self, revocation: NewRevocation) -> int:
        """See the contract."""
        database = self._writable()
        database.revocation_id_last += 1
        stored = Revocation(**asdict(revocation), id=database.revocation_id_last)
        database.revocations.append(stored)
        return stored.id

    async def revocations(self, after: int = 0, *, limit: int = 1000) -> Sequence[Revocation]:
        """See the contract."""
        found = [revocation for revocation in self._opened().revocations if revocation.id > after]
        return found[: max(0, limit)]

    async def drop_revocations(self, before_ms: int) -> int:
        """See the contract."""
        database = self._writable()
        kept = [revocation for revocation in database.revocations if revocation.until_ms >= before_ms]
        dropped = len(database.revocations) - len(kept)
        database.revocations = kept
        return dropped

    async def list_segments(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[SegmentInfo]:
        """See the contract."""
        return self._history(room).list_segments(before, limit)

    async def read_history(
        self, room: str, *, segment: int | None = None, at_ms: int | None = None
    ) -> HistoryPart | None:
        """See the contract."""
        if segment is not None and at_ms is not None:
            raise ValueError("a segment or a time, not both")
        return self._history(room).read(segment, at_ms)

    async def history_size(self, room: str) -> HistorySize:
        """See the contract."""
        return self._history(room).size()

    async def expired(self, before_ms: int, limit: int, *, after: str = "") -> Sequence[str]:
        """See the contract."""
        documents = self._opened().documents
        rooms = sorted(
            room
            for room, document in documents.items()
            if room > after and document.history.is_expired(before_ms)
        )
        return rooms[: max(0, limit)]

    async def trim(
        self,
        room: str,
        *,
        before_ms: int,
        upto_segment: int | None = None,
        base: NewCheckpoint | None = None,
    ) -> bool:
        """See the contract."""
        if (upto_segment is None) != (base is None):
            raise ValueError("a segment and the base in its place, or neither")
        self._writable()
        document = self._live(room)
        return document is not None and document.history.trim(before_ms, upto_segment, base)

    async def add_version(
        self, room: str, name: str, author: str | None, at_ms: int, data: bytes, pinned: bool
    ) -> int:
        """See the contract."""
        database = self._writable()
        document = self._found(room)
        if document is None:
            raise DocumentMissingError(room)
        name.encode()
        (author or "").encode()
        version = database.next_history_id()
        document.history.versions[version] = DumpedVersion(name, at_ms, author, pinned, bytes(data))
        return version

    async def list_versions(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[VersionInfo]:
        """See the contract."""
        return self._history(room).list_versions(before, limit)

    async def read_version(self, room: str, version: int) -> bytes | None:
        """See the contract."""
        kept = self._history(room).versions.get(version)
        return kept.data if kept else None

    async def set_pinned(self, room: str, version: int, pinned: bool) -> bool:
        """See the contract."""
        self._writable()
        return self._change_version(room, version, pinned=pinned)

    async def rename_version(self, room: str, version: int, name: str) -> bool:
        """See the contract."""
        self._writable()
        name.encode()
        return self._change_version(room, version, name=name)

    def _change_version(self, room: str, version: int, **changes: Any) -> bool:
        versions = self._history(room).versions
        if version not in versions:
            return False
        versions[version] = replace(versions[version], **changes)
        return True

    async def delete_version(self, room: str, version: int) -> bool:
        """See the contract."""
        self._writable()
        return self._history(room).versions.pop(version, None) is not None

    async def dump(self, room: str, *, bytes_max: int) -> DocumentDump | None:
        """See the contract."""
        document = self._found(room)
        if document is None:
            return None
        dump = document.dumped(room)
        if dump.bytes_total > bytes_max:
            raise DumpTooLargeError(room, dump.bytes_total, bytes_max)
        return dump

    async def restore_dump(self, dump: DocumentDump, *, revive: bool = False) -> bool:
        """See the contract."""
        database = self._writable()
        there = database.documents.get(dump.room)
        if there is not None and (there.deleted_at_ms is None or not revive):
            return False
        document = _Document(dump.created_at_ms, dump.changed_at_ms)
        if dump.stored.snapshot is not None:
            document.snapshot = Snapshot(*map(bytes, astuple(dump.stored.snapshot)))
        for row in dump.stored.updates:
            document.rows[database.next_row_id()] = _Row(bytes(row.data), tuple(row.authors), row.at_ms)
        document.history.fill(dump, database.next_history_id)
        database.documents[dump.room] = document
        await self.notify(dump.room, NoticeKind.CHANGED)
        return True

    def _found(self, room: str) -> _Document | None:
        document = self._opened().documents.get(room)
        if document is not None and document.deleted_at_ms is not None:
            raise DocumentDeletedError(room)
        return document

    def _live(self, room: str) -> _Document | None:
        document = self._opened().documents.get(room)
        return document if document is not None and document.deleted_at_ms is None else None

    def _history(self, room: str) -> History:
        document = self._live(room)
        return document.history if document else History()

    def _writable(self) -> MemoryDatabase:
        database = self._opened()
        if self._is_read_only:
            raise StoreError("memory: the store was opened to be read only")
        return database

    def _opened(self) -> MemoryDatabase:
        if not self._is_open:
            raise StoreUnavailableError("memory: the store is not open")
        return self._database
