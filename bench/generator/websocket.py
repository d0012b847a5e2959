"""A WebSocket client that costs little: a bare ``asyncio.Protocol``.

A load generator holds thousands of these, so there is no task, no queue and no buffer to each of them. Frames
go out with a mask of zeros, which RFC 6455 section 5.3 allows and which saves the work of masking. A frame
that comes in whole is a slice of what the kernel gave; one that comes in pieces is joined once, at its end.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from typing import Final

_KEY: Final = base64.b64encode(os.urandom(16))
_ACCEPT: Final = base64.b64encode(
    hashlib.sha1(_KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
)
_HEAD_BYTES_MAX: Final = 16_384
_NO_MASK: Final = bytes(4)

OPCODE_CONTINUATION: Final = 0
OPCODE_BINARY: Final = 2
OPCODE_CLOSE: Final = 8
OPCODE_PING: Final = 9
OPCODE_PONG: Final = 10

CLOSED_ABNORMALLY: Final = 1006
HANDSHAKE_FAILED: Final = 0
"""Given to ``on_closed`` instead of a close code when there never was a WebSocket."""


def client_frame(payload: bytes, opcode: int = OPCODE_BINARY) -> bytes:
    """A whole message of a client as it goes on the wire."""
    size = len(payload)
    first = bytes((0x80 | opcode,))
    if size < 126:
        return b"".join((first, bytes((0x80 | size,)), _NO_MASK, payload))
    if size < 65_536:
        return b"".join((first, b"\xfe", size.to_bytes(2, "big"), _NO_MASK, payload))
    return b"".join((first, b"\xff", size.to_bytes(8, "big"), _NO_MASK, payload))


class WebSocketClient(asyncio.Protocol):
    """One connection. A subclass says what to do with what comes.

    ``on_message`` gets whole binary messages. One longer than ``keep_bytes_max`` is not kept: ``on_large``
    gets its size, when all of it has come.
    """

    __slots__ = (
        "_close_code", "_discarding", "_have", "_parts", "_want", "bytes_received", "is_open",
        "keep_bytes_max", "transport",
    )  # fmt: skip

    def __init__(self, keep_bytes_max: int = 1 << 62) -> None:
        self.keep_bytes_max = keep_bytes_max
        self.transport: asyncio.Transport | None = None
        self.is_open = False
        self.bytes_received = 0
        self._parts: list[bytes] | None = None
        self._have = 0
        self._want = 0
        self._discarding = 0
        """Size of the message that is not kept; 0 when there is none."""
        self._close_code = HANDSHAKE_FAILED

    # -- for the subclass

    def request_target(self) -> tuple[str, str]:
        """Host header and target (path and query) of the request."""
        raise NotImplementedError

    def on_open(self) -> None:
        """The server has agreed."""

    def on_message(self, message: bytes) -> None:
        """A binary message."""

    def on_large(self, size: int) -> None:
        """A message over ``keep_bytes_max`` has come, all of it."""

    def on_closed(self, code: int) -> None:
        """The connection is gone: a close code, 1006 without one, 0 when it never opened."""

    # -- what a client does

    def send(self, payload: bytes) -> int:
        """Send a message; the bytes that it takes on the wire, 0 when the connection is gone."""
        frame = client_frame(payload)
        return self.send_frame(frame)

    def send_frame(self, frame: bytes) -> int:
        """Send what ``client_frame`` made."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return 0
        transport.write(frame)
        return len(frame)

    def close(self) -> None:
        """Say goodbye."""
        if self.transport is not None and self.is_open:
            self._close_code = 1000
            self.send_frame(client_frame(b"\x03\xe8", OPCODE_CLOSE))
            self.transport.close()

    def cut(self) -> None:
        """End it without a word."""
        if self.transport is not None:
            self.transport.abort()

    # -- what the loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")  # noqa: S101
        self.transport = transport  # type: ignore[assignment]
        host, target = self.request_target()
        self.transport.write(  # type: ignore[union-attr]
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % (target.encode(), host.encode(), _KEY)
        )

    def connection_lost(self, error: Exception | None) -> None:
        """Pass it on, once."""
        self.transport = None
        self.is_open = False
        self._parts = None
        self.on_closed(self._close_code)

    def data_received(self, data: bytes) -> None:
        """Take what came apart."""
        self.bytes_received += len(data)
        parts = self._parts
        if parts is not None:
            self._have += len(data)
            if self._have < self._want:
                if not self._discarding:
                    parts.append(data)
                return
            if self._discarding:
                # Only the end of it belongs to the frame that is thrown away.
                rest = self._have - self._want
                self._parts = None
                size, self._discarding = self._discarding, 0
                self.on_large(size)
                if not rest:
                    return
                data = data[len(data) - rest :]
            else:
                parts.append(data)
                data = b"".join(parts)
                self._parts = None
        if not self.is_open:
            self._handshake(data)
            return
        self._frames(data)

    def _handshake(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > _HEAD_BYTES_MAX:
                self._fail()
                return
            self._parts, self._have, self._want = [data], len(data), len(data) + 1
            return
        head = data[:end]
        if not head.startswith(b"HTTP/1.1 101") or _ACCEPT not in head:
            self._fail()
            return
        self.is_open = True
        self._close_code = CLOSED_ABNORMALLY
        self.on_open()
        if len(data) > end + 4 and self.transport is not None:
            self._frames(data[end + 4 :])

    def _fail(self) -> None:
        self._close_code = HANDSHAKE_FAILED
        self.cut()

    def _frames(self, data: bytes) -> None:
        at, size = 0, len(data)
        while size - at >= 2:
            length = data[at + 1] & 0x7F
            start = at + 2
            if length >= 126:
                wide = 2 if length == 126 else 8
                if size - start < wide:
                    break
                length = int.from_bytes(data[start : start + wide], "big")
                start += wide
            end = start + length
            if end > size:
                self._wait_for(data[at:], end - at, length)
                return
            first = data[at]
            if first == 0x82:
                self.on_message(data[start:end])
            elif not self._unusual(first, data[start:end]):
                return
            at = end
            if self.transport is None:
                return
        if at < size:
            rest = data[at:]
            # Even the header is not complete: two bytes more are the least that can help.
            self._parts, self._have, self._want = [rest], len(rest), len(rest) + 1

    def _wait_for(self, rest: bytes, want: int, length: int) -> None:
        self._have, self._want = len(rest), want
        self._discarding = length if length > self.keep_bytes_max else 0
        self._parts = [] if self._discarding else [rest]

    def _unusual(self, first: int, payload: bytes) -> bool:
        """A frame that is not a whole binary message; False when nothing may follow."""
        opcode = first & 0x0F
        if opcode == OPCODE_PING:
            self.send_frame(client_frame(payload, OPCODE_PONG))
        elif opcode == OPCODE_CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self.send_frame(client_frame(payload[:2], OPCODE_CLOSE))
            if self.transport is not None:
                self.transport.close()
            self._close_code = code
            return False
        elif opcode != OPCODE_PONG:
            self.on_fragment(first, payload)
        return True

    def on_fragment(self, first: int, payload: bytes) -> None:
        """A part of a message, or a text. Servers of this field send neither; a subclass may join them."""
