"""A supervisor and its worker: killed, replaced, orphaned. Many together are in ``test_cluster_*``."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.interop.test_durability import locked
from tests.support.rawpeer import RawPeer
from tests.support.server import ServerProcess, free_port
from tests.support.writers import Writer, nothing_is_missing, text_of, under_load, until
from tests.support.yclient import YClient

Start = Callable[..., ServerProcess]


def worker_of(server: ServerProcess) -> psutil.Process:
    """The newest worker of a supervisor that has one place."""
    workers = [
        child for child in psutil.Process(server.pid).children() if "--supervisor-fd" in child.cmdline()
    ]
    return max(workers, key=lambda worker: worker.create_time())


@pytest.fixture
def supervised(server_factory: Start) -> Start:
    """Start servers with a supervisor and one worker."""

    def start(**settings: object) -> ServerProcess:
        port = free_port()
        return server_factory(port=port, ports_from=port, **settings)

    return start


async def test_a_worker_that_is_killed_is_replaced_and_nothing_acknowledged_is_lost(
    supervised: Start,
) -> None:
    server = supervised()
    writers = [Writer(server, f"room-{n % 2}", str(n), comes_back=True) for n in range(4)]
    async with under_load(writers) as load:
        await load.until_acknowledged(20)
        killed = worker_of(server)
        killed.kill()
        await asyncio.to_thread(killed.wait)
        await load.until_each_is_acknowledged()
        assert worker_of(server).pid != killed.pid
    await nothing_is_missing(server, writers)
    assert "a worker has died and is replaced" in server.log_text
    assert await asyncio.to_thread(server.terminate) == 0


async def test_whoever_comes_while_there_is_no_worker_waits_for_the_next_one(supervised: Start) -> None:
    server = supervised()
    worker_of(server).kill()
    async with YClient(server.ws_url, "trip", open_timeout=60) as client:
        await client.write("served")
        await client.saved()


async def test_all_workers_can_be_replaced_without_any_connection_being_refused_or_reset(
    supervised: Start,
) -> None:
    server = supervised()
    first = worker_of(server)
    writers = [Writer(server, f"room-{n % 2}", str(n), comes_back=True) for n in range(4)]
    ended = False
    answered = 0

    async def visit() -> None:
        nonlocal answered
        while not ended:
            async with RawPeer(server.ws_url) as visitor:
                await visitor.upgrade("visited")  # raises when it is refused or reset
            answered += 1

    async with under_load(writers) as load:
        await load.until_acknowledged(20)
        visits = [asyncio.create_task(visit()) for _ in range(3)]
        server.signal(signal.SIGHUP)
        await until(lambda: "all workers are replaced" in server.log_text, "end of the replacement", 60)
        before = answered
        await until(lambda: answered > before + 10 or any(task.done() for task in visits), "more visits")
        ended = True
        await asyncio.gather(*visits)
        await load.until_each_is_acknowledged()
    assert worker_of(server).pid != first.pid
    assert not first.is_running()
    await nothing_is_missing(server, writers)


async def test_a_worker_that_is_told_to_leave_is_replaced_before_it_has_gone(supervised: Start) -> None:
    server = supervised(drain_notice_s=60)
    first = worker_of(server)
    async with YClient(server.ws_url, "trip") as client:
        await client.write("before ")
        first.terminate()
        await client.until(lambda: not client.connected, 60)  # at once, and not after the notice
        assert client.close_code == 1012
    await until(lambda: not first.is_running(), "end of the first worker")
    assert await text_of(server, "trip") == "before "


async def test_a_replacement_that_cannot_start_leaves_the_worker_that_is_there(supervised: Start) -> None:
    server = supervised()
    first = worker_of(server)
    async with YClient(server.ws_url, "trip") as client:
        (server.folder / "collab-server.toml").write_text("drain_s = 'soon'\n")
        server.signal(signal.SIGHUP)
        await until(lambda: "the replacement has failed" in server.log_text, "failure")
        await client.write("still here")
        await client.saved()
    assert worker_of(server).pid == first.pid
    assert "drain_s" in server.log_text
    (server.folder / "collab-server.toml").unlink()
    server.signal(signal.SIGHUP)
    await until(lambda: "all workers are replaced" in server.log_text, "replacement", 60)


async def test_a_worker_leaves_in_order_when_its_supervisor_is_killed(supervised: Start) -> None:
    server = supervised()
    worker = worker_of(server)
    async with YClient(server.ws_url, "trip") as client:
        await client.write("saved")
        server.kill()
        await client.until(lambda: not client.connected)
        assert client.close_code == 1012
    await until(lambda: not worker.is_running(), "end of the worker")
    await asyncio.to_thread(server.start)
    assert await text_of(server, "trip") == "saved"


async def test_a_worker_that_dies_again_and_again_is_tried_ever_more_seldom(supervised: Start) -> None:
    server = supervised()
    (server.folder / "collab-server.toml").write_text("drain_s = 'soon'\n")
    worker_of(server).kill()
    await until(lambda: "dies again and again" in server.log_text, "slower attempts", 120)
    # Nobody is kept waiting meanwhile.
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port), 5):
        pass
    (server.folder / "collab-server.toml").unlink()
    await until(lambda: _is_ready(server), "worker", 120)
    assert await asyncio.to_thread(server.terminate) == 0


def _is_ready(server: ServerProcess) -> bool:
    with contextlib.suppress(OSError):
        return server.ready()
    return False


async def test_what_keeps_the_first_worker_from_starting_is_told_once_and_ends_the_server(
    supervised: Start,
) -> None:
    server = ServerProcess({"ports_from": free_port(), "store": "sqlite:////no/such/folder/rooms.sqlite3"})
    try:
        server.start(wait=False)
        assert await asyncio.to_thread(server.wait_exit) == 1
        assert server.log_text.count("collab-server: the store cannot be opened") == 1
    finally:
        server.close()


async def test_a_second_signal_ends_supervisor_and_worker_at_once(supervised: Start) -> None:
    server = supervised(drain_s=60, store_timeout_s=60)
    worker = worker_of(server)
    async with YClient(server.ws_url, "trip") as writer:
        await writer.write("first")
        await writer.saved()
        with locked(server.store_path):  # so that it cannot save, and waits
            await writer.write("second")
            server.signal(signal.SIGTERM)
            await until(lambda: "leaving" in server.log_text, "drain")
            assert server.alive
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait_exit, 10) != 0
            await until(lambda: not worker.is_running(), "end of the worker")


async def test_a_service_manager_may_signal_the_worker_as_well(supervised: Start) -> None:
    server = supervised()
    worker = worker_of(server)
    async with YClient(server.ws_url, "trip") as client:
        await client.write("saved")
        worker.terminate()
        server.signal(signal.SIGTERM)
        worker.terminate()
        assert await asyncio.to_thread(server.wait_exit) == 0
        await client.until(lambda: not client.connected)
        assert client.close_code == 1012


async def test_a_taken_port_is_told_before_anything_starts(supervised: Start) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the kernel would let us share it
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = ServerProcess(
            {"workers": 2, "port": port, "bus": "redis://127.0.0.1:1", "store": "sqlite:///rooms.sqlite3"}
        )
        try:
            server.start(wait=False)
            assert await asyncio.to_thread(server.wait_exit) == 1
            assert server.log_text.strip().endswith(
                f"collab-server: port {port} on 127.0.0.1 cannot be used: Address already in use"
            )
        finally:
            server.close()
