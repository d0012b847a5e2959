from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable

import pytest

from collab_server.telemetry.instruments import Distribution
from collab_server.telemetry.loop import GcPauses, LoopHealth, settle_gc, unsettle_gc


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the sampler has no event to wait for
        await asyncio.sleep(0.001)


async def test_the_lag_of_the_loop_is_sampled_until_the_task_is_cancelled() -> None:
    lag = Distribution((0.001, 1))
    health = LoopHealth(lag, 0.001)
    task = asyncio.create_task(health.run())
    await until(lambda: lag.count >= 3)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert health.lag_s >= 0


async def test_a_full_collection_is_made_when_it_is_due_and_measured() -> None:
    pauses = {generation: Distribution((0.001,)) for generation in range(3)}
    with GcPauses(pauses):
        task = asyncio.create_task(LoopHealth(Distribution((1,)), 0.001, 0.001).run())
        await until(lambda: pauses[2].count > 0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("since_s", "cpu_share", "due"), [(5, 0.0, False), (11, 0.0, True), (11, 0.9, False), (121, 0.9, True)]
)
def test_a_full_collection_waits_for_a_quiet_moment_but_not_for_ever(
    since_s: float, cpu_share: float, due: bool
) -> None:
    health = LoopHealth(Distribution((1,)), 0.25, 10)
    assert health._full_collection_due(since_s, cpu_share) is due


@pytest.mark.parametrize(("since_s", "due"), [(11, False), (3600, False), (86_401, True)])
def test_a_full_collection_that_would_take_too_long_is_put_off_for_a_day_at_most(
    since_s: float, due: bool
) -> None:
    health = LoopHealth(Distribution((1,)), 0.25, 10, gc_pause_max_ms=0.001)
    assert health._full_collection_due(since_s, 0.0) is due


def test_pauses_are_measured_only_inside() -> None:
    pauses = {generation: Distribution((0.001,)) for generation in range(3)}
    with GcPauses(pauses):
        gc.collect()
    gc.collect()
    assert pauses[2].count == 1


def test_settling_takes_what_lives_out_of_the_collectors_sight() -> None:
    before = gc.get_threshold()
    try:
        settle_gc()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    finally:
        unsettle_gc()
        gc.set_threshold(*before)
    assert gc.get_freeze_count() == 0
