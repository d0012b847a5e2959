"""Rooms are filled whole before a run begins, or the run does not begin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pycrdt
import pytest
from websockets.asyncio.server import ServerConnection, serve

from bench.errors import BenchError
from bench.generator.dialects import dialect_for
from bench.generator.edits import seed_updates
from bench.generator.visitor import fill, leave
from bench.target import Dialect
from tests.support import frames

UPDATES = seed_updates(7, "notes", 4_000, 10, 1_000)


class SlowServer:
    """Keeps one document, and shows newcomers a part of it for a while."""

    def __init__(self, *, closes_after: int = 1_000, hides: int = 0) -> None:
        self.updates: list[bytes] = []
        self.shown: list[int] = []
        self._closes_after = closes_after
        self._hides = hides

    async def serve(self, socket: ServerConnection) -> None:
        """One client."""
        async for frame in socket:
            assert isinstance(frame, bytes)
            if frame[:2] == b"\x00\x00":
                known = self.updates
                if len(self.updates) == len(UPDATES) and self._hides:
                    self._hides -= 1
                    known = self.updates[:1]
                self.shown.append(len(known))
                await socket.send(frames.step2(pycrdt.merge_updates(*known) if known else b"\x00\x00"))
            elif frame[:2] == b"\x00\x02":
                self.updates.append(frames.read_var_bytes(frame, 2)[0])
                if len(self.updates) >= self._closes_after:
                    await socket.close(4429, "too many messages")


@asynccontextmanager
async def served(server: SlowServer) -> AsyncIterator[str]:
    async with serve(server.serve, "127.0.0.1", 0) as listening:
        (socket,) = listening.sockets
        yield f"ws://127.0.0.1:{socket.getsockname()[1]}"


async def test_a_room_counts_as_filled_when_a_newcomer_is_given_all_of_it() -> None:
    server = SlowServer(hides=3)
    async with served(server) as url, asyncio.timeout(60):
        visitor = await fill(url, "", dialect_for(Dialect.PLAIN, "room"), UPDATES)
        assert len(UPDATES) > 3
        assert server.updates == UPDATES
        assert server.shown[-1] == len(UPDATES)
        await leave(visitor)


async def test_a_server_that_closes_on_who_fills_a_room_is_told_of() -> None:
    async with served(SlowServer(closes_after=2)) as url, asyncio.timeout(60):
        with pytest.raises(BenchError, match="closed with 4429"):
            await fill(url, "", dialect_for(Dialect.PLAIN, "room"), UPDATES)
