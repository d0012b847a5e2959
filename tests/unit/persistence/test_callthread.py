from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from persistence.callthread import CallThread
from persistence.errors import StoreUnavailableError


def nothing() -> None:
    pass


@pytest.fixture
async def thread() -> AsyncIterator[CallThread]:
    thread = CallThread("t", calls_max=3)
    yield thread
    await thread.stop(nothing)


async def test_calls_are_made_in_order_on_one_other_thread(thread: CallThread) -> None:
    made: list[int] = []

    def call(number: int) -> int:
        made.append(number)
        return threading.get_ident()

    idents = await asyncio.gather(*(thread.run(lambda n=n: call(n)) for n in range(3)))  # type: ignore[misc]

    assert made == [0, 1, 2]
    assert len(set(idents)) == 1
    assert idents[0] != threading.get_ident()


class HardError(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("v"), HardError("h")])
async def test_what_a_call_raises_goes_to_its_caller_and_the_thread_lives(
    thread: CallThread, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        await thread.run(fail)

    assert await thread.run(lambda: 7) == 7


async def test_a_full_queue_refuses_at_once(thread: CallThread) -> None:
    started, gate = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        gate.wait(30)

    tasks = [asyncio.ensure_future(thread.run(wait))]
    await asyncio.to_thread(started.wait, 30)
    tasks += [asyncio.ensure_future(thread.run(nothing)) for _ in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailableError, match="3 calls wait"):
        await thread.run(nothing)

    gate.set()
    await asyncio.gather(*tasks)
    await thread.run(nothing)


async def test_a_cancelled_call_is_not_made_if_it_has_not_begun_and_finished_if_it_has(
    thread: CallThread,
) -> None:
    started, gate = threading.Event(), threading.Event()
    made: list[str] = []

    def first() -> None:
        started.set()
        gate.wait(30)
        made.append("first")

    begun = asyncio.ensure_future(thread.run(first))
    waiting = asyncio.ensure_future(thread.run(lambda: made.append("second")))
    await asyncio.to_thread(started.wait, 30)
    begun.cancel()
    waiting.cancel()
    await asyncio.gather(begun, waiting, return_exceptions=True)
    gate.set()
    await thread.run(lambda: made.append("third"))

    assert made == ["first", "third"]


async def test_stopping_makes_the_calls_that_wait_then_the_last_one_and_refuses_more() -> None:
    thread = CallThread("t", calls_max=10)
    made: list[int] = []
    tasks = [asyncio.ensure_future(thread.run(lambda n=n: made.append(n))) for n in range(5)]  # type: ignore[misc]
    await asyncio.sleep(0)

    await asyncio.gather(*(thread.stop(lambda: made.append(99)) for _ in range(3)))

    assert made == [0, 1, 2, 3, 4, 99]
    assert all(task.done() for task in tasks)
    with pytest.raises(StoreUnavailableError, match="closed"):
        await thread.run(nothing)


async def test_a_cancelled_stop_still_stops() -> None:
    thread = CallThread("t", calls_max=10)
    gate = threading.Event()
    call = asyncio.ensure_future(thread.run(lambda: gate.wait(30)))
    stop = asyncio.ensure_future(thread.stop(nothing))
    await asyncio.sleep(0)
    stop.cancel()
    await asyncio.gather(stop, return_exceptions=True)

    gate.set()
    await thread.stop(nothing)

    assert await call


def test_a_loop_that_is_gone_does_not_hurt_the_thread() -> None:
    gate = threading.Event()
    thread = CallThread("t", calls_max=10)

    async def leave() -> None:
        task = asyncio.ensure_future(thread.run(lambda: gate.wait(30)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    gate.set()

    async def use() -> int:
        return await thread.run(lambda: 5)

    assert asyncio.run(use()) == 5
    asyncio.run(thread.stop(nothing))
