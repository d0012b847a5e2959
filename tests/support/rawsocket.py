"""A WebSocket client made of a blocking TCP socket: it can break every rule that a real client keeps."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def upgrade_request(path: str = "/", *, without: str = "", **changes: str) -> bytes:
    """A valid request head; ``changes`` set headers (underscores are dashes), ``without`` leaves one out."""
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    headers.pop(without, None)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = None,
    length: int | None = None,
    length_bytes: int | None = None,
) -> bytes:
    """One client frame. ``length`` lies about the size; ``length_bytes`` 0, 2 or 8 forces a form of it;
    ``mask`` b"" sends it unmasked."""
    mask = os.urandom(4) if mask is None else mask
    size = len(payload) if length is None else length
    form = length_bytes if length_bytes is not None else 0 if size < 126 else 2 if size < 65536 else 8
    short = {0: size, 2: 126, 8: 127}[form]
    head = bytes(((0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if mask else 0) | short))
    head += size.to_bytes(form, "big") if form else b""
    if not mask:
        return head + payload
    stream = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(payload), "big")
    return head + mask + masked


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return frame(8, b"" if code is None else code.to_bytes(2, "big") + reason)


@dataclass(frozen=True)
class Received:
    """One frame from the server."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int

    @property
    def close_code(self) -> int:
        """Of a close frame; 1005 when it has none."""
        assert self.opcode == 8, self
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


class Ended(Exception):  # noqa: N818  # it is no error that a connection ends
    """The server ended the connection."""


class RawSocket:
    """A connection to the server under test."""

    def __init__(
        self,
        port: int,
        *,
        timeout_s: float = 10.0,
        receive_buffer_bytes: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        plain = socket.socket()
        if receive_buffer_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        plain.settimeout(timeout_s)
        plain.connect(("127.0.0.1", port))
        self.socket: socket.socket = context.wrap_socket(plain) if context else plain
        self._pending = b""

    def __enter__(self) -> RawSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def read_head(self) -> str:
        """A response's head."""
        while b"\r\n\r\n" not in self._pending:
            self._fill()
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def upgrade(self, path: str = "/", *, pipelined: bytes = b"", without: str = "", **changes: str) -> str:
        """Do the handshake; returns the response's head."""
        self.send(upgrade_request(path, without=without, **changes) + pipelined)
        return self.read_head()

    def read_frame(self) -> Received:
        """The next frame. Raises ``Ended``."""
        first, second = self._take(2)
        size = second & 0x7F
        assert not second & 0x80, "a server must not mask"
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        return Received(first & 0xF, self._take(size), bool(first & 0x80), first >> 4 & 7)

    def read_close(self) -> int:
        """Skip to the close frame, then see the connection end; returns the code."""
        while (received := self.read_frame()).opcode != 8:
            pass
        self.read_end()
        return received.close_code

    def read_end(self) -> None:
        """See that nothing but the end comes."""
        try:
            rest = self._take(1)
        except Ended:
            return
        raise AssertionError(f"more than the end: {rest + self._pending!r}")

    def read_all(self) -> bytes:
        """Everything up to the end."""
        try:
            while True:
                self._fill()
        except Ended:
            taken, self._pending = self._pending, b""
            return taken

    def _take(self, size: int) -> bytes:
        while len(self._pending) < size:
            self._fill()
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken

    def _fill(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise Ended
        self._pending += data
