"""The stores that the contract suite runs on.

A *backend* is one empty database. ``backend.store()`` makes another store on it, not yet opened: two of them
are two servers that share it, and one after the other is a restart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from persistence.base import Store
from persistence.memory import MemoryDatabase, MemoryStore
from persistence.postgres import PostgresSettings, PostgresStore
from persistence.sqlite import SqliteStore
from tests.support.faulty_store import FaultyStore
from tests.support.pgbouncer import shared_pgbouncer
from tests.support.postgres import shared_server


@dataclass
class Clock:
    """The time that stores see, in milliseconds since the epoch; tests turn it."""

    now_ms: int = 1_750_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Backend:
    """One empty database of some kind."""

    make: Callable[[Clock], Store]
    url: str | None = None
    """How another process reaches the same database; None where none can."""
    clock: Clock = field(default_factory=Clock)

    def store(self) -> Store:
        """One more store on this database, not yet opened."""
        return self.make(self.clock)


@pytest.fixture(params=["memory", "sqlite", "faulty", "postgres", "pgbouncer"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    match request.param:
        case "memory":
            database = MemoryDatabase()
            yield Backend(lambda clock: MemoryStore(database, now_ms=clock))
        case "faulty":
            behind = MemoryDatabase()
            yield Backend(lambda clock: FaultyStore(MemoryStore(behind, now_ms=clock)))
        case "sqlite":
            path = tmp_path / "store.sqlite3"
            yield Backend(lambda clock: SqliteStore(path, now_ms=clock), f"sqlite:///{path}")
        case "postgres":
            server = shared_server()
            name = await server.create_database()
            dsn = server.database_dsn(name)
            yield Backend(lambda clock: PostgresStore(dsn, now_ms=clock), dsn)
            await server.drop_database(name)
        case "pgbouncer":
            server = shared_server()
            place = shared_pgbouncer(server.dsn)
            name = await server.create_database()
            pooled = f"postgresql://postgres@{place}/{name}?sslmode=disable"
            settings = PostgresSettings(pgbouncer=True)
            yield Backend(
                lambda clock: PostgresStore(pooled, settings, now_ms=clock), f"{pooled}&pgbouncer=true"
            )
            await server.drop_database(name)
        case _:
            raise AssertionError(request.param)


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Store]:
    store = backend.store()
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@pytest.fixture
async def other(backend: Backend, store: Store) -> AsyncIterator[Store]:
    """A second server on the same database."""
    other = backend.store()
    try:
        await other.open()
        yield other
    finally:
        await other.close()
