"""HTTP clients that send or read a byte now and then: cut, and their places are free again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

import httpx

from tests.adversity.conftest import healthy_in
from tests.support.server import ServerProcess
from tests.support.yclient import YClient

Factory = Callable[..., ServerProcess]
_ARCHIVE = (
    "POST /v1/documents/slow/archive HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Content-Type: application/zip\r\nContent-Length: {}\r\n\r\n"
)


async def dripping(server: ServerProcess, size_bytes: int, pieces: int, pause_s: float) -> bytes:
    """Announce a body, send one piece of it after the other, and return what the server says at last."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    told = asyncio.ensure_future(reader.read())
    writer.write(_ARCHIVE.format(pieces * size_bytes).encode())
    with contextlib.suppress(ConnectionError):
        for _ in range(pieces):
            if told.done():
                break
            writer.write(bytes(size_bytes))
            await writer.drain()
            await asyncio.wait([told], timeout=pause_s)
    with contextlib.suppress(ConnectionError):
        writer.write_eof()
    try:
        return await told
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def test_bodies_that_hardly_come_are_cut_and_a_slow_one_arrives(server_factory: Factory) -> None:
    server = server_factory(handshake_timeout_s=2, http_body_bytes_min_per_s=1000)
    async with healthy_in(server) as arena, httpx.AsyncClient(base_url=server.http_url) as client:
        attack = [asyncio.create_task(dripping(server, 10, 1_000, 0.25)) for _ in range(4)]
        places = {"content": b"x", "headers": {"Content-Type": "application/zip"}}

        async def status() -> int:
            return (await client.post("/v1/documents/quick/archive", **places)).status_code  # type: ignore[arg-type]

        deadline = time.monotonic() + 60
        while await status() != 503:  # all places are taken
            assert time.monotonic() < deadline
        assert await asyncio.gather(*attack) == [b""] * 4
        while await status() == 503:
            assert time.monotonic() < deadline
        assert await status() == 422
        slow = await dripping(server, 5_000, 50, 0.1)
        assert slow.startswith(b"HTTP/1.1 422"), slow
        assert server.metrics()['collab_connections_refused_total{reason="bad_request"}'] == 4
        await arena.unharmed()


async def test_answers_that_nobody_reads_are_cut(server_factory: Factory) -> None:
    server = server_factory(connection_slow_max_s=2, handshake_timeout_s=2)
    async with YClient(server.ws_url, "large") as writer:
        for _ in range(3):
            await writer.write("x" * 6_000_000)
            await writer.saved()
    request = b"GET /v1/documents/large?format=update HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    async with healthy_in(server) as arena:
        sockets = []
        for count in (1, 1, 50):  # one answer each, or many that were asked for at once
            lazy = socket.socket()
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect(("127.0.0.1", server.port))
            lazy.sendall(request * count)
            sockets.append(lazy)
        refused = 'collab_connections_refused_total{reason="bad_request"}'
        await until(lambda: server.metrics()[refused] == len(sockets), "all are cut")
        async with httpx.AsyncClient(base_url=server.http_url) as client:
            answer = await client.get("/v1/documents/large?format=update")
            assert len(answer.content) > 18_000_000
        for lazy in sockets:
            lazy.close()
        await arena.unharmed()
        assert "Traceback" not in server.log_text
