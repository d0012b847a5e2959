from __future__ import annotations

import asyncio

import pytest

from persistence.base import Append
from persistence.errors import SchemaError, StoreError
from persistence.migrations import migrations
from persistence.postgres import PostgresSettings, PostgresStore
from tests.unit.persistence.conftest import Database

# The schema


async def test_authors_and_times_are_kept_with_each_row(database: Database) -> None:
    async with database.opened() as store:
        await store.append([Append("r", b"1", ("ann", 'b"ö\0'), 5), Append("r", b"2", (), 6)])

    found = await database.execute("select authors, created_at_ms from doc_update order by id")
    assert found == [('["ann", "b\\"\\u00f6\\u0000"]', 5), ("[]", 6)]


async def test_a_newer_schema_is_refused_with_both_versions(database: Database) -> None:
    async with database.opened():
        pass
    await database.execute("update collab_schema set version = 77")

    with pytest.raises(
        SchemaError, match=f"version 77, newer than this program's {len(migrations('postgres'))}"
    ):
        async with database.opened():
            pass


async def test_another_programs_tables_are_not_touched(database: Database) -> None:
    await database.execute("create table doc (name text)")

    with pytest.raises(SchemaError, match="belongs to another program"):
        async with database.opened():
            pass
    assert await database.execute("select count(*) from pg_class where relname = 'doc_update'") == [(0,)]


async def test_a_store_that_may_not_migrate_refuses_an_old_schema_and_takes_a_current_one(
    database: Database,
) -> None:
    unasked = PostgresSettings(migrate=False)
    with pytest.raises(SchemaError, match="version 0 and must be brought to"):
        async with database.opened(unasked):
            pass

    async with database.opened():
        pass
    async with database.opened(unasked) as store:
        await store.ping()


async def test_a_user_who_may_not_make_tables_can_use_a_current_schema(database: Database) -> None:
    async with database.opened():
        pass
    await database.execute(f"create role writer_{database.name} login")
    await database.execute(
        f"grant select, insert, update, delete on all tables in schema public to writer_{database.name}"
    )
    dsn = database.dsn.replace("postgres@", f"writer_{database.name}@", 1)
    store = PostgresStore(dsn)
    try:
        await store.open()
        await store.append([Append("r", b"1")])
        assert await store.delete("r")
    finally:
        await store.close()
        await database.execute(f"drop owned by writer_{database.name}")
        await database.execute(f"drop role writer_{database.name}")


async def test_a_migration_that_fails_leaves_nothing_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [*migrations("postgres"), "create table extra (id int); insert into nothing values (1);"]
    monkeypatch.setattr("persistence.postgres.migrations", lambda _: steps)

    with pytest.raises(StoreError):
        async with database.opened():
            pass
    tables = "select count(*) from pg_class where relname in ('doc', 'extra', 'collab_schema')"
    assert await database.execute(tables) == [(0,)]


async def test_many_servers_that_start_at_once_migrate_once(database: Database) -> None:
    stores = [PostgresStore(database.dsn) for _ in range(10)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
    finally:
        for store in stores:
            await store.close()

    assert await database.execute("select version from collab_schema") == [(len(migrations("postgres")),)]


async def test_snapshots_are_compressed_by_lz4_where_the_server_can(database: Database) -> None:
    async with database.opened():
        pass
    found = await database.execute("select attcompression::text from pg_attribute where attname = 'data'")
    assert {row[0] for row in found} <= {"l", ""}
