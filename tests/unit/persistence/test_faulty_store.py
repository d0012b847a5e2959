from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from persistence.base import Append
from persistence.errors import StoreUnavailableError
from persistence.memory import MemoryStore
from tests.support.faulty_store import FaultyStore


@pytest.fixture
async def store() -> AsyncIterator[FaultyStore]:
    store = FaultyStore(MemoryStore())
    await store.open()
    yield store
    await store.close()


async def rows(store: FaultyStore) -> list[bytes]:
    document = await store.inner.load("r")
    return [row.data for row in document.updates] if document else []


async def test_a_call_that_fails_before_has_written_nothing(store: FaultyStore) -> None:
    store.fail_before("append", times=1)

    with pytest.raises(StoreUnavailableError, match="planted"):
        await store.append([Append("r", b"1")])
    assert await rows(store) == []

    await store.append([Append("r", b"2")])
    assert await rows(store) == [b"2"]


async def test_a_call_that_fails_after_has_committed(store: FaultyStore) -> None:
    fault = store.fail_after("append")

    with pytest.raises(StoreUnavailableError):
        await store.append([Append("r", b"1")])
    assert await rows(store) == [b"1"]

    fault.clear()
    await store.append([Append("r", b"2")])
    assert fault.hits == 1


@pytest.mark.parametrize(("after", "while_stalled"), [(False, []), (True, [b"1"])])
async def test_a_stalled_call_goes_on_when_the_fault_is_cleared(
    store: FaultyStore, after: bool, while_stalled: list[bytes]
) -> None:
    fault = store.stall("append", after=after)
    task = asyncio.ensure_future(store.append([Append("r", b"1")]))

    await fault.reached.wait()
    assert not task.done()
    assert await rows(store) == while_stalled

    store.heal()
    await task
    assert await rows(store) == [b"1"]
    assert store.calls["append"] == 1


async def test_only_the_named_calls_are_faulty(store: FaultyStore) -> None:
    store.fail_before("append", "compact")

    await store.ping()
    with pytest.raises(ValueError, match="apend"):
        store.stall("apend")
