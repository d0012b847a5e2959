"""The embedded store: one SQLite file that several processes may use at the same time.

Write-ahead log and ``synchronous=FULL``: what a call reports as done survives the machine. One thread writes;
threads with connections of their own read, so that a load never waits behind a commit. No SQLite call is made
on the event loop's thread.

A cancelled call: one that still waits in the queue is not made; one that has begun is finished, so it is
committed wholly or not at all, and repeating it is safe.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

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
from persistence.callthread import CallThread
from persistence.errors import DocumentDeletedError, StoreUnavailableError
from persistence.memory import wall_clock_ms
from persistence.names import after_prefix
from persistence.sqlitelink import SqliteLink, SqliteSettings

T = TypeVar("T")

FIND = "select id, deleted_at_ms from doc where name = ?"
CREATE = "insert into doc (name, created_at_ms, changed_at_ms) values (?, ?, ?)"
TOUCH = "update doc set changed_at_ms = max(changed_at_ms, ?) where id = ?"
LAST_ID = "select seq from sqlite_sequence where name = ?"
INSERT = "insert into doc_update (id, doc_id, data, authors, created_at_ms) values (?, ?, ?, ?, ?)"
READ_SNAPSHOT = "select data, index_data from doc_snapshot where doc_id = ?"
READ_UPDATES = "select id, data from doc_update where doc_id = ? order by id"
ABSORB = "delete from doc_update where id = ? and doc_id = ?"
HAS_SNAPSHOT = "select count(*) from doc_snapshot where doc_id = ?"
WRITE_SNAPSHOT = "insert or replace into doc_snapshot (doc_id, data, index_data) values (?, ?, ?)"
DELETE_UPDATES = "delete from doc_update where doc_id = ?"
DELETE_SNAPSHOT = "delete from doc_snapshot where doc_id = ?"
BURY = "update doc set deleted_at_ms = ? where id = ?"
UNBURY = "delete from doc where name = ? and deleted_at_ms is not null"
NOTIFY = "insert into notice (room, kind, at_ms) values (?, ?, ?)"
FORGET_NOTICES = "delete from notice where at_ms < ?"
READ_NOTICES = "select id, room, kind from notice where id > ? order by id"
# length() of a blob is told by the row's header: the content is not read.
LIST = """
select name,
       coalesce((select length(data) from doc_snapshot where doc_id = doc.id), 0)
           + coalesce((select sum(length(data)) from doc_update where doc_id = doc.id), 0),
       (select count(*) from doc_update where doc_id = doc.id),
       created_at_ms,
       changed_at_ms
from doc
where name > :after and name >= :prefix and (:past is null or name < :past) and deleted_at_ms is null
order by name
limit :limit
"""


class SqliteStore:
    """The store contract on a SQLite file."""

    def __init__(
        self,
        path: Path,
        settings: SqliteSettings | None = None,
        *,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.path = path
        """Where the file is, as it was given."""
        self._settings = settings or SqliteSettings()
        self._now_ms = now_ms
        self._writer: _Lane | None = None
        self._readers: list[_Lane] = []

    async def open(self) -> None:
        """Open the file, make it if it is not there, and migrate it. The folder must exist."""
        if self._writer is not None:
            return
        settings = self._settings
        writer = _Lane(self.path, settings, writes=True)
        readers = [_Lane(self.path, settings, writes=False) for _ in range(max(1, settings.readers))]
        try:
            for lane in [writer, *readers]:  # the writer first: it makes the tables
                await lane.open()
        except BaseException:
            await _close_all([writer, *readers])
            raise
        self._writer, self._readers = writer, readers

    async def close(self) -> None:
        """See the contract."""
        lanes = [*self._readers, *([self._writer] if self._writer else [])]
        # The writer last: the last connection to close folds the write-ahead log into the file.
        await _close_all(lanes)

    async def ping(self) -> None:
        """Take the write lock, and look whether the file may be written and the disk has room."""
        lane = self._write_lane()
        await lane.run(lane.link.ping)

    async def load(self, room: str) -> StoredDocument | None:
        """See the contract."""
        lane = self._read_lane()

        def read() -> StoredDocument | None:
            with lane.link.reading() as connection:
                found = connection.execute(FIND, (room,)).fetchone()
                if found is None:
                    return None
                doc_id, deleted_at_ms = found
                if deleted_at_ms is not None:
                    raise DocumentDeletedError(room)
                row = connection.execute(READ_SNAPSHOT, (doc_id,)).fetchone()
                updates = [UpdateRow(*update) for update in connection.execute(READ_UPDATES, (doc_id,))]
                return StoredDocument(room, Snapshot(*row) if row else None, updates)

        return await lane.run(read)

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        """See the contract. One transaction and one sync of the disk for the whole group."""
        lane = self._write_lane()
        if not group:
            return []
        entries = list(group)

        def write() -> list[Appended]:
            with lane.link.writing() as connection:
                return _append(connection, entries, self._now_ms())

        return await lane.run(write)

    async def compact(self, room: str, snapshot: Snapshot, absorbed: Sequence[int]) -> bool:
        """See the contract."""
        lane = self._write_lane()
        row_ids = set(absorbed)

        def write() -> bool:
            try:
                with lane.link.writing() as connection:
                    _compact(connection, room, snapshot, row_ids)
            except _OvertakenError:
                return False
            return True

        return await lane.run(write)

    async def delete(self, room: str) -> bool:
        """See the contract."""
        lane = self._write_lane()

        def write() -> bool:
            with lane.link.writing() as connection:
                doc_id = _find_live(connection, room)
                if doc_id is None:
                    return False
                connection.execute(DELETE_UPDATES, (doc_id,))
                connection.execute(DELETE_SNAPSHOT, (doc_id,))
                connection.execute(BURY, (self._now_ms(), doc_id))
                self._leave_notice(connection, room, NoticeKind.DELETED)
                return True

        return await lane.run(write)

    async def restore_name(self, room: str) -> None:
        """See the contract."""
        lane = self._write_lane()

        def write() -> None:
            with lane.link.writing() as connection:
                connection.execute(UNBURY, (room,))

        await lane.run(write)

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        """See the contract."""
        lane = self._read_lane()
        bounds = {"after": after, "prefix": prefix, "past": after_prefix(prefix), "limit": max(0, limit)}

        def read() -> list[DocumentInfo]:
            with lane.link.reading() as connection:
                return [DocumentInfo(*row) for row in connection.execute(LIST, bounds)]

        return await lane.run(read)

    async def notify(self, room: str, kind: NoticeKind) -> None:
        """See the contract; notices that are too old are dropped on the way."""
        lane = self._write_lane()

        def write() -> None:
            with lane.link.writing() as connection:
                self._leave_notice(connection, room, kind)

        await lane.run(write)

    async def notices(self, after: int | None) -> tuple[int, Sequence[Notice]]:
        """See the contract."""
        lane = self._read_lane()

        def read() -> tuple[int, list[Notice]]:
            with lane.link.reading() as connection:
                if after is None:
                    return _last_id(connection, "notice"), []
                rows = connection.execute(READ_NOTICES, (after,)).fetchall()
                found = [Notice(notice_id, room, NoticeKind(kind)) for notice_id, room, kind in rows]
                return (found[-1].id if found else after), found

        return await lane.run(read)

    def _leave_notice(self, connection: sqlite3.Connection, room: str, kind: NoticeKind) -> None:
        now_ms = self._now_ms()
        connection.execute(FORGET_NOTICES, (now_ms - self._settings.notices_keep_ms,))
        connection.execute(NOTIFY, (room, kind.value, now_ms))

    def _write_lane(self) -> _Lane:
        if self._writer is None:
            raise StoreUnavailableError(f"{self.path}: the store is not open")
        return self._writer

    def _read_lane(self) -> _Lane:
        if not self._readers:
            raise StoreUnavailableError(f"{self.path}: the store is not open")
        return min(self._readers, key=lambda lane: lane.load)


class _Lane:
    """A thread and the one connection that is used on it."""

    def __init__(self, path: Path, settings: SqliteSettings, *, writes: bool) -> None:
        self.link = SqliteLink(path, settings, writes=writes)
        self.load = 0
        self._thread = CallThread(f"{path} ({'writer' if writes else 'reader'})", settings.calls_max)

    async def open(self) -> None:
        await self._thread.run(self.link.connect)

    async def run(self, call: Callable[[], T]) -> T:
        self.load += 1
        try:
            return await self._thread.run(call)
        finally:
            self.load -= 1

    async def close(self) -> None:
        await self._thread.stop(self.link.close)


async def _close_all(lanes: Sequence[_Lane]) -> None:
    for lane in lanes:
        await lane.close()


class _OvertakenError(Exception):
    """Another compaction or a deletion came first; undo."""


def _find_live(connection: sqlite3.Connection, room: str) -> int | None:
    found = connection.execute(FIND, (room,)).fetchone()
    return None if found is None or found[1] is not None else int(found[0])


def _last_id(connection: sqlite3.Connection, table: str) -> int:
    found = connection.execute(LAST_ID, (table,)).fetchone()
    return int(found[0]) if found else 0


def _append(connection: sqlite3.Connection, group: Sequence[Append], now_ms: int) -> list[Appended]:
    doc_ids: dict[str, int | None] = {}
    changed_at_ms: dict[int, int] = {}
    # The write lock is held, so nobody else takes the ids that follow.
    row_id = _last_id(connection, "doc_update")
    rows: list[tuple[int, int, bytes, str, int]] = []
    results: list[Appended] = []
    for entry in group:
        at_ms = entry.at_ms or now_ms
        if entry.room not in doc_ids:
            doc_ids[entry.room] = _find_or_create(connection, entry.room, at_ms)
        doc_id = doc_ids[entry.room]
        if doc_id is None:
            results.append(Appended(0, deleted=True))
            continue
        row_id += 1
        authors = json.dumps(list(entry.authors)) if entry.authors else "[]"
        rows.append((row_id, doc_id, bytes(entry.data), authors, at_ms))
        changed_at_ms[doc_id] = max(changed_at_ms.get(doc_id, 0), at_ms)
        results.append(Appended(row_id))
    connection.executemany(INSERT, rows)
    connection.executemany(TOUCH, [(at_ms, doc_id) for doc_id, at_ms in changed_at_ms.items()])
    return results


def _find_or_create(connection: sqlite3.Connection, room: str, at_ms: int) -> int | None:
    found = connection.execute(FIND, (room,)).fetchone()
    if found is not None:
        return None if found[1] is not None else int(found[0])
    created = connection.execute(CREATE, (room, at_ms, at_ms)).lastrowid
    if created is None:  # pragma: no cover - an insert always has one
        raise StoreUnavailableError("the new document got no id")
    return created


def _compact(connection: sqlite3.Connection, room: str, snapshot: Snapshot, row_ids: set[int]) -> None:
    doc_id = _find_live(connection, room)
    if doc_id is None:
        raise _OvertakenError
    if row_ids:
        deleted = connection.executemany(ABSORB, [(row_id, doc_id) for row_id in row_ids]).rowcount
        if deleted != len(row_ids):
            raise _OvertakenError
    elif connection.execute(HAS_SNAPSHOT, (doc_id,)).fetchone()[0]:
        # Nothing absorbed: no row tells whether another compaction came in between.
        raise _OvertakenError
    connection.execute(WRITE_SNAPSHOT, (doc_id, bytes(snapshot.data), bytes(snapshot.index)))
