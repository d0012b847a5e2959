"""The far side of a picows protocol: what picows takes for its transport, and what sends nothing.

So picows is a parser only. What it would tell the peer about a broken frame is told to the socket instead.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

_HEAD: Final = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def feed(transport: asyncio.Transport, data: bytes) -> None:
    """Hand bytes to a transport's buffered protocol as the transport would; it may change meanwhile.

    What is left when it is no buffered one any more (the connection is ending) is dropped.
    """
    at = 0
    while at < len(data) and isinstance(protocol := transport.get_protocol(), asyncio.BufferedProtocol):
        at += _put(protocol, data, at)


def open_parser(protocol: Any, end: ParserEnd) -> None:
    """Bring a new picows protocol past its handshake; the real one is judged in ``handshake``."""
    protocol.connection_made(end)
    _put(protocol, _HEAD, 0)
    # picows keeps the made-up request and its answer; 1.3 KiB of headers that nobody reads.
    protocol.transport.request.headers = protocol.transport.response.headers = None


def _put(protocol: asyncio.BufferedProtocol, data: bytes, at: int) -> int:
    room = memoryview(protocol.get_buffer(-1))
    size = min(len(room), len(data) - at)
    room[:size] = data[at : at + size]
    protocol.buffer_updated(size)
    return size


class FailingSocket(Protocol):
    """Who is told of a broken frame."""

    def parser_failed(self, code: int, reason: str) -> None:
        """The close frame that picows would send."""


class ParserEnd(asyncio.Transport):
    """What a picows protocol takes for its transport; no byte of picows goes to the peer as it is."""

    __slots__ = ("socket",)

    def __init__(self) -> None:
        self.socket: FailingSocket | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """A stand-in for the socket, and for ``ssl_object``, so that picows never sends by itself."""
        return _NO_TCP if name in {"socket", "ssl_object"} else default

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The 101 answer to ``_HEAD`` (dropped), or a close frame because of a broken frame."""
        if self.socket is not None:
            payload = bytes(data)[2:]
            self.socket.parser_failed(
                int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")
            )

    def close(self) -> None:
        """Picows wants to end a connection with a broken frame; that is ended by the socket."""

    def abort(self) -> None:
        """The same."""


class _NoTcp:
    """Takes socket options and forgets them; uvloop has set TCP_NODELAY on the real one."""

    def setsockopt(self, *_: int) -> None:
        """Nothing."""

    def getsockopt(self, *_: int) -> int:
        """Nothing is set."""
        return 0

    def fileno(self) -> int:
        """No descriptor."""
        return -1


class _Silent:
    """A logger for picows: a hostile frame is not an error of this server.

    It is no ``logging.Logger``, because picows would make a child of that for each connection.
    """

    def isEnabledFor(self, _level: int) -> bool:  # noqa: N802  # the logger's name for it
        """Never."""
        return False

    def log(self, *_: object, **__: object) -> None:
        """Nothing."""

    debug = info = warning = error = exception = log


_NO_TCP: Final = _NoTcp()
SILENT: Final = _Silent()
