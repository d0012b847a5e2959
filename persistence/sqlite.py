"""The embedded store: one SQLite file that several processes may use at the same time.

Write-ahead log and ``synchronous=FULL``: what a call reports as done survives the machine. One thread writes;
threads with connections of their own read, so that a load never waits behind a commit. No SQLite call is made
on the event loop's thread.

A cancelled call: one that still waits in the queue is not made; one that has begun is finished, so it is
committed wholly or not at all, and repeating it is safe.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from persistence import sqlitedocuments, sqlitehistory
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
    VersionInfo,
)
from persistence.callthread import CallThread
from persistence.errors import (
    DocumentMissingError,
    DumpTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from persistence.memory import wall_clock_ms
from persistence.sqlitelink import Access, SqliteLink, SqliteSettings

T = TypeVar("T")


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
        self._schema_version = 0
        self._migrated: tuple[int, int] | None = None

    @property
    def schema_version(self) -> int:
        """See the contract."""
        return self._schema_version

    @property
    def migrated(self) -> tuple[int, int] | None:
        """See the contract."""
        return self._migrated

    async def open(self, *, migrate: bool = True, read_only: bool = False) -> None:
        """Open the file, make it if it is not there, and migrate it. The folder must exist.

        Without ``migrate``, and to read only, the file must be there.
        """
        if self._readers:
            return
        settings = self._settings
        access = Access.MIGRATE if migrate else Access.WRITE
        writer = None if read_only else _Lane(self.path, settings, access)
        access = Access.READ_ONLY if read_only else Access.READ
        readers = [_Lane(self.path, settings, access) for _ in range(max(1, settings.readers))]
        lanes = [*([writer] if writer else []), *readers]  # the writer first: it makes the tables
        try:
            for lane in lanes:
                await lane.open()
        except BaseException:
            await _close_all(lanes)
            raise
        self._schema_version, self._migrated = lanes[0].link.schema_version, lanes[0].link.migrated
        self._writer, self._readers = writer, readers

    async def close(self) -> None:
        """See the contract."""
        lanes = [*self._readers, *([self._writer] if self._writer else [])]
        # The writer last: the last connection to close folds the write-ahead log into the file.
        await _close_all(lanes)

    async def ping(self) -> None:
        """Take the write lock, and look whether the file may be written and the disk has room."""
        lane = self._writer or self._read_lane()
        await lane.run(lane.link.ping)

    async def load(self, room: str) -> StoredDocument | None:
        """See the contract."""

        def read(connection: sqlite3.Connection) -> StoredDocument | None:
            doc_id = sqlitedocuments.find(connection, room)
            return None if doc_id is None else sqlitedocuments.load(connection, doc_id, room)

        return await self._read(read)

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        """See the contract. One transaction and one sync of the disk for the whole group."""
        if not group:
            self._write_lane()
            return []
        entries = list(group)
        return await self._write(
            lambda connection: sqlitedocuments.append(connection, entries, self._now_ms())
        )

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
        row_ids = set(absorbed)

        def write(connection: sqlite3.Connection) -> None:
            doc_id = sqlitedocuments.absorb(connection, room, row_ids)
            sqlitehistory.add(connection, doc_id, segments, checkpoint)
            in_history = bool(segments) or checkpoint is not None
            sqlitedocuments.write_snapshot(connection, doc_id, snapshot, in_history=in_history)

        try:
            await self._write(write)
        except sqlitedocuments.OvertakenError:
            return False
        return True

    async def delete(self, room: str) -> bool:
        """See the contract."""

        def write(connection: sqlite3.Connection) -> bool:
            doc_id = sqlitedocuments.find_live(connection, room)
            if doc_id is None:
                return False
            sqlitehistory.forget(connection, doc_id)
            sqlitedocuments.delete(connection, doc_id, self._now_ms())
            self._leave_notice(connection, room, NoticeKind.DELETED)
            return True

        return await self._write(write)

    async def restore_name(self, room: str) -> None:
        """See the contract."""
        await self._write(lambda connection: sqlitedocuments.unbury(connection, room))

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        """See the contract."""
        return await self._read(lambda connection: sqlitedocuments.list_all(connection, after, prefix, limit))

    async def notify(self, room: str, kind: NoticeKind) -> None:
        """See the contract; notices that are too old are dropped on the way."""
        await self._write(lambda connection: self._leave_notice(connection, room, kind))

    async def notices(self, after: int | None) -> tuple[int, Sequence[Notice]]:
        """See the contract."""
        return await self._read(lambda connection: sqlitedocuments.notices(connection, after))

    async def add_revocation(self, revocation: NewRevocation) -> int:
        """See the contract."""
        return await self._write(lambda connection: sqlitedocuments.add_revocation(connection, revocation))

    async def revocations(self, after: int = 0, *, limit: int = 1000) -> Sequence[Revocation]:
        """See the contract."""
        return await self._read(lambda connection: sqlitedocuments.revocations(connection, after, limit))

    async def drop_revocations(self, before_ms: int) -> int:
        """See the contract."""
        return await self._write(
            lambda connection: connection.execute(sqlitedocuments.DROP_REVOCATIONS, (before_ms,)).rowcount
        )

    async def list_segments(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[SegmentInfo]:
        """See the contract."""
        return await self._read_live(
            room,
            lambda connection, doc_id: sqlitehistory.list_segments(connection, doc_id, before, limit),
            [],
        )

    async def read_history(
        self, room: str, *, segment: int | None = None, at_ms: int | None = None
    ) -> HistoryPart | None:
        """See the contract."""
        if segment is not None and at_ms is not None:
            raise ValueError("a segment or a time, not both")
        return await self._read_live(
            room, lambda connection, doc_id: sqlitehistory.read(connection, doc_id, segment, at_ms), None
        )

    async def history_size(self, room: str) -> HistorySize:
        """See the contract."""
        return await self._read_live(room, sqlitehistory.size, HistorySize())

    async def expired(self, before_ms: int, limit: int, *, after: str = "") -> Sequence[str]:
        """See the contract."""
        return await self._read(lambda connection: sqlitehistory.expired(connection, before_ms, limit, after))

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

        def write(connection: sqlite3.Connection, doc_id: int) -> bool:
            return sqlitehistory.trim(connection, doc_id, before_ms, upto_segment, base)

        return await self._write_live(room, write)

    async def add_version(
        self, room: str, name: str, author: str | None, at_ms: int, data: bytes, pinned: bool
    ) -> int:
        """See the contract."""

        def write(connection: sqlite3.Connection) -> int:
            doc_id = sqlitedocuments.find(connection, room)
            if doc_id is None:
                raise DocumentMissingError(room)
            version = DumpedVersion(name, at_ms, author, pinned, data)
            return sqlitehistory.add_version(connection, doc_id, version)

        return await self._write(write)

    async def list_versions(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[VersionInfo]:
        """See the contract."""
        return await self._read_live(
            room,
            lambda connection, doc_id: sqlitehistory.list_versions(connection, doc_id, before, limit),
            [],
        )

    async def read_version(self, room: str, version: int) -> bytes | None:
        """See the contract."""
        return await self._read_live(
            room, lambda connection, doc_id: sqlitehistory.read_version(connection, doc_id, version), None
        )

    async def set_pinned(self, room: str, version: int, pinned: bool) -> bool:
        """See the contract."""
        return await self._change_version(sqlitehistory.PIN_VERSION, bool(pinned), room=room, version=version)

    async def rename_version(self, room: str, version: int, name: str) -> bool:
        """See the contract."""
        return await self._change_version(sqlitehistory.RENAME_VERSION, name, room=room, version=version)

    async def delete_version(self, room: str, version: int) -> bool:
        """See the contract."""
        return await self._change_version(sqlitehistory.DELETE_VERSION, room=room, version=version)

    async def _change_version(self, statement: str, *values: object, room: str, version: int) -> bool:
        return await self._write_live(
            room,
            lambda connection, doc_id: connection.execute(statement, (*values, doc_id, version)).rowcount > 0,
        )

    async def dump(self, room: str, *, bytes_max: int) -> DocumentDump | None:
        """See the contract."""

        def read(connection: sqlite3.Connection) -> DocumentDump | None:
            doc_id = sqlitedocuments.find(connection, room)
            if doc_id is None:
                return None
            bytes_total = sqlitedocuments.bytes_with_history(connection, doc_id)
            if bytes_total > bytes_max:
                raise DumpTooLargeError(room, bytes_total, bytes_max)
            return sqlitehistory.dump(connection, doc_id, sqlitedocuments.load(connection, doc_id, room))

        return await self._read(read)

    async def restore_dump(self, dump: DocumentDump, *, revive: bool = False) -> bool:
        """See the contract."""

        def write(connection: sqlite3.Connection) -> bool:
            if revive:
                sqlitedocuments.unbury(connection, dump.room)
            doc_id = sqlitedocuments.restore(connection, dump)
            if doc_id is None:
                return False
            sqlitehistory.fill(connection, doc_id, dump)
            self._leave_notice(connection, dump.room, NoticeKind.CHANGED)
            return True

        return await self._write(write)

    def _leave_notice(self, connection: sqlite3.Connection, room: str, kind: NoticeKind) -> None:
        keep_ms = self._settings.notices_keep_ms
        sqlitedocuments.leave_notice(connection, room, kind, self._now_ms(), keep_ms)

    async def _read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        lane = self._read_lane()

        def work() -> T:
            with lane.link.reading() as connection:
                return call(connection)

        return await lane.run(work)

    async def _write(self, call: Callable[[sqlite3.Connection], T]) -> T:
        lane = self._write_lane()

        def work() -> T:
            with lane.link.writing() as connection:
                return call(connection)

        return await lane.run(work)

    async def _read_live(self, room: str, call: Callable[[sqlite3.Connection, int], T], missing: T) -> T:
        def read(connection: sqlite3.Connection) -> T:
            doc_id = sqlitedocuments.find_live(connection, room)
            return missing if doc_id is None else call(connection, doc_id)

        return await self._read(read)

    async def _write_live(self, room: str, call: Callable[[sqlite3.Connection, int], bool]) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            doc_id = sqlitedocuments.find_live(connection, room)
            return doc_id is not None and call(connection, doc_id)

        return await self._write(write)

    def _write_lane(self) -> _Lane:
        if self._writer is not None:
            return self._writer
        if self._readers:
            raise StoreError(f"{self.path}: the store was opened to be read only")
        raise StoreUnavailableError(f"{self.path}: the store is not open")

    def _read_lane(self) -> _Lane:
        if not self._readers:
            raise StoreUnavailableError(f"{self.path}: the store is not open")
        return min(self._readers, key=lambda lane: lane.load)


class _Lane:
    """A thread and the one connection that is used on it."""

    def __init__(self, path: Path, settings: SqliteSettings, access: Access) -> None:
        self.link = SqliteLink(path, settings, access)
        self.load = 0
        self._thread = CallThread(f"{path} ({'writer' if access.writes else 'reader'})", settings.calls_max)

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
