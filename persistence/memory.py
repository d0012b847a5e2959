"""The reference implementation: what the contract means, in plain dictionaries.

A ``MemoryDatabase`` plays the part of the file; several stores may share one. Nothing here waits, so each
call is atomic by itself. It is durable for as long as the database object lives, and no longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from persistence.base import (
    Append,
    Appended,
    DocumentInfo,
    Notice,
    NoticeKind,
    Snapshot,
    StoredDocument,
    UpdateRow,
)
from persistence.errors import DocumentDeletedError, StoreUnavailableError

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

    def bytes_total(self) -> int:
        return (len(self.snapshot.data) if self.snapshot else 0) + sum(
            len(row.data) for row in self.rows.values()
        )


@dataclass(slots=True)
class MemoryDatabase:
    """What the stores that share it hold."""

    documents: dict[str, _Document] = field(default_factory=dict)
    notices: list[tuple[int, Notice]] = field(default_factory=list)
    row_id_last: int = 0
    notice_id_last: int = 0


class MemoryStore:
    """The store contract without a disk."""

    def __init__(
        self, database: MemoryDatabase | None = None, *, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        self._database = MemoryDatabase() if database is None else database
        self._now_ms = now_ms
        self._is_open = False

    async def open(self) -> None:
        """Allow calls."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse further calls; the database object keeps what it holds."""
        self._is_open = False

    async def ping(self) -> None:
        """A write always works while the store is open."""
        self._opened()

    async def load(self, room: str) -> StoredDocument | None:
        """See the contract."""
        document = self._opened().documents.get(room)
        if document is None:
            return None
        if document.deleted_at_ms is not None:
            raise DocumentDeletedError(room)
        rows = [UpdateRow(row_id, row.data) for row_id, row in document.rows.items()]
        return StoredDocument(room, document.snapshot, rows)

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        """See the contract."""
        database = self._opened()
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
        database.row_id_last += 1
        document.rows[database.row_id_last] = _Row(bytes(entry.data), tuple(entry.authors), at_ms)
        document.changed_at_ms = max(document.changed_at_ms, at_ms)
        return Appended(database.row_id_last)

    async def compact(self, room: str, snapshot: Snapshot, absorbed: Sequence[int]) -> bool:
        """See the contract."""
        document = self._opened().documents.get(room)
        if document is None or document.deleted_at_ms is not None:
            return False
        row_ids = set(absorbed)
        if not row_ids <= document.rows.keys() or (not row_ids and document.snapshot is not None):
            return False
        for row_id in row_ids:
            del document.rows[row_id]
        document.snapshot = Snapshot(bytes(snapshot.data), bytes(snapshot.index))
        return True

    async def delete(self, room: str) -> bool:
        """See the contract."""
        document = self._opened().documents.get(room)
        if document is None or document.deleted_at_ms is not None:
            return False
        document.snapshot = None
        document.rows.clear()
        document.deleted_at_ms = self._now_ms()
        await self.notify(room, NoticeKind.DELETED)
        return True

    async def restore_name(self, room: str) -> None:
        """See the contract."""
        documents = self._opened().documents
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
        database = self._opened()
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

    def _opened(self) -> MemoryDatabase:
        if not self._is_open:
            raise StoreUnavailableError("memory: the store is not open")
        return self._database
