"""The end of the server, wanted or not: what was acknowledged is there, and clients know to come back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.interop.test_durability import locked
from tests.support.server import ServerProcess
from tests.support.writers import Writer, nothing_is_missing, text_of, under_load
from tests.support.yclient import YClient


async def test_sigterm_under_load_saves_all_tells_the_clients_to_come_back_and_exits_with_0(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory()
    writers = [Writer(server, f"room-{n % 3}", str(n)) for n in range(9)]
    async with under_load(writers) as load, YClient(server.ws_url, "quiet") as quiet:
        await load.until_acknowledged(100)
        await quiet.write("not asked whether it is saved")
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait_exit) == 0
        await load.ended()
        assert {writer.close_code for writer in writers} == {1012}
        await quiet.until(lambda: not quiet.connected)
        assert quiet.close_code == 1012
    await asyncio.to_thread(server.start)
    assert await text_of(server, "quiet") == "not asked whether it is saved"
    await nothing_is_missing(server, writers)


async def test_everything_that_others_have_seen_survives_a_sigterm(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory()
    async with YClient(server.ws_url, "trip") as writer, YClient(server.ws_url, "trip") as reader:
        for number in range(300):
            await writer.write(f"[{number}]")
        await reader.sees("[299]")
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait_exit) == 0
    await asyncio.to_thread(server.start)
    assert await text_of(server, "trip") == "".join(f"[{number}]" for number in range(300))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_server_ends_at_a_signal_with_0(
    server_factory: Callable[..., ServerProcess], number: signal.Signals
) -> None:
    server = server_factory()
    server.signal(number)
    assert await asyncio.to_thread(server.wait_exit, 20) == 0


async def test_a_second_signal_ends_the_server_at_once(server_factory: Callable[..., ServerProcess]) -> None:
    server = server_factory(drain_s=60, store_timeout_s=60)
    async with YClient(server.ws_url, "trip") as writer:
        await writer.write("first")
        await writer.saved()
        with locked(server.store_path):  # so that it cannot save, and waits
            await writer.write("second")
            server.signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            assert server.alive
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait_exit, 10) != 0
    await asyncio.to_thread(server.start)
    assert (await text_of(server, "trip")).startswith("first")
