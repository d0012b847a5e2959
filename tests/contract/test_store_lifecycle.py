from __future__ import annotations

import asyncio

import pytest

from persistence.base import Append, NoticeKind, Snapshot, Store
from persistence.errors import StoreUnavailableError
from tests.contract.conftest import Backend


async def each_call(store: Store) -> None:
    """Every call of a store that is not open is refused."""
    calls = [
        store.ping(),
        store.load("r"),
        store.append([Append("r", b"")]),
        store.compact("r", Snapshot(b""), []),
        store.delete("r"),
        store.restore_name("r"),
        store.list_documents(),
        store.notify("r", NoticeKind.CHANGED),
        store.notices(None),
    ]
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
