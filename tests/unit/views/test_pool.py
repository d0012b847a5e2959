from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest
import pytest_asyncio

from collab_server.errors import ViewError
from collab_server.views.pool import ViewFailedError, ViewPool
from tests.unit.views import jobs

MIB = 1024 * 1024


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[ViewPool]:
    pool = ViewPool(1, timeout_s=30, memory_bytes_max=1024 * MIB)
    yield pool
    await pool.close()


async def written(marker: Path) -> int:
    """The pid that a job leaves in a file once it runs."""

    def look() -> int:
        while not (marker.exists() and (text := marker.read_text())):
            time.sleep(0.01)
        return int(text)

    return await asyncio.to_thread(look)


async def test_a_call_runs_in_another_process_and_returns_its_value(pool: ViewPool) -> None:
    assert await pool.run(jobs.echo, {"a": [1, b"x"]}) == {"a": [1, b"x"]}
    assert await pool.run(jobs.pid) != psutil.Process().pid


async def test_a_worker_is_used_again(pool: ViewPool) -> None:
    assert await pool.run(jobs.pid) == await pool.run(jobs.pid)


async def test_megabytes_pass_both_ways(pool: ViewPool) -> None:
    data = bytes(range(256)) * 40_000
    assert await pool.run(jobs.echo, data) == data


async def test_an_error_of_the_function_is_told_and_the_worker_goes_on(pool: ViewPool) -> None:
    worker = await pool.run(jobs.pid)
    with pytest.raises(ViewFailedError, match="ValueError: no such thing") as failure:
        await pool.run(jobs.fail, "no such thing")
    assert failure.value.reason == "error"
    assert await pool.run(jobs.pid) == worker


async def test_a_native_panic_is_an_error_like_others(pool: ViewPool) -> None:
    with pytest.raises(ViewError, match="native panics"):
        await pool.run(jobs.panic)


async def test_a_result_that_cannot_be_sent_is_an_error(pool: ViewPool) -> None:
    with pytest.raises(ViewError, match="cannot be sent"):
        await pool.run(jobs.unsendable)


async def test_a_stray_print_does_not_spoil_the_result(pool: ViewPool) -> None:
    assert await pool.run(jobs.shout) == "quiet"


async def test_an_interrupt_does_not_end_a_worker(pool: ViewPool) -> None:
    assert await pool.run(jobs.ignores_interrupts)


async def test_a_worker_killed_in_the_middle_is_replaced(pool: ViewPool) -> None:
    first = await pool.run(jobs.pid)
    with pytest.raises(ViewFailedError) as failure:
        await pool.run(jobs.die)
    assert failure.value.reason == "died"
    assert await pool.run(jobs.pid) != first
    assert not psutil.pid_exists(first)


async def test_a_worker_that_died_while_idle_costs_one_call_at_most(pool: ViewPool) -> None:
    first = await pool.run(jobs.pid)
    psutil.Process(first).kill()
    with contextlib.suppress(ViewError):
        await pool.run(jobs.pid)
    assert await pool.run(jobs.pid) != first


@pytest.mark.parametrize("job", [jobs.hang, jobs.spin])
async def test_a_call_over_its_time_ends_its_worker_only(job: object) -> None:
    failures: list[str] = []
    pool = ViewPool(1, timeout_s=0.3, on_failed=failures.append)
    try:
        with pytest.raises(ViewFailedError, match=r"longer than 0\.3 s"):
            await pool.run(job)  # type: ignore[arg-type]
        assert failures == ["timeout"]
        assert await pool.run(jobs.echo, 1) == 1
    finally:
        await pool.close()


async def test_a_memory_hog_is_refused_and_the_next_call_works(pool: ViewPool) -> None:
    with pytest.raises(ViewFailedError) as failure:
        await pool.run(jobs.hog, 4096 * MIB)
    assert failure.value.reason == "memory"
    assert await pool.run(jobs.hog, MIB) == MIB


async def test_a_full_queue_refuses_at_once_and_keeps_who_waits(tmp_path: Path) -> None:
    pool = ViewPool(1, timeout_s=60, queue_max=1)
    hanging = asyncio.create_task(pool.run(jobs.hang, str(tmp_path / "pid")))
    worker = await written(tmp_path / "pid")
    waiting = asyncio.create_task(pool.run(jobs.echo, "at last"))
    await asyncio.sleep(0)  # one turn each for the call and for its task
    await asyncio.sleep(0)
    assert pool.waiting == 1
    with pytest.raises(ViewFailedError) as failure:
        await pool.run(jobs.echo, 1)
    assert failure.value.reason == "full"
    psutil.Process(worker).kill()
    with pytest.raises(ViewError):
        await hanging
    assert await waiting == "at last"
    await pool.close()


async def test_a_cancelled_caller_leaves_no_busy_worker(tmp_path: Path, pool: ViewPool) -> None:
    hanging = asyncio.create_task(pool.run(jobs.hang, str(tmp_path / "pid")))
    worker = await written(tmp_path / "pid")
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert not psutil.pid_exists(worker)
    assert await pool.run(jobs.echo, 1) == 1


async def test_closing_ends_busy_and_idle_workers_and_tells_the_callers(tmp_path: Path) -> None:
    pool = ViewPool(2, timeout_s=60)
    hanging = asyncio.create_task(pool.run(jobs.hang, str(tmp_path / "pid")))
    busy = await written(tmp_path / "pid")
    idle = await pool.run(jobs.pid)
    await pool.close()
    with pytest.raises(ViewFailedError) as failure:
        await hanging
    assert failure.value.reason == "closed"
    assert not psutil.pid_exists(busy)
    assert not psutil.pid_exists(idle)
    with pytest.raises(ViewError):
        await pool.run(jobs.echo, 1)
    await pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_a_busy_worker_dies_with_its_parent(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    program = (
        "import asyncio\n"
        "from collab_server.views.pool import ViewPool\n"
        "from tests.unit.views import jobs\n"
        f"asyncio.run(ViewPool(1, timeout_s=60).run(jobs.hang, {str(marker)!r}))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])  # noqa: ASYNC220 - it starts in the background
    worker = psutil.Process(await written(marker))
    parent.kill()
    parent.wait()
    await asyncio.to_thread(psutil.wait_procs, [worker], 30)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


async def test_a_worker_does_not_get_the_servers_settings(
    pool: ViewPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLAB_STORE", "postgresql://user:secret@host/db")
    worker = psutil.Process(await pool.run(jobs.pid))
    assert "COLLAB_STORE" not in worker.environ()
