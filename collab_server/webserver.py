"""uvicorn as a part of the node: it leaves the signals alone, and can stop listening before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Iterator

import uvicorn

_FIRST_REQUEST_S = 0.5
"""How long connections that were taken in at the last moment have for their requests."""
_POLL_S = 0.01
_TICK_S = 1.0


class WebServer(uvicorn.Server):
    """uvicorn without its own signal handling, which knows when it listens and can stop listening early."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._served = asyncio.Event()
        self._stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets)
        self.listening.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until ``stop``."""
        try:
            await super().serve(sockets)
        finally:
            self.listening.set()
            self._served.set()

    async def main_loop(self) -> None:
        """Keep the date of the answers until ``stop``.

        uvicorn's own looks ten times a second whether it must end.
        """
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._stopping.wait()

    async def stop_listening(self) -> None:
        """Refuse new connections; those that are open go on.

        Connections that are established and wait to be accepted would be reset when the port is closed: they
        are taken in first, and get an answer.
        """
        for _ in range(self.config.backlog):  # they may come faster than they are taken
            if not self._has_waiting():
                break
            await asyncio.sleep(0)
        self.let_go()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_REQUEST_S):
                # Polled, because uvicorn tells nobody when a request has come.
                while any(getattr(one, "scope", 0) is None for one in self.server_state.connections):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)

    def let_go(self) -> None:
        """Close the port here; another process that has it open goes on, also with those that wait."""
        for server in getattr(self, "servers", ()):
            server.close()

    def _has_waiting(self) -> bool:
        waiting = select.poll()
        for server in getattr(self, "servers", ()):
            for listener in server.sockets:
                waiting.register(listener.fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    async def stop(self) -> None:
        """End what is still open, and wait for it."""
        self.should_exit = True
        self._stopping.set()
        await self._served.wait()
