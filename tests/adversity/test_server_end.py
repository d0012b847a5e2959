"""The end of the server, wanted or not: what was acknowledged is there, and clients know to come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable

import pytest

from tests.interop.test_durability import locked
from tests.support.server import ServerProcess
from tests.support.yclient import YClient

ROUNDS = int(os.environ.get("COLLAB_TEST_KILLS", "20"))


class Writer:
    """A client that writes, asks whether that is saved, and remembers what was acknowledged."""

    def __init__(self, server: ServerProcess, room: str, name: str) -> None:
        self._client = YClient(server.ws_url, room)
        self._name = name
        self.room = room
        self.acknowledged: list[str] = []
        self.close_code: int | None = None

    async def work(self) -> None:
        """Until the connection ends."""
        number = 0
        with contextlib.suppress(ConnectionError, OSError, EOFError):
            try:
                await self._client.open()
                while True:
                    mark = f"[{self._name}.{number}]"
                    number += 1
                    await self._client.write(mark)
                    await self._client.saved()
                    self.acknowledged.append(mark)
            finally:
                with contextlib.suppress(Exception):
                    await self._client.close()
                self.close_code = self._client.close_code


async def text_of(server: ServerProcess, room: str) -> str:
    """What a new client finds."""
    async with YClient(server.ws_url, room) as reader:
        return str(reader.text)


async def _start(writers: list[Writer], acknowledged_min: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(writer.work()) for writer in writers]
    while sum(len(writer.acknowledged) for writer in writers) < acknowledged_min:
        await asyncio.sleep(0.005)
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
    return tasks


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_no_acknowledged_update_is_lost_when_the_server_is_killed_twenty_times_in_a_row(
    server_factory: Callable[..., ServerProcess],
) -> None:
    dice = random.Random(20)
    server = server_factory(compact_after_updates=40)
    promised: dict[str, list[str]] = {f"room-{n}": [] for n in range(3)}
    for round_number in range(ROUNDS):
        writers = [Writer(server, f"room-{n % 3}", f"{round_number}.{n}") for n in range(9)]
        tasks = await _start(writers, acknowledged_min=30 + dice.randrange(150))
        server.kill()
        await asyncio.gather(*tasks)
        for writer in writers:
            promised[writer.room] += writer.acknowledged
        await asyncio.to_thread(server.start)
        for room, marks in promised.items():
            found = await text_of(server, room)
            lost = [mark for mark in marks if mark not in found]
            assert not lost, f"round {round_number}: lost {lost} of {len(marks)} in {room}"
    assert all(promised.values())


async def test_sigterm_under_load_saves_all_tells_the_clients_to_come_back_and_exits_with_0(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory()
    writers = [Writer(server, f"room-{n % 3}", str(n)) for n in range(9)]
    tasks = await _start(writers, acknowledged_min=100)
    async with YClient(server.ws_url, "quiet") as quiet:
        await quiet.write("not asked whether it is saved")
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait_exit) == 0
        await asyncio.gather(*tasks)
        assert {writer.close_code for writer in writers} == {1012}
        await quiet.until(lambda: not quiet.connected)
        assert quiet.close_code == 1012
    await asyncio.to_thread(server.start)
    assert await text_of(server, "quiet") == "not asked whether it is saved"
    for writer in writers:
        found = await text_of(server, writer.room)
        assert not [mark for mark in writer.acknowledged if mark not in found]


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
