from __future__ import annotations

import asyncio

import pytest

from persistence import postgreshistory
from persistence.base import Append, HistoryPart, NewSegment, Snapshot
from persistence.errors import DocumentDeletedError, SchemaError, StoreError
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


# Older schemas


async def write_version_1(database: Database) -> None:
    """A database as the first program left it: documents with a snapshot and rows, a tombstone, a notice."""
    async with database.session() as session:
        await session.execute(migrations("postgres")[0])
        await session.execute("""
            create table collab_schema (version integer not null);
            insert into collab_schema values (1);
            insert into doc (name, created_at_ms, changed_at_ms, deleted_at_ms)
            values ('r', 5, 8, null), ('gone', 1, 1, 9), ('rows', 6, 6, null);
            insert into doc_snapshot (doc_id, data, index_data)
            select id, '1,2', '\\x00ff' from doc where name = 'r';
            insert into doc_update (doc_id, data, authors, created_at_ms)
            select id, '3', '["ann"]', 8 from doc where name = 'r';
            insert into doc_update (doc_id, data, authors, created_at_ms)
            select id, 'x', '[]', 6 from doc where name = 'rows';
            insert into notice (room, kind, at_ms) values ('gone', 'deleted', 1);
        """)


async def test_a_database_of_the_first_version_keeps_its_documents_and_gets_a_history(
    database: Database,
) -> None:
    await write_version_1(database)
    async with database.opened() as store:
        assert store.migrated == (1, len(migrations("postgres")))
        assert store.schema_version == len(migrations("postgres"))

        document, rows = await store.load("r"), await store.load("rows")
        assert document is not None
        assert rows is not None
        assert document.snapshot == Snapshot(b"1,2", b"\0\xff")
        assert [(row.data, row.authors, row.at_ms) for row in document.updates] == [(b"3", ("ann",), 8)]
        assert [(info.room, info.bytes_total) for info in await store.list_documents()] == [
            ("r", 4),
            ("rows", 1),
        ]
        with pytest.raises(DocumentDeletedError):
            await store.load("gone")
        assert await store.read_history("r") is None

        for stored, segment in (
            (document, NewSegment(b"3", 8, 8, ["ann"], 1)),
            (rows, NewSegment(b"x", 6, 6)),
        ):
            ids = [row.id for row in stored.updates]
            assert await store.compact(stored.room, Snapshot(b"all"), ids, segments=[segment])
        assert await store.read_history("r") == HistoryPart(b"1,2", [b"3"])
        assert await store.read_history("rows") == HistoryPart(None, [b"x"])


async def test_servers_that_find_the_first_version_at_once_migrate_once(database: Database) -> None:
    await write_version_1(database)
    stores = [PostgresStore(database.dsn) for _ in range(8)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        moved = [store.migrated for store in stores if store.migrated]
        assert moved == [(1, len(migrations("postgres")))]
        assert {store.schema_version for store in stores} == {len(migrations("postgres"))}
    finally:
        for store in stores:
            await store.close()

    assert await database.execute("select version from collab_schema") == [(len(migrations("postgres")),)]


@pytest.mark.parametrize("read_only", [False, True])
async def test_an_old_schema_is_refused_where_it_must_not_be_changed(
    database: Database, read_only: bool
) -> None:
    await write_version_1(database)
    store = PostgresStore(database.dsn)
    with pytest.raises(SchemaError, match=r"version 1 and must be brought to .* run 'collab-server migrate'"):
        await store.open(migrate=False, read_only=read_only)
    await store.close()

    assert await database.execute("select version from collab_schema") == [(1,)]


async def test_a_replica_is_read_where_nothing_may_be_written(database: Database) -> None:
    async with database.opened() as store:
        (row,) = await store.append([Append("r", b"1")])
        await store.compact("r", Snapshot(b"1"), [row.id], segments=[NewSegment(b"1", 1, 1)])
        await store.add_version("r", "v", None, 1, b"1", True)
    role = f"reader_{database.name}"
    await database.execute(f"create role {role} login")
    await database.execute(f"grant select on all tables in schema public to {role}")
    await database.execute(f"alter role {role} set default_transaction_read_only = on")
    store = PostgresStore(database.dsn.replace("postgres@", f"{role}@", 1))
    try:
        await store.open(read_only=True)
        await store.ping()
        assert await store.read_history("r") == HistoryPart(None, [b"1"])
        assert await store.dump("r", bytes_max=100) is not None
        with pytest.raises(StoreError, match="read only"):
            await store.append([Append("r", b"2")])
    finally:
        await store.close()
        await database.execute(f"drop owned by {role}")
        await database.execute(f"drop role {role}")


async def test_the_lists_of_a_long_history_come_from_their_index(database: Database) -> None:
    async with database.opened() as store:
        for room in ("r", "other"):
            (row,) = await store.append([Append(room, b"x")])
            segments = [NewSegment(bytes(100), n, n, ["ann"], 1) for n in range(5000)]
            await store.compact(room, Snapshot(b"x"), [row.id], segments=segments)
    await database.execute("analyze doc_segment")
    ((doc_id,),) = await database.execute("select id from doc where name = 'r'")

    async with database.session() as session:
        for statement, *values in (
            (postgreshistory.LIST_SEGMENTS, doc_id, postgreshistory.ID_MAX, 50),
            (postgreshistory.LIST_SEGMENTS, doc_id, 3000, 50),
            (postgreshistory.LAST_PLACE, doc_id),
            (postgreshistory.PLACE_AT, doc_id, 4000),
        ):
            plan = "\n".join(row[0] for row in await session.fetch(f"explain {statement}", *values))
            assert "doc_segment_pkey" in plan
            assert "Index Cond: ((doc_id =" in plan or "Index Cond: (doc_id =" in plan
            assert "Seq Scan on doc_segment" not in plan
            assert "Sort" not in plan
