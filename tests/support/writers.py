"""Clients that write under load and remember what was acknowledged, for tests that break something."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable

from websockets.exceptions import WebSocketException

from tests.support.server import ServerProcess
from tests.support.yclient import YClient

_POLL_S = 0.01
_SAVED_LIMIT_S = 60.0


class Writer:
    """A client that writes, asks whether that is saved, and remembers what was acknowledged.

    One that ``comes_back`` opens the next connection when one has ended, with what it holds already.
    """

    def __init__(self, server: ServerProcess, room: str, name: str, *, comes_back: bool = False) -> None:
        self._client = YClient(server.ws_url, room)
        self._name = name
        self._comes_back = comes_back
        self.room = room
        self.acknowledged: list[str] = []
        self.close_code: int | None = None

    async def work(self, marks_max: int | None = None) -> None:
        """Write ``marks_max`` marks (for ever with None), or until the connection ends for good."""
        number = 0
        while True:
            # What a connection that ends may raise; AssertionError: before it was synced.
            with contextlib.suppress(OSError, EOFError, WebSocketException, AssertionError):
                try:
                    await self._client.open()
                    while marks_max is None or number < marks_max:
                        mark = f"[{self._name}.{number}]"
                        number += 1
                        await self._client.write(mark)
                        await self._client.saved(_SAVED_LIMIT_S)
                        self.acknowledged.append(mark)
                    return
                finally:
                    with contextlib.suppress(Exception):
                        await self._client.close()
                        self.close_code = self._client.close_code
            if not self._comes_back:
                return
            await asyncio.sleep(_POLL_S)


class Load:
    """Writers at work."""

    def __init__(self, writers: Iterable[Writer]) -> None:
        self.writers = list(writers)
        self._tasks = [asyncio.create_task(writer.work()) for writer in self.writers]

    @property
    def acknowledged(self) -> int:
        """How much was acknowledged until now."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    async def until_acknowledged(self, more: int, timeout_s: float = 60) -> None:
        """Wait until so much more is acknowledged."""
        goal = self.acknowledged + more
        await until(lambda: self.acknowledged >= goal, f"{more} more acknowledgements", timeout_s)

    async def until_each_is_acknowledged(self, timeout_s: float = 60) -> None:
        """Wait until each writer has got one more acknowledgement."""
        before = [len(writer.acknowledged) for writer in self.writers]
        await until(
            lambda: all(
                len(writer.acknowledged) > count for writer, count in zip(self.writers, before, strict=True)
            ),
            "an acknowledgement for each",
            timeout_s,
        )

    async def end(self) -> None:
        """Stop in the middle of whatever they do."""
        for task in self._tasks:
            task.cancel()
        await self.ended()

    async def ended(self) -> None:
        """Wait until all have ended; an error of theirs is raised here."""
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


@contextlib.asynccontextmanager
async def under_load(writers: Iterable[Writer]) -> AsyncIterator[Load]:
    """Keep writers at work inside the block."""
    load = Load(writers)
    try:
        yield load
    finally:
        await load.end()


async def until(check: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait until something holds that nobody tells."""
    try:
        async with asyncio.timeout(timeout_s):
            while not check():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise AssertionError(f"no {what} after {timeout_s} s") from None


async def until_ready_is(server: ServerProcess, wanted: bool, timeout_s: float = 30) -> None:
    """Wait until /ready is green, or red."""
    try:
        async with asyncio.timeout(timeout_s):
            while await asyncio.to_thread(server.ready) is not wanted:  # noqa: ASYNC110 - another process
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise AssertionError(f"/ready is not {wanted} after {timeout_s} s") from None


async def text_of(server: ServerProcess, room: str) -> str:
    """What a new client finds."""
    async with YClient(server.ws_url, room) as reader:
        return str(reader.text)


async def nothing_is_missing(server: ServerProcess, writers: Iterable[Writer]) -> None:
    """New clients find everything that was acknowledged."""
    promised: dict[str, list[str]] = defaultdict(list)
    for writer in writers:
        promised[writer.room] += writer.acknowledged
    for room, marks in promised.items():
        found = await text_of(server, room)
        lost = [mark for mark in marks if mark not in found]
        assert not lost, f"lost {lost} of {len(marks)} in {room}"


async def write_until_closed(client: YClient, bytes_max: int) -> int:
    """Write blocks of 1 KiB until the server closes; how many went out."""
    blocks = 0
    try:
        while client.connected and blocks < bytes_max // 1024:
            await client.write(f"{blocks:08}".ljust(1024, "."))
            blocks += 1
            await asyncio.sleep(0)
        await client.until(lambda: not client.connected)
    except ConnectionError:
        await client.until(lambda: not client.connected)
    return blocks
