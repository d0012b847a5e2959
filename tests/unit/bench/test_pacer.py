"""The pacer: everything in its order, nothing before its time, and lateness written down."""

from __future__ import annotations

import asyncio
import itertools
import time

from bench.generator.pacer import Pacer
from bench.generator.tally import Tally, paired
from tests.support.loops import on_both_loops


def lags(tally: Tally) -> dict[int, int]:
    return dict(paired(tally.take()["lag"]))


@on_both_loops
async def test_things_are_done_in_the_order_in_which_they_are_due_and_not_before() -> None:
    tally = Tally()
    pacer = Pacer(asyncio.get_running_loop(), tally)
    done: list[tuple[float, float]] = []
    finished = asyncio.Event()
    start = time.monotonic()

    def act(due_s: float) -> None:
        done.append((due_s, time.monotonic() - start))
        if len(done) == 40:
            finished.set()

    pacer.add(itertools.islice(itertools.count(0.0, 0.003), 20), act)
    pacer.add(itertools.islice(itertools.count(0.001, 0.002), 20), act)
    pacer.start(start)
    await finished.wait()
    pacer.stop()
    assert [due_s for due_s, _ in done] == sorted(due_s for due_s, _ in done)
    assert all(at_s >= due_s for due_s, at_s in done)
    assert sum(lags(tally).values()) == 40


@on_both_loops
async def test_what_could_not_be_done_in_time_is_done_late_and_recorded_as_late() -> None:
    tally = Tally()
    pacer = Pacer(asyncio.get_running_loop(), tally)
    done: list[float] = []
    finished = asyncio.Event()

    def act(due_s: float) -> None:
        done.append(due_s)
        if len(done) == 500:
            finished.set()

    # All of it was due in the second before: the schedule does not wait for a generator that is behind.
    pacer.add(itertools.islice(itertools.count(0.0, 0.001), 500), act)
    pacer.start(time.monotonic() - 1.0)
    await finished.wait()
    pacer.stop()
    assert done == sorted(done)
    assert min(lags(tally)) > 2048  # steps above this are times over 2 ms; the last was 500 ms late


@on_both_loops
async def test_something_can_be_added_while_it_runs() -> None:
    pacer = Pacer(asyncio.get_running_loop(), Tally())
    done: list[str] = []
    finished = asyncio.Event()

    def second(_: float) -> None:
        done.append("second")
        finished.set()

    def first(due_s: float) -> None:
        done.append("first")
        pacer.once(due_s + 0.001, second)

    pacer.once(0.002, first)
    pacer.start(time.monotonic())
    await finished.wait()
    pacer.stop()
    assert done == ["first", "second"]
