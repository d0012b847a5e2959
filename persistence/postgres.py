"""The shared store: PostgreSQL, for any number of servers. The only file that imports asyncpg.

Every call is one explicit transaction and keeps nothing in the session, so it works through PgBouncer in
transaction mode (with ``pgbouncer=true`` in the address, which also does without named prepared statements).

Locks, always in this order: documents by id, then the notices; revocations have a lock of their own. An
append shares its documents' rows (KEY SHARE), so appends never wait for each other; a deletion takes the row
for itself (UPDATE) and waits for the appends under way. A compaction holds an advisory lock, and the row
against other compactions (NO KEY UPDATE).

A connection that was lost, stalled or cancelled in a call is never used again: whether its transaction was
committed is not known then, and the caller may repeat the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]

from persistence import postgreshistory
from persistence.base import (
    Append,
    Appended,
    DocumentDump,
    DocumentInfo,
    NewCheckpoint,
    NewSegment,
    Notice,
    NoticeKind,
    Snapshot,
    StoredDocument,
    UpdateRow,
)
from persistence.errors import (
    DocumentDeletedError,
    DumpTooLargeError,
    SchemaError,
    StoreError,
    StoreUnavailableError,
)
from persistence.memory import wall_clock_ms
from persistence.migrations import migrations
from persistence.names import after_prefix, with_nul, without_nul
from persistence.postgreshistory import FIND, PostgresHistory, authors_of, authors_text, in_steps
from persistence.postgresrevocations import PostgresRevocations

T = TypeVar("T")

# The keys of the advisory locks: a random high half, so that they meet nobody else's.
MIGRATION_LOCK = 0x5C4E_71D2_0000_0001
NOTICE_LOCK = 0x5C4E_71D2_0000_0002

# Set for the transaction only. "on" or stronger: an operator's "remote_apply" is kept.
BEGIN_WRITE = """
begin isolation level read committed;
set local statement_timeout = {timeout_ms};
set local idle_in_transaction_session_timeout = {timeout_ms};
select set_config('synchronous_commit', 'on', true)
where current_setting('synchronous_commit') in ('off', 'local')
"""
BEGIN_READ = """
begin isolation level repeatable read read only;
set local statement_timeout = {timeout_ms};
set local idle_in_transaction_session_timeout = {timeout_ms}
"""
# Without a time limit of the server's: it would end the wait for a synchronous replica and report success.
COMMIT = "set local statement_timeout = 0; commit"

LOCK = postgreshistory.LOCK
FIND_ALL = "select id, name, deleted_at_ms from doc where name = any($1::text[]) order by id for key share"
FIND_TO_DELETE = "select id from doc where name = $1 and deleted_at_ms is null for update"
CREATE_ALL = """
insert into doc (name, created_at_ms, changed_at_ms)
select name, at_ms, at_ms from unnest($1::text[], $2::bigint[]) as new (name, at_ms) order by name
on conflict (name) do nothing
returning id, name
"""
INSERT = """
insert into doc_update (doc_id, data, authors, created_at_ms)
select * from unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[])
returning id
"""
READ_SNAPSHOT = "select data, index_data from doc_snapshot where doc_id = $1"
READ_UPDATES = "select id, data, authors, created_at_ms from doc_update where doc_id = $1 order by id"
ABSORB = """
with absorbed as (
    delete from doc_update where doc_id = $1 and id = any($2::bigint[]) returning created_at_ms
)
select count(*), coalesce(max(created_at_ms), 0) from absorbed
"""
HAS_SNAPSHOT = "select exists (select from doc_snapshot where doc_id = $1)"
WRITE_SNAPSHOT = """
insert into doc_snapshot (doc_id, data, index_data, in_history) values ($1, $2, $3, $4)
on conflict (doc_id) do update
set data = excluded.data, index_data = excluded.index_data, in_history = excluded.in_history
"""
TOUCH = "update doc set changed_at_ms = $2 where id = $1 and changed_at_ms < $2"
CREATE = """
insert into doc (name, created_at_ms, changed_at_ms) values ($1, $2, $3)
on conflict (name) do nothing returning id
"""
DELETE_UPDATES = "delete from doc_update where doc_id = $1"
DELETE_SNAPSHOT = "delete from doc_snapshot where doc_id = $1"
BURY = "update doc set deleted_at_ms = $2 where id = $1"
UNBURY = "delete from doc where name = $1 and deleted_at_ms is not null"
NOTIFY = "insert into notice (room, kind, at_ms) values ($1, $2, $3)"
FORGET_NOTICES = "delete from notice where at_ms < $1"
LAST_NOTICE = "select coalesce(max(id), 0) from notice"
READ_NOTICES = "select id, room, kind from notice where id > $1 order by id"
# octet_length() of a big value is told by its header: the content is not read.
LIST = """
select d.name,
       coalesce(octet_length(s.data), 0) + coalesce(u.bytes, 0),
       u.updates,
       d.created_at_ms,
       greatest(d.changed_at_ms, u.changed_at_ms)
from (
    select * from doc
    where name > $1 and name >= $2 and ($3::text is null or name < $3) and deleted_at_ms is null
    order by name
    limit $4
) as d
left join doc_snapshot as s on s.doc_id = d.id
cross join lateral (
    select sum(octet_length(data)) as bytes, count(*) as updates, max(created_at_ms) as changed_at_ms
    from doc_update where doc_id = d.id
) as u
order by d.name
"""
BYTES_OF_DOCUMENT = """
select (coalesce((select octet_length(data) from doc_snapshot where doc_id = $1), 0)
      + coalesce((select sum(octet_length(data)) from doc_update where doc_id = $1), 0))::bigint
"""
TIMES = """
select d.created_at_ms,
       greatest(d.changed_at_ms, (select max(created_at_ms) from doc_update where doc_id = d.id))
from doc as d where d.id = $1
"""
# Writes nothing, and fails where a write would: on a replica, a read-only server, without the right or table.
TRY_TO_WRITE = "delete from doc_update where id < 0"

# Read from the catalog's rows: to_regclass() may answer from a cache that is older than the migration lock.
FIND_SCHEMA = """
select count(*) filter (where relname = 'collab_schema') > 0, count(*) filter (where relname = 'doc') > 0
from pg_class where relname in ('collab_schema', 'doc') and pg_table_is_visible(oid)
"""
READ_VERSION = "select version from collab_schema"
CREATE_VERSION = "create table if not exists collab_schema (version integer not null)"
FORGET_VERSION = "delete from collab_schema"
WRITE_VERSION = "insert into collab_schema (version) values ($1)"

CREATE_TRIES = 10
MIGRATION_TIME_LIMIT_S = 3_600.0


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """Every bound of the PostgreSQL store."""

    connections_max: int = 8
    """Connections that this store opens at most."""
    calls_max: int = 1_024
    """How many calls may be under way or wait for a connection; the next one fails at once."""
    statement_timeout_ms: int = 10_000
    """How long one statement may take; the server ends it then."""
    connect_timeout_ms: int = 5_000
    """How long a call waits for a connection."""
    tries_max: int = 4
    """How often a transaction is made that the server undid because of others (a deadlock)."""
    notices_keep_ms: int = 3_600_000
    """How long a notice can be read."""
    pgbouncer: bool = False
    """Whether there may be a PgBouncer in transaction mode in between."""
    migrate: bool = True
    """Whether ``open`` brings the schema up to date, or refuses an old one."""


class PostgresStore(PostgresHistory, PostgresRevocations):
    """The store contract on a PostgreSQL database."""

    def __init__(
        self,
        dsn: str,
        settings: PostgresSettings | None = None,
        *,
        label: str = "postgresql",
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """``dsn`` is asyncpg's; ``label`` stands for it in errors, without a password."""
        self.settings = settings or PostgresSettings()
        self.label = label
        self.dsn = dsn
        self._now_ms = now_ms
        self._pool: Any = None
        self._is_closing = False
        self._is_read_only = False
        self._schema_version = 0
        self._migrated: tuple[int, int] | None = None
        self._calls_under_way = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        timeout_ms = self.settings.statement_timeout_ms
        self._begin_write = BEGIN_WRITE.format(timeout_ms=timeout_ms)
        self._begin_read = BEGIN_READ.format(timeout_ms=timeout_ms)

    @property
    def schema_version(self) -> int:
        """See the contract."""
        return self._schema_version

    @property
    def migrated(self) -> tuple[int, int] | None:
        """See the contract."""
        return self._migrated

    async def open(self, *, migrate: bool = True, read_only: bool = False) -> None:
        """Connect, and bring the schema up to date (unless the settings say not to, too)."""
        if self._pool is not None:
            return
        settings = self.settings
        with self._explained():
            pool = asyncpg.create_pool(
                self.dsn,
                min_size=0,
                max_size=settings.connections_max,
                timeout=settings.connect_timeout_ms / 1000,
                # The server itself ends what takes too long; this is for one that never answers.
                command_timeout=settings.statement_timeout_ms / 1000 + 1,
                statement_cache_size=0 if settings.pgbouncer else 100,
                connection_class=_Connection,
            )
            self._pool = await pool
        try:
            if migrate and settings.migrate and not read_only:
                before = await self._write(self._migrate)
            else:
                before = await self._read(self._check_version)
        except BaseException:
            self._pool.terminate()
            self._pool = None
            raise
        self._is_read_only = read_only
        self._schema_version = len(migrations("postgres"))
        if before != self._schema_version:
            self._migrated = (before, self._schema_version)

    async def close(self) -> None:
        """See the contract."""
        self._is_closing = True
        # Bounded: every call under way has its time limits.
        await self._is_idle.wait()
        if self._pool is not None:
            self._pool.terminate() if self._pool.is_closing() else await self._close_pool()

    async def _close_pool(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), self.settings.connect_timeout_ms / 1000)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()

    async def ping(self) -> None:
        """Make a write that touches nothing; a read where nothing may be written."""
        if self._is_read_only:
            await self._read(lambda connection: connection.fetchval(LAST_NOTICE))
        else:
            await self._write(lambda connection: connection.execute(TRY_TO_WRITE))

    async def load(self, room: str) -> StoredDocument | None:
        """See the contract."""
        name = without_nul(room)

        async def read(connection: Any) -> StoredDocument | None:
            doc_id = await _find(connection, name, room)
            return None if doc_id is None else await _load(connection, doc_id, room)

        return await self._read(read)

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        """See the contract. One transaction and one insert for the whole group."""
        if not group:
            self._check_open()
            return []
        rows = _Rows.of(group, self._now_ms())
        return await self._write(lambda connection: _append(connection, rows))

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
        name = without_nul(room)
        data, index = bytes(snapshot.data), bytes(snapshot.index)
        row_ids = sorted(set(absorbed))

        async def write(connection: Any) -> None:
            doc_id = await postgreshistory.lock_to_compact(connection, name)
            if doc_id is None:
                raise _OvertakenError
            if row_ids:
                count, changed_at_ms = await connection.fetchrow(ABSORB, doc_id, row_ids)
                if count != len(row_ids):
                    raise _OvertakenError
                await connection.execute(TOUCH, doc_id, changed_at_ms)
            elif await connection.fetchval(HAS_SNAPSHOT, doc_id):
                # Nothing absorbed: no row tells whether another compaction came in between.
                raise _OvertakenError
            await postgreshistory.add(connection, doc_id, segments, checkpoint)
            in_history = bool(segments) or checkpoint is not None
            await connection.execute(WRITE_SNAPSHOT, doc_id, data, index, in_history)

        try:
            await self._write(write)
        except _OvertakenError:
            return False
        return True

    async def delete(self, room: str) -> bool:
        """See the contract."""
        name = without_nul(room)

        async def write(connection: Any) -> bool:
            doc_id = await connection.fetchval(FIND_TO_DELETE, name)
            if doc_id is None:
                return False
            await connection.execute(DELETE_UPDATES, doc_id)
            await connection.execute(DELETE_SNAPSHOT, doc_id)
            await postgreshistory.forget(connection, doc_id)
            await connection.execute(BURY, doc_id, self._now_ms())
            await self._leave_notice(connection, name, NoticeKind.DELETED)
            return True

        return await self._write(write)

    async def restore_name(self, room: str) -> None:
        """See the contract."""
        name = without_nul(room)
        await self._write(lambda connection: connection.execute(UNBURY, name))

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        """See the contract."""
        first = without_nul(prefix)
        bounds = (without_nul(after), first, after_prefix(first), max(0, limit))

        async def read(connection: Any) -> list[DocumentInfo]:
            return [DocumentInfo(with_nul(row[0]), *row[1:]) for row in await connection.fetch(LIST, *bounds)]

        return await self._read(read)

    async def dump(self, room: str, *, bytes_max: int) -> DocumentDump | None:
        """See the contract."""
        name = without_nul(room)

        async def read(connection: Any) -> DocumentDump | None:
            doc_id = await _find(connection, name, room)
            if doc_id is None:
                return None
            bytes_total = await connection.fetchval(BYTES_OF_DOCUMENT, doc_id)
            bytes_total += await connection.fetchval(postgreshistory.BYTES_OF_HISTORY, doc_id)
            if bytes_total > bytes_max:
                raise DumpTooLargeError(room, bytes_total, bytes_max)
            stored = await _load(connection, doc_id, room)
            created_at_ms, changed_at_ms = await connection.fetchrow(TIMES, doc_id)
            segments, checkpoints, versions = await postgreshistory.read_all(connection, doc_id)
            return DocumentDump(room, stored, created_at_ms, changed_at_ms, segments, checkpoints, versions)

        return await self._read(read)

    async def restore_dump(self, dump: DocumentDump, *, revive: bool = False) -> bool:
        """See the contract."""
        name = without_nul(dump.room)

        async def write(connection: Any) -> bool:
            if revive:
                await connection.execute(UNBURY, name)
            doc_id = await connection.fetchval(CREATE, name, dump.created_at_ms, dump.changed_at_ms)
            if doc_id is None:
                return False
            snapshot = dump.stored.snapshot
            if snapshot is not None:
                # Taken as not on the line, which is always safe.
                data, index = bytes(snapshot.data), bytes(snapshot.index)
                await connection.execute(WRITE_SNAPSHOT, doc_id, data, index, False)
            await _restore_rows(connection, doc_id, dump.stored.updates)
            await postgreshistory.write_all(connection, doc_id, dump.line(), dump.versions)
            await self._leave_notice(connection, name, NoticeKind.CHANGED)
            return True

        return await self._write(write)

    async def notify(self, room: str, kind: NoticeKind) -> None:
        """See the contract; notices that are too old are dropped on the way."""
        name = without_nul(room)
        await self._write(lambda connection: self._leave_notice(connection, name, kind))

    async def notices(self, after: int | None) -> tuple[int, Sequence[Notice]]:
        """See the contract."""

        async def read(connection: Any) -> tuple[int, list[Notice]]:
            if after is None:
                return await connection.fetchval(LAST_NOTICE), []
            rows = await connection.fetch(READ_NOTICES, after)
            found = [Notice(notice_id, with_nul(name), NoticeKind(kind)) for notice_id, name, kind in rows]
            return (found[-1].id if found else after), found

        return await self._read(read)

    async def _leave_notice(self, connection: Any, name: str, kind: NoticeKind) -> None:
        # One at a time until the commit: a lower id that is committed later would be missed by
        # whoever has read on to a higher one.
        await connection.execute(LOCK, NOTICE_LOCK)
        now_ms = self._now_ms()
        await connection.execute(FORGET_NOTICES, now_ms - self.settings.notices_keep_ms)
        await connection.execute(NOTIFY, name, kind.value, now_ms)

    async def _migrate(self, connection: Any) -> int:
        """Bring the schema up to date; the version before."""
        steps = migrations("postgres")
        version = await self._version(connection, len(steps))
        if version == len(steps):
            return version
        await connection.execute("set local statement_timeout = 0")
        await connection.execute(LOCK, MIGRATION_LOCK, timeout=MIGRATION_TIME_LIMIT_S)
        # Again, now under the lock: another server may just have done it.
        version = await self._version(connection, len(steps))
        for script in steps[version:]:
            await connection.execute(script, timeout=MIGRATION_TIME_LIMIT_S)
        if version != len(steps):
            await connection.execute(CREATE_VERSION)
            await connection.execute(FORGET_VERSION)
            await connection.execute(WRITE_VERSION, len(steps))
        return version

    async def _check_version(self, connection: Any) -> int:
        known = len(migrations("postgres"))
        version = await self._version(connection, known)
        if version != known:
            raise SchemaError(
                f"{self.label}: the schema has version {version} and must be brought to {known} first:"
                " run 'collab-server migrate'"
            )
        return version

    async def _version(self, connection: Any, known: int) -> int:
        is_ours, is_used = await connection.fetchrow(FIND_SCHEMA)
        if not is_ours:
            if is_used:
                raise SchemaError(f"{self.label}: this database's table 'doc' belongs to another program")
            return 0
        version: int = await connection.fetchval(READ_VERSION) or 0
        if version > known:
            raise SchemaError(
                f"{self.label}: its schema has version {version}, newer than this program's {known};"
                " use the newer program"
            )
        return version

    def _check_open(self) -> None:
        if self._is_closing:
            raise StoreUnavailableError(f"{self.label}: the store is closed")
        if self._pool is None:
            raise StoreUnavailableError(f"{self.label}: the store is not open")

    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        return await self._run(work, self._begin_read)

    async def _write(self, work: Callable[[Any], Awaitable[T]]) -> T:
        self._check_open()
        if self._is_read_only:
            raise StoreError(f"{self.label}: the store was opened to be read only")
        return await self._run(work, self._begin_write)

    async def _run(self, work: Callable[[Any], Awaitable[T]], begin: str) -> T:
        """Do ``work`` in a transaction; again when the server undid it because of others."""
        self._check_open()
        if self._calls_under_way >= self.settings.calls_max:
            raise StoreUnavailableError(f"{self.label}: {self.settings.calls_max} calls wait already")
        self._calls_under_way += 1
        self._is_idle.clear()
        try:
            with self._explained():
                for _ in range(self.settings.tries_max - 1):
                    try:
                        return await self._once(work, begin)
                    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                        continue
                return await self._once(work, begin)
        finally:
            self._calls_under_way -= 1
            if not self._calls_under_way:
                self._is_idle.set()

    async def _once(self, work: Callable[[Any], Awaitable[T]], begin: str) -> T:
        async with self._transaction(begin) as connection:
            return await work(connection)

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncIterator[Any]:
        connection = await self._pool.acquire(timeout=self.settings.connect_timeout_ms / 1000)
        try:
            await connection.execute(begin)
            yield connection
            await connection.execute(COMMIT)
        except BaseException as error:
            await _undo(connection, error)
            raise
        finally:
            await self._pool.release(connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what asyncpg and the network raise into the store's errors: one line, and no password."""
        try:
            yield
        except asyncpg.PostgresError as error:
            raise self._explain(error) from error
        except asyncpg.exceptions.DataError:
            raise  # the caller's: a ValueError
        except asyncpg.InterfaceError as error:
            raise StoreUnavailableError(f"{self.label}: {_one_line(error)}") from error
        except asyncpg.InternalClientError as error:
            raise StoreUnavailableError(f"{self.label}: {_one_line(error)}") from error
        except TimeoutError as error:
            raise StoreUnavailableError(f"{self.label}: no answer in time") from error
        except OSError as error:
            raise StoreUnavailableError(f"{self.label}: {_one_line(error)}") from error

    def _explain(self, error: Any) -> StoreError:
        text = f"{self.label}: {_one_line(error)}"
        match error:
            case asyncpg.QueryCanceledError():
                limit_ms = self.settings.statement_timeout_ms
                return StoreUnavailableError(f"{self.label}: a statement took longer than {limit_ms} ms")
            case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
                return SchemaError(f"{text} (not this program's schema)")
            case asyncpg.DuplicatePreparedStatementError() | asyncpg.InvalidSQLStatementNameError():
                return StoreUnavailableError(
                    f"{text}; if a PgBouncer is in between, add '?pgbouncer=true' to the address"
                )
            case asyncpg.DataError() | asyncpg.ProgramLimitExceededError():
                return StoreError(text)
            case _:
                return StoreUnavailableError(text)


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that is given back as it is: no transaction here leaves anything in the session."""

    def get_reset_query(self) -> str:
        return ""


class _OvertakenError(Exception):
    """Another compaction or a deletion came first; undo."""


async def _undo(connection: Any, error: BaseException) -> None:
    """Roll back where the server has answered, and hang up where the state of the connection is not known."""
    if isinstance(error, asyncpg.PostgresError | StoreError | _OvertakenError | ValueError | TypeError):
        try:
            if not connection.is_closed():
                await connection.execute("rollback")
            return
        except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, OSError):
            pass
    connection.terminate()


@dataclass(frozen=True, slots=True)
class _Rows:
    """A group in the columns in which it is sent, checked before anything is."""

    names: list[str]
    data: list[bytes]
    authors: list[str]
    at_ms: list[int]

    @classmethod
    def of(cls, group: Sequence[Append], now_ms: int) -> _Rows:
        return cls(
            [without_nul(entry.room) for entry in group],
            [bytes(entry.data) for entry in group],
            [authors_text(entry.authors) for entry in group],
            [entry.at_ms or now_ms for entry in group],
        )


async def _find(connection: Any, name: str, room: str) -> int | None:
    found = await connection.fetchrow(FIND, name)
    if found is None:
        return None
    if found[1] is not None:
        raise DocumentDeletedError(room)
    doc_id: int = found[0]
    return doc_id


async def _load(connection: Any, doc_id: int, room: str) -> StoredDocument:
    row = await connection.fetchrow(READ_SNAPSHOT, doc_id)
    updates = [
        UpdateRow(row_id, data, authors_of(authors), at_ms)
        for row_id, data, authors, at_ms in await connection.fetch(READ_UPDATES, doc_id)
    ]
    return StoredDocument(room, Snapshot(row[0], row[1]) if row else None, updates)


async def _restore_rows(connection: Any, doc_id: int, updates: Sequence[UpdateRow]) -> None:
    for part in in_steps([len(row.data) for row in updates]):
        rows = updates[part]
        await connection.fetch(
            INSERT,
            [doc_id] * len(rows),
            [bytes(row.data) for row in rows],
            [authors_text(row.authors) for row in rows],
            [row.at_ms for row in rows],
        )


async def _append(connection: Any, rows: _Rows) -> list[Appended]:
    doc_ids = await _find_or_create_all(connection, rows)
    live = [at for at, name in enumerate(rows.names) if doc_ids[name] is not None]
    results = [Appended(0, deleted=True)] * len(rows.names)
    if live:
        inserted = await connection.fetch(
            INSERT,
            [doc_ids[rows.names[at]] for at in live],
            [rows.data[at] for at in live],
            [rows.authors[at] for at in live],
            [rows.at_ms[at] for at in live],
        )
        # Ids are drawn in the order of the arrays, which is the order of the group.
        for at, (row_id,) in zip(live, inserted, strict=True):
            results[at] = Appended(row_id)
    return results


async def _find_or_create_all(connection: Any, rows: _Rows) -> dict[str, int | None]:
    """The ids of the group's documents, locked against deletion; None for a deleted one."""
    created_at_ms: dict[str, int] = {}
    for name, at_ms in zip(rows.names, rows.at_ms, strict=True):
        created_at_ms.setdefault(name, at_ms)
    doc_ids: dict[str, int | None] = {}
    for _ in range(CREATE_TRIES):
        missing = [name for name in created_at_ms if name not in doc_ids]
        for doc_id, name, deleted_at_ms in await connection.fetch(FIND_ALL, missing):
            doc_ids[name] = None if deleted_at_ms is not None else doc_id
        missing = [name for name in missing if name not in doc_ids]
        if missing:
            made = await connection.fetch(CREATE_ALL, missing, [created_at_ms[name] for name in missing])
            doc_ids.update((name, doc_id) for doc_id, name in made)
        if len(doc_ids) == len(created_at_ms):
            return doc_ids
        # Somebody else made the rest meanwhile: look again.
    raise StoreUnavailableError("documents appear and vanish too fast")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
