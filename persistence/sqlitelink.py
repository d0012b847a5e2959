"""One connection to a SQLite file: opened with care, migrated, and every error told in one line.

Used on one thread only. Knows files, pragmas, migrations and error codes; knows nothing of documents.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from persistence.errors import SchemaError, StoreError, StoreUnavailableError
from persistence.migrations import migrations

APPLICATION_ID = 0x436F6C62
"""Written into the file's header ("Colb"), so that another program's database is told apart."""

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """Every bound of the SQLite store."""

    busy_timeout_ms: int = 5_000
    """How long a call waits for another process's lock before it fails."""
    calls_max: int = 1_024
    """How many calls may wait for one thread; the next one fails at once."""
    readers: int = 2
    """Threads that read, each with its own connection: a small load need not wait behind a big one."""
    notices_keep_ms: int = 3_600_000
    """How long a notice can be read."""
    free_bytes_min: int = 16 * MIB
    """``ping`` fails when the disk has less room than this."""
    wal_bytes_keep: int = 64 * MIB
    """A write-ahead log that grew past this is cut back to it at the next checkpoint."""
    page_count_max: int = 0
    """Upper bound of the file's size in pages (usually of 4 KiB); 0 leaves it to the disk."""


class Access(Enum):
    """What a connection is for."""

    MIGRATE = "migrate"
    """Writes; makes the file, and brings its schema up to date."""
    WRITE = "write"
    """Writes into a file whose schema is up to date."""
    READ = "read"
    """Reads, beside one that writes."""
    READ_ONLY = "read only"
    """Reads, and needs no right to write."""

    @property
    def writes(self) -> bool:
        """Whether anything may be written."""
        return self in (Access.MIGRATE, Access.WRITE)


class SqliteLink:
    """A connection that is made when needed, and made again when the file under it was replaced."""

    def __init__(self, path: Path, settings: SqliteSettings, access: Access) -> None:
        self._path = path
        self._settings = settings
        self._access = access
        self.schema_version = 0
        """The version of the schema that was last connected to."""
        self.migrated: tuple[int, int] | None = None
        """The versions before and after the migration that this connection made."""
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._was_there = False

    def connect(self) -> sqlite3.Connection:
        """The connection, checked to lead to the file that the path names now.

        SQLite would go on writing into a file that somebody removed or replaced, and everything
        acknowledged from then on would be lost with it.

        Raises:
            StoreUnavailableError: the file cannot be opened, or is gone.
            SchemaError: the file is no database, not ours, or newer than this code.
        """
        if self._connection is not None:
            if self._identify() == self._identity:
                return self._connection
            self.close()
        with self.explained():
            connection = self._open()
        self._connection = connection
        self._identity = self._identify()
        self._was_there = True
        return connection

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one moment."""
        with self._transaction("begin") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is durable when the block is left, and undone when it raises."""
        with self._transaction("begin immediate") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self.connect()
        with self.explained():
            connection.execute(begin)
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                # After some errors (a full disk) SQLite has rolled back already.
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn SQLite's errors into the store's, with the path and the reason in one line."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def ping(self) -> None:
        """Take the write lock, and look at the room on the disk; change nothing."""
        connection = self.connect()
        if not self._access.writes:
            with self.explained():
                connection.execute("select id from doc limit 1")
            return
        with self.explained():
            connection.execute("begin immediate")
            connection.execute("rollback")
        try:
            if not os.access(self._path, os.W_OK) or not os.access(self._path.parent, os.W_OK):
                raise StoreUnavailableError(f"{self._path}: may not be written any more")
            disk = os.statvfs(self._path)
        except OSError as error:
            raise StoreUnavailableError(f"{self._path}: {error.strerror}") from error
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < self._settings.free_bytes_min:
            raise StoreUnavailableError(
                f"{self._path}: the disk is almost full ({free_bytes} bytes are free)"
            )

    def _identify(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        mode = "ro" if self._access is Access.READ_ONLY else "rw"
        if self._access is Access.MIGRATE and not self._was_there:  # a file that is gone is not made anew
            mode = "rwc"
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._settings.busy_timeout_ms / 1000,
            isolation_level=None,
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        settings = self._settings
        if not self._access.writes:
            connection.execute("pragma query_only = on")
        # Before anything is changed in a file that may not be ours.
        version = self._check_schema(connection)
        if self._access is not Access.MIGRATE and version != len(migrations("sqlite")):
            raise SchemaError(
                f"{self._path}: its schema has version {version} and must be brought to"
                f" {len(migrations('sqlite'))} first: run 'collab-server migrate'"
            )
        self.schema_version = version
        if not self._access.writes:
            return
        self._use_wal(connection)
        connection.execute("pragma synchronous = full")
        connection.execute(f"pragma journal_size_limit = {settings.wal_bytes_keep:d}")
        if settings.page_count_max:
            connection.execute(f"pragma max_page_count = {settings.page_count_max:d}")
        if self._access is Access.MIGRATE:
            self._migrate(connection)

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        # Switching the mode fails at once when another process does the same, past the busy timeout.
        deadline = time.monotonic() + self._settings.busy_timeout_ms / 1000
        while True:
            try:
                (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
            except sqlite3.OperationalError as error:
                if _primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.005)
                continue
            if mode != "wal":
                raise StoreUnavailableError(f"{self._path}: this file system cannot hold a write-ahead log")
            return

    def _check_schema(self, connection: sqlite3.Connection) -> int:
        # At one moment: another process may make the schema between two looks.
        begun = not connection.in_transaction
        if begun:
            connection.execute("begin")
        try:
            (version,) = connection.execute("pragma user_version").fetchone()
            (application_id,) = connection.execute("pragma application_id").fetchone()
            (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
        finally:
            if begun and connection.in_transaction:
                connection.execute("rollback")
        if application_id != APPLICATION_ID:
            if tables or version:
                raise SchemaError(f"{self._path}: this SQLite database belongs to another program")
            return 0
        known = len(migrations("sqlite"))
        if version > known:
            raise SchemaError(
                f"{self._path}: its schema has version {version}, newer than this program's {known};"
                " use the newer program"
            )
        return int(version)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        steps = migrations("sqlite")
        if self._check_schema(connection) == len(steps):
            return
        connection.execute("begin immediate")
        try:
            # Again, now under the lock: another process may just have done it.
            version = self._check_schema(connection)
            for script in steps[version:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"pragma application_id = {APPLICATION_ID:d}")
            connection.execute(f"pragma user_version = {len(steps):d}")
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        self.schema_version = len(steps)
        if version != len(steps):
            self.migrated = (version, len(steps))

    def _explain(self, error: sqlite3.Error) -> StoreError:
        path = self._path
        match _primary(error):
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                waited_ms = self._settings.busy_timeout_ms
                return StoreUnavailableError(f"{path}: locked by another process for over {waited_ms} ms")
            case sqlite3.SQLITE_FULL:
                return StoreUnavailableError(f"{path}: the disk is full")
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
                return StoreUnavailableError(f"{path}: the file or its folder is read-only")
            case sqlite3.SQLITE_CANTOPEN:
                return StoreUnavailableError(f"{path}: {self._why_not_opened()}")
            case sqlite3.SQLITE_NOTADB:
                return SchemaError(f"{path}: this file is not a SQLite database")
            case sqlite3.SQLITE_CORRUPT:
                return StoreUnavailableError(f"{path}: the database is damaged ({error})")
            case sqlite3.SQLITE_TOOBIG:
                return StoreError(f"{path}: a value is too big to be stored")
            case _:
                name = getattr(error, "sqlite_errorname", type(error).__name__)
                return StoreUnavailableError(f"{path}: {error} ({name})")

    def _why_not_opened(self) -> str:
        path = self._path
        try:
            if not path.parent.is_dir():
                return f"the folder {path.parent} does not exist"
            if path.is_dir():
                return "this is a folder, not a file"
            if not path.exists():
                if self._was_there:
                    return "the file is gone"
                if self._access is not Access.MIGRATE:
                    return "the file does not exist"
                return f"the folder {path.parent} may not be written"
        except OSError as error:
            return error.strerror or str(error)
        return "the file may not be opened"


def _statements(script: str) -> Iterator[str]:
    # executescript() would commit first, and a migration must be one transaction.
    lines: list[str] = []
    for line in script.splitlines():
        lines.append(line)
        statement = "\n".join(lines)
        if sqlite3.complete_statement(statement):
            yield statement
            lines.clear()


def _primary(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
