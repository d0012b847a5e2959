"""A TCP proxy that breaks connections on purpose, between a program and its server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 1 << 16

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""What a client sends first that wants encryption (PostgreSQL protocol, "SSLRequest")."""


class TcpProxy:
    """Passes bytes on to a server on this machine, until it is told otherwise.

    ``stalled`` holds back everything (clear it to go on), ``refusing`` hangs up on new connections, and
    ``lose_reply_to`` names bytes: when a client sends them, the server gets them, and the connection is cut
    once the server has answered. ``latency_s`` and ``bytes_per_s`` make both directions slow. With ``tls`` it
    encrypts the clients' side as a PostgreSQL server would.
    """

    def __init__(self, server_port: int, tls: ssl.SSLContext | None = None) -> None:
        self._server_port = server_port
        self._tls = tls
        self.handshakes = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[_Link] = set()
        self.refusing = False
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None
        self.lose_reply_to: bytes | None = None
        self.replies_lost = 0
        self.port = 0

    @property
    def stalled(self) -> bool:
        return not self._flowing.is_set()

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        if stalled:
            self._flowing.clear()
        else:
            self._flowing.set()

    def cut(self) -> None:
        """End every connection at once."""
        for link in list(self._links):
            link.cut()

    def half_close(self, *, towards_server: bool) -> None:
        """Tell one side of every connection that the other has finished; the other direction goes on."""
        for link in list(self._links):
            link.half_close(towards_server=towards_server)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[TcpProxy]:
        """Listen on a free port for as long as the block lasts."""
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            self._flowing.set()
            self.cut()
            await asyncio.gather(*(link.ended.wait() for link in list(self._links)))
            await listener.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        if self._tls is not None and not await self._encrypt(reader, writer, self._tls):
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, up_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pass(link, reader, up_writer, from_client=True),
                self._pass(link, up_reader, writer, from_client=False),
            )
        finally:
            link.cut()
            self._links.discard(link)
            link.ended.set()

    async def _encrypt(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext
    ) -> bool:
        try:
            if await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(tls)
                self.handshakes += 1
                return True
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.transport.abort()
        return False

    async def _pass(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._slow_down(len(data))
                await self._flowing.wait()
                if from_client and self.lose_reply_to is not None and self.lose_reply_to in data:
                    self.lose_reply_to = None
                    link.loses_reply = True
                elif not from_client and link.loses_reply:
                    self.replies_lost += 1
                    break
                if not link.is_half_closed(writer):
                    writer.write(data)
                    await writer.drain()
        link.cut()

    async def _slow_down(self, size_bytes: int) -> None:
        pause_s = self.latency_s + (size_bytes / self.bytes_per_s if self.bytes_per_s else 0.0)
        if pause_s:
            await asyncio.sleep(pause_s)


class _Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, to_client: asyncio.StreamWriter, to_server: asyncio.StreamWriter) -> None:
        self._to_client = to_client
        self._to_server = to_server
        self._half_closed: asyncio.StreamWriter | None = None
        self.loses_reply = False
        self.ended = asyncio.Event()

    def half_close(self, *, towards_server: bool) -> None:
        self._half_closed = self._to_server if towards_server else self._to_client
        with suppress(OSError):
            self._half_closed.write_eof()

    def is_half_closed(self, writer: asyncio.StreamWriter) -> bool:
        return writer is self._half_closed

    def cut(self) -> None:
        for writer in (self._to_client, self._to_server):
            writer.transport.abort()
