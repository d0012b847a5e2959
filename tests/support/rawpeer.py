"""WebSocket frames on a bare asyncio connection, for what no proper client library would send to a room."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    payload: bytes, opcode: int = BINARY, *, fin: bool = True, rsv1: bool = False, masked: bool = True
) -> bytes:
    """One frame of a client. The mask is zero, which leaves the payload readable."""
    head = bytes([(0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", len(payload))
    return head + (b"\0\0\0\0" if masked else b"") + payload


class RawPeer:
    """A TCP connection; ``upgrade`` makes it a WebSocket whose frames the test writes itself."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._host, self._port = parts.hostname, parts.port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    async def request(self, target: str, **changed: str | None) -> bytes:
        """Send an upgrade request with some headers changed (None: left out); the head of the answer.

        Empty when the server just closed.
        """
        headers: dict[str, str | None] = {
            "Host": f"{self._host}:{self._port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        headers.update({name.replace("_", "-"): value for name, value in changed.items()})
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        self.writer.write("\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode())
        return await self.head()

    async def head(self) -> bytes:
        """Read the head of an HTTP answer; empty when the server just closed."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""

    async def upgrade(self, room: str, **headers: str) -> Self:
        """Become a WebSocket in a room."""
        answer = await self.request(f"/{room}", **headers)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        return self

    async def send(self, *frames: bytes) -> None:
        """Write bytes as they are."""
        for data in frames:
            self.writer.write(data)
            await self.writer.drain()

    async def send_message(self, payload: bytes) -> None:
        """Send one binary message in one frame."""
        await self.send(frame(payload))

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame; raises IncompleteReadError at the end."""
        first, second = await self.reader.readexactly(2)
        size = second & 127
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 15, await self.reader.readexactly(size)

    async def receive_message(self, beginning: bytes, timeout_s: float = 20) -> bytes:
        """The next message that begins with these bytes."""
        async with asyncio.timeout(timeout_s):
            while True:
                opcode, payload = await self.receive()
                if opcode == BINARY and payload.startswith(beginning):
                    return payload

    async def close_code(self, timeout_s: float = 20) -> int:
        """Read until the server closes; its code, 1005 for none, 1006 when the connection just ended."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    opcode, payload = await self.receive()
                except (asyncio.IncompleteReadError, ConnectionError):
                    return 1006
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
