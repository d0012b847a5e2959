from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from persistence.base import (
    Append,
    DocumentDump,
    NewCheckpoint,
    NoticeKind,
    Snapshot,
    Store,
    StoredDocument,
)
from persistence.errors import StoreError, StoreUnavailableError
from tests.contract.conftest import Backend


def reading_calls(store: Store) -> list[Awaitable[object]]:
    return [
        store.ping(),
        store.load("r"),
        store.list_documents(),
        store.notices(None),
        store.list_segments("r"),
        store.read_history("r"),
        store.read_history("r", segment=1),
        store.history_size("r"),
        store.expired(1 << 50, 10),
        store.list_versions("r"),
        store.read_version("r", 1),
        store.dump("r", bytes_max=1 << 30),
    ]


def writing_calls(store: Store) -> list[Awaitable[object]]:
    document = StoredDocument("new", None, [])
    return [
        store.append([Append("r", b"")]),
        store.compact("r", Snapshot(b""), []),
        store.delete("r"),
        store.restore_name("r"),
        store.notify("r", NoticeKind.CHANGED),
        store.trim("r", before_ms=1 << 50),
        store.trim("r", before_ms=1 << 50, upto_segment=1, base=NewCheckpoint(b"", 1)),
        store.add_version("r", "v", None, 1, b"", True),
        store.set_pinned("r", 1, True),
        store.rename_version("r", 1, "w"),
        store.delete_version("r", 1),
        store.restore_dump(DocumentDump("new", document, 1, 1)),
    ]


async def each_call(store: Store) -> None:
    """Every call of a store that is not open is refused."""
    calls = [*reading_calls(store), *writing_calls(store)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * len(calls)


async def test_an_open_store_answers_a_ping(store: Store) -> None:
    await store.ping()


async def test_a_ping_writes_nothing(store: Store) -> None:
    await store.append([Append("r", b"1")])
    before = (await store.load("r"), await store.list_documents(), await store.notices(0))

    await store.ping()

    assert (await store.load("r"), await store.list_documents(), await store.notices(0)) == before


async def test_a_store_refuses_calls_before_it_is_open(backend: Backend) -> None:
    await each_call(backend.store())


async def test_a_store_refuses_calls_after_it_was_closed(backend: Backend) -> None:
    store = backend.store()
    await store.open()
    await store.close()

    await each_call(store)


async def test_a_store_that_is_opened_to_read_only_reads_and_writes_nothing(
    backend: Backend, store: Store
) -> None:
    await store.append([Append("r", b"1")])
    before = await store.dump("r", bytes_max=1 << 30)
    reader = backend.store()
    await reader.open(migrate=False, read_only=True)
    try:
        await asyncio.gather(*reading_calls(reader))
        assert await reader.dump("r", bytes_max=1 << 30) == before
        outcomes = await asyncio.gather(*writing_calls(reader), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreError] * len(outcomes)
        await store.append([Append("r", b"2")])
        document = await reader.load("r")
        assert document is not None
        assert len(document.updates) == 2
    finally:
        await reader.close()
    assert [info.updates_count for info in await store.list_documents()] == [2]
    assert list((await store.notices(0))[1]) == []


async def test_a_store_tells_what_its_opening_did_to_the_schema(backend: Backend) -> None:
    first, second, third = backend.store(), backend.store(), backend.store()
    assert (first.schema_version, first.migrated) == (0, None)
    try:
        await first.open()
        await second.open()
        await third.open(migrate=False)

        version = first.schema_version
        assert first.migrated == ((0, version) if version else None)
        assert (second.schema_version, second.migrated) == (version, None)
        assert (third.schema_version, third.migrated) == (version, None)
    finally:
        for store in (first, second, third):
            await store.close()


async def test_a_store_may_be_closed_twice_also_at_once_and_without_being_opened(backend: Backend) -> None:
    await backend.store().close()
    store = backend.store()
    await store.open()

    await asyncio.gather(store.close(), store.close())
    await store.close()


async def test_closing_finishes_the_calls_under_way(backend: Backend) -> None:
    store = backend.store()
    await store.open()
    tasks = [asyncio.ensure_future(store.append([Append("r", b"%d" % n)])) for n in range(50)]
    await asyncio.sleep(0)

    await store.close()

    for task in tasks:
        assert (await task)[0].id > 0
    again = backend.store()
    await again.open()
    try:
        document = await again.load("r")
        assert document is not None
        assert {row.data for row in document.updates} == {b"%d" % n for n in range(50)}
    finally:
        await again.close()


async def test_servers_may_open_an_empty_database_at_the_same_time(backend: Backend) -> None:
    stores = [backend.store() for _ in range(4)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(store.append([Append("r", b"x")]) for store in stores))
        document = await stores[0].load("r")
        assert document is not None
        assert len(document.updates) == 4
    finally:
        for store in stores:
            await store.close()


async def test_a_bad_call_harms_none_that_follow(store: Store) -> None:
    for _ in range(3):
        with pytest.raises((TypeError, ValueError, AttributeError)):
            await store.append([Append("r", object())])  # type: ignore[arg-type]
    await store.append([Append("r", b"good")])

    document = await store.load("r")
    assert document is not None
    assert [row.data for row in document.updates] == [b"good"]
