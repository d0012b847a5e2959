"""An empty PostgreSQL database for a test, and what tests do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]
import pytest

from persistence.errors import StoreError
from persistence.postgres import PostgresSettings, PostgresStore
from tests.support.postgres import PostgresServer, shared_server


@dataclass
class Database:
    """An empty database of the shared server."""

    server: PostgresServer
    name: str

    @property
    def dsn(self) -> str:
        return self.server.database_dsn(self.name)

    @property
    def port(self) -> int:
        """The server's port."""
        port = urlsplit(self.server.dsn).port
        assert port is not None
        return port

    async def execute(self, sql: str) -> list[tuple[object, ...]]:
        return await self.server.execute(sql, self.name)

    @asynccontextmanager
    async def opened(
        self, settings: PostgresSettings | None = None, *, port: int = 0
    ) -> AsyncIterator[PostgresStore]:
        dsn = self.dsn
        if port:
            dsn = urlsplit(dsn)._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
        store = PostgresStore(dsn, settings)
        try:
            await store.open()
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        """A connection of somebody else."""
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            connection.terminate()

    async def until_somebody_waits(self) -> None:
        """Until a lock is waited for."""
        async with self.session() as session:
            waiting = "select count(*) from pg_locks where not granted"
            while not await session.fetchval(waiting):
                pass


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    server = shared_server()
    name = await server.create_database()
    yield Database(server, name)
    await server.drop_database(name)


async def rows_of(store: PostgresStore, room: str) -> list[bytes]:
    document = await store.load(room)
    return [row.data for row in document.updates] if document else []


def one_line(caught: pytest.ExceptionInfo[StoreError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)
