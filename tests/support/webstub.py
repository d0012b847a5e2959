"""A web server for tests, which answers what it is told to: late, too much, broken, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Answer = Callable[["Asked"], Awaitable[bytes]]
"""Makes the whole answer, status line included; empty closes the connection without one."""


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class WebStub:
    """What it answers can be changed at any time; ``asked`` is all that it was asked."""

    url: str = ""
    answer: Answer | bytes = b""
    asked: list[Asked] = field(default_factory=list)
    waiting: int = 0
    """Requests that it has not answered yet."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._serve_one(reader, writer):
                pass

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(method, path, headers, body)
        self.asked.append(asked)
        self.waiting += 1
        answer = self.answer
        try:
            sent = answer if isinstance(answer, bytes) else await answer(asked)
        finally:
            self.waiting -= 1
        writer.write(sent)
        await writer.drain()
        return bool(sent)


def reply(body: bytes | object, status: str = "200 OK", **headers: str) -> bytes:
    """An answer: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def never(_: Asked) -> bytes:
    """No answer at all."""
    await asyncio.Event().wait()
    return b""


@contextlib.asynccontextmanager
async def web_stub(answer: Answer | bytes = b"", port: int = 0) -> AsyncIterator[WebStub]:
    """A stub that listens on loopback."""
    stub = WebStub(answer=answer)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await stub.serve(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def on_connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(on_connected, "127.0.0.1", port)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield stub
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
