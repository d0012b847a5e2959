"""A bare relay of WebSocket messages that can be told to lose, repeat, change, stall, delay and hang up.

It knows no Yjs beyond where a message's text is. The load harness has to find out what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

_IS_UPDATE = b"\x00\x02"


@dataclass
class Faults:
    """What it does wrong. Counts are of updates passed on, one for each receiver; 0 is never."""

    drop_every: int = 0
    repeat_every: int = 0
    change_every: int = 0
    hang_up_after: int = 0
    """The connection that is to get this one is closed instead."""
    stall_at: int = 0
    """Before this one the whole relay stands still for ``stall_s``."""
    stall_s: float = 0.0
    delay_s: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    """What was done, and how often."""

    def hits(self, every: int, number: int, what: str) -> bool:
        """Whether it is time for a fault."""
        if every and number % every == 0:
            self.done[what] = self.done.get(what, 0) + 1
            return True
        return False


class Relay:
    """Passes each binary message on to the others of its path."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.port = 0
        self.passed_on = 0
        self._rooms: dict[str, set[ServerConnection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ws://127.0.0.1:{self.port}"

    async def handle(self, socket: ServerConnection) -> None:
        """One connection."""
        assert socket.request
        room = self._rooms.setdefault(socket.request.path, set())
        room.add(socket)
        try:
            async for message in socket:
                assert isinstance(message, bytes)
                for other in [each for each in room if each is not socket]:
                    await self._pass_on(other, message)
        except ConnectionClosed:
            pass  # clients of a load harness go without a word
        finally:
            room.discard(socket)

    async def _pass_on(self, socket: ServerConnection, message: bytes) -> None:
        faults = self.faults
        if not message.startswith(_IS_UPDATE):
            await self._send(socket, message)
            return
        self.passed_on += 1
        number = self.passed_on
        if number == faults.stall_at and faults.stall_s:
            faults.done["stall"] = 1
            time.sleep(faults.stall_s)  # noqa: ASYNC251 - the whole relay is to stand still
        if number == faults.hang_up_after:
            faults.done["hang up"] = 1
            await socket.close(1011)
            return
        if faults.hits(faults.drop_every, number, "drop"):
            return
        if message.endswith(b"\x00") and faults.hits(faults.change_every, number, "change"):
            # The last byte before the empty delete set is the last letter of the text that was written.
            message = message[:-2] + (b"#" if message[-2:-1] != b"#" else b"+") + b"\x00"
        if faults.delay_s:
            task = asyncio.create_task(self._send_later(socket, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        await self._send(socket, message)
        if faults.hits(faults.repeat_every, number, "repeat"):
            await self._send(socket, message)

    async def _send_later(self, socket: ServerConnection, message: bytes) -> None:
        await asyncio.sleep(self.faults.delay_s)
        await self._send(socket, message)

    @staticmethod
    async def _send(socket: ServerConnection, message: bytes) -> None:
        with contextlib.suppress(ConnectionClosed):
            await socket.send(message)


@contextlib.contextmanager
def faulty_relay(faults: Faults | None = None) -> Iterator[Relay]:
    """Run a relay in a thread of its own."""
    relay = Relay(faults or Faults())
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        async with serve(relay.handle, "127.0.0.1", 0, compression=None, close_timeout=0.2) as server:
            relay.port = next(iter(server.sockets)).getsockname()[1]
            started.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield relay
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
