"""uvicorn as a part of the node: it leaves the signals alone, and can stop listening before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

_ACCEPT_TURNS = 3
"""Turns of the loop in which connections that wait in the kernel are accepted before listening ends."""


class WebServer(uvicorn.Server):
    """uvicorn without its own signal handling, which knows when it listens and can stop listening early."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._served = asyncio.Event()

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

    async def stop_listening(self) -> None:
        """Refuse new connections; those that are open go on.

        Connections that are established and wait to be accepted would be reset when the port is closed: they
        are taken in first.
        """
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        for server in getattr(self, "servers", ()):
            server.close()

    async def stop(self) -> None:
        """End what is still open, and wait for it."""
        self.should_exit = True
        await self._served.wait()
