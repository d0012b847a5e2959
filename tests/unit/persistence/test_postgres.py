from __future__ import annotations

import asyncio
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from persistence import postgres
from persistence.base import Append, NoticeKind, Snapshot
from persistence.errors import StoreUnavailableError
from persistence.postgres import PostgresSettings, PostgresStore
from tests.unit.persistence.conftest import Database, rows_of

QUICK = PostgresSettings(statement_timeout_ms=1_000)


# Several servers


async def test_a_row_that_is_committed_late_under_a_lower_id_outlives_the_compaction(
    database: Database,
) -> None:
    async with database.opened() as store, database.session() as slow:
        await store.append([Append("r", b"1")])
        doc_id = await slow.fetchval("select id from doc")
        await slow.execute("begin")
        late = await slow.fetchval(
            "insert into doc_update (doc_id, data, authors, created_at_ms)"
            " values ($1, 'late', '[]', 0) returning id",
            doc_id,
        )
        (newer,) = await store.append([Append("r", b"2")])
        assert newer.id > late
        document = await store.load("r")
        assert document is not None

        assert await store.compact("r", Snapshot(b"1,2"), [row.id for row in document.updates])
        await slow.execute("commit")

        assert await rows_of(store, "r") == [b"late"]


async def test_a_deletion_waits_for_the_appends_under_way_and_takes_their_rows_too(
    database: Database,
) -> None:
    async with database.opened() as store, database.session() as slow:
        await store.append([Append("r", b"1")])
        await slow.execute("begin")
        ((doc_id, *_),) = await slow.fetch(postgres.FIND_ALL, ["r"])
        await slow.fetch(postgres.INSERT, [doc_id], [b"2"], ["[]"], [0])
        deletion = asyncio.ensure_future(store.delete("r"))
        await database.until_somebody_waits()
        await slow.execute("commit")

        assert await deletion
        assert await database.execute("select count(*) from doc_update") == [(0,)]


async def test_an_append_that_waited_for_a_deletion_writes_nothing(database: Database) -> None:
    async with database.opened() as store, database.session() as slow:
        await store.append([Append("r", b"1")])
        await slow.execute("begin")
        doc_id = await slow.fetchval(postgres.FIND_TO_DELETE, "r")
        append = asyncio.ensure_future(store.append([Append("r", b"2"), Append("other", b"3")]))
        await database.until_somebody_waits()
        await slow.execute(postgres.DELETE_UPDATES, doc_id)
        await slow.execute(postgres.BURY, doc_id, 1)
        await slow.execute("commit")

        gone, written = await append
        assert gone.deleted
        assert not written.deleted
        assert await rows_of(store, "other") == [b"3"]


async def test_appends_to_one_document_do_not_wait_for_each_other(database: Database) -> None:
    async with database.opened(QUICK) as store, database.session() as slow:
        await store.append([Append("r", b"1")])
        await slow.execute("begin")
        ((doc_id, *_),) = await slow.fetch(postgres.FIND_ALL, ["r"])
        await slow.fetch(postgres.INSERT, [doc_id], [b"2"], ["[]"], [0])

        await store.append([Append("r", b"3")])  # within its time limit

        await slow.execute("commit")
        assert await rows_of(store, "r") == [b"1", b"2", b"3"]


async def test_notices_become_visible_in_the_order_of_their_ids(database: Database) -> None:
    async with database.opened() as store, database.session() as slow:
        await slow.execute("begin")
        await slow.execute(postgres.LOCK, postgres.NOTICE_LOCK)
        await slow.execute(postgres.NOTIFY, "first", "changed", 1 << 50)
        second = asyncio.ensure_future(store.notify("second", NoticeKind.CHANGED))
        await database.until_somebody_waits()
        assert await store.notices(0) == (0, [])
        await slow.execute("commit")
        await second

        _, notices = await store.notices(0)
        assert [notice.room for notice in notices] == ["first", "second"]


async def test_groups_that_name_the_same_new_documents_in_other_orders_do_not_fail(
    database: Database,
) -> None:
    settings = PostgresSettings(tries_max=1)  # a deadlock would be told
    async with database.opened(settings) as one, database.opened(settings) as two:
        for round_number in range(15):
            names = [f"{round_number}-{number}" for number in range(30)]
            await asyncio.gather(
                one.append([Append(name, b"1") for name in names]),
                two.append([Append(name, b"2") for name in reversed(names)]),
                one.append([Append(name, b"3") for name in reversed(names)]),
            )
            assert sorted(await rows_of(two, names[7])) == [b"1", b"2", b"3"]


# What the session and the transaction are like


async def test_through_a_pooler_no_statement_has_a_name(database: Database) -> None:
    named = {}
    for pgbouncer in (False, True):
        async with database.opened(PostgresSettings(pgbouncer=pgbouncer, connections_max=1)) as store:
            (row,) = await store.append([Append("r", b"1")])
            await store.load("r")
            await store.compact("r", Snapshot(b"1"), [row.id])
            await store.list_documents()
            async with store._pool.acquire() as connection:
                named[pgbouncer] = await connection.fetchval("select count(*) from pg_prepared_statements")

    assert named[False] > 0
    assert named[True] == 0


async def test_nothing_is_left_in_the_session(database: Database) -> None:
    settings = (
        "select name, setting from pg_settings where name ~ 'timeout|commit|isolation|read_only' order by 1"
    )
    before = await database.execute(settings)
    async with database.opened(PostgresSettings(connections_max=1, statement_timeout_ms=777)) as store:
        await store.append([Append("r", b"1")])
        await store.delete("r")
        async with store._pool.acquire() as connection:
            assert [tuple(row) for row in await connection.fetch(settings)] == before
            assert await connection.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0


@pytest.mark.parametrize(
    ("default", "expected"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply",) * 2]
)
async def test_a_commit_is_synchronous_whatever_the_database_says(
    database: Database, default: str, expected: str
) -> None:
    await database.execute(f'alter database "{database.name}" set synchronous_commit = {default}')
    async with database.opened() as store:
        in_force = await store._run(
            lambda connection: connection.fetchval("show synchronous_commit"), store._begin_write
        )

    assert in_force == expected


async def test_a_statement_has_a_time_limit_and_the_store_goes_on_afterwards(database: Database) -> None:
    async with database.opened(QUICK) as store, database.session() as other:
        await store.append([Append("r", b"1")])
        await other.execute("begin")
        await other.execute("lock table doc_update in access exclusive mode")
        outcomes = await asyncio.gather(
            store.append([Append("r", b"2")]), store.load("r"), store.ping(), return_exceptions=True
        )
        for outcome in outcomes:
            assert isinstance(outcome, StoreUnavailableError)
            assert str(outcome) == "postgresql: a statement took longer than 1000 ms"

        await other.execute("rollback")
        await store.append([Append("r", b"3")])
        assert await rows_of(store, "r") == [b"1", b"3"]


async def test_a_transaction_that_was_undone_because_of_others_is_made_again(database: Database) -> None:
    async with database.opened() as store:
        failures = [asyncpg.DeadlockDetectedError("deadlock"), asyncpg.SerializationError("conflict")]

        async def work(connection: Any) -> int:
            if failures:
                raise failures.pop()
            result: int = await connection.fetchval("select 5")
            return result

        assert await store._run(work, store._begin_write) == 5

        async def always(connection: Any) -> None:
            raise asyncpg.DeadlockDetectedError("deadlock")

        with pytest.raises(StoreUnavailableError, match="deadlock"):
            await store._run(always, store._begin_write)


async def backend_pid(store: PostgresStore) -> int:
    return await store._run(
        lambda connection: connection.fetchval("select pg_backend_pid()"), store._begin_read
    )


async def test_a_cancelled_append_leaves_no_transaction_behind(database: Database) -> None:
    async with database.opened(PostgresSettings(connections_max=1)) as store, database.session() as other:
        await store.append([Append("r", b"1")])
        await other.execute("begin")
        await other.fetchval(postgres.FIND_TO_DELETE, "r")
        pid = await backend_pid(store)
        append = asyncio.ensure_future(store.append([Append("r", b"2")]))
        await database.until_somebody_waits()
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        await other.execute("rollback")

        await store.append([Append("r", b"3")])
        assert await rows_of(store, "r") == [b"1", b"3"]
        assert await backend_pid(store) != pid, "a connection in an unknown state was used again"


async def test_calls_over_the_bound_are_refused_and_the_others_made(database: Database) -> None:
    async with database.opened(PostgresSettings(calls_max=5, connections_max=2)) as store:
        outcomes = await asyncio.gather(
            *(store.append([Append("r", b"%d" % number)]) for number in range(20)), return_exceptions=True
        )

        refusals = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailableError)]
        assert len(refusals) == 15
        assert len(await rows_of(store, "r")) == 5
