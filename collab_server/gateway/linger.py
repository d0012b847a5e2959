"""The last moments of a connection: everything is said, and what the peer still sends is thrown away.

Closing a TCP socket that holds unread bytes resets the connection, and a reset can destroy our last words
(a close frame, an HTTP error) before the peer has read them. So only our direction is ended, and the peer's
end is awaited for a bounded time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_TLS_LINGER_S: Final = (
    0.5  # TLS cannot end one direction only, so the peer gets this long to read our last words
)


class Linger(asyncio.Protocol):
    """Takes over a transport: drops what comes, ends with the peer, cuts after ``timeout_s``.

    ``on_lost`` is called once, when the connection is gone.
    """

    __slots__ = ("_on_lost", "_timer")

    def __init__(self, transport: asyncio.Transport, timeout_s: float, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(timeout_s, transport.abort)
        transport.set_protocol(self)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            loop.call_later(min(_TLS_LINGER_S, timeout_s), transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._timer.cancel()
        self._on_lost()
