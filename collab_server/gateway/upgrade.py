"""From uvicorn to sockets: the two protocol classes that uvicorn takes, and the home of all open sockets.

uvicorn owns the port. It is given ``http_protocol`` (see ``gateway.httpprotocol``) and ``ws_protocol``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState
from uvloop.loop import PseudoSocket  # type: ignore[attr-defined]  # missing in its stub

from collab_server.errors import BusyError, CloseCode, PeerError
from collab_server.gateway.handshake import HandshakeError, Request, http_error, read_upgrade
from collab_server.gateway.httpprotocol import HttpProtocol
from collab_server.gateway.keepalive import Keepalive
from collab_server.gateway.linger import Linger
from collab_server.gateway.observer import NullObserver, TransportObserver
from collab_server.gateway.parserend import feed
from collab_server.gateway.settings import TransportSettings
from collab_server.gateway.websocket import Socket, SocketHandler

HandlerFactory = Callable[[Request], SocketHandler]
"""Makes the owner of a new connection. May choose ``request.subprotocol``.

A ``PeerError`` is told to the client as a close code after the handshake, because a browser is not shown the
status of a refused upgrade."""

log = logging.getLogger(__name__)

_GROUP_S = 0.05
"""How far apart groups of clients are told to go elsewhere."""


class WebSocketServer:
    """All WebSocket connections of one uvicorn server.

    Give ``http_protocol`` and ``ws_protocol`` to ``uvicorn.Config(http=..., ws=...)``; ``await start()``
    before the first connection, in the loop that serves; ``await stop()`` at the end.
    """

    def __init__(
        self,
        handler_factory: HandlerFactory,
        settings: TransportSettings | None = None,
        observer: TransportObserver | None = None,
        on_gone: Callable[[Request], None] | None = None,
    ) -> None:
        """``on_gone`` is told of the end of each connection that ``handler_factory`` was asked about."""
        self.settings = settings or TransportSettings()
        self.observer: TransportObserver = observer or NullObserver()
        self.keepalive: Keepalive[Socket] = Keepalive(self.settings)
        self.loop: asyncio.AbstractEventLoop
        self._handler_factory = handler_factory
        self._on_gone = on_gone
        self._sweeper: asyncio.Task[None] | None = None
        self._leaving: PeerError | None = None
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self.http_protocol: type[asyncio.Protocol] = type("HeadProtocol", (HttpProtocol,), {"home": self})
        self.ws_protocol: type[asyncio.Protocol] = type(
            "UpgradeProtocol", (_UpgradeProtocol,), {"home": self}
        )

    @property
    def sockets(self) -> Iterator[Socket]:
        """The connections that are not yet gone; safe against changes meanwhile."""
        return iter(self.keepalive)

    def __len__(self) -> int:
        return len(self.keepalive)

    async def start(self) -> None:
        """Begin to sweep."""
        self.loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), name="websocket-keepalive")

    async def stop(self) -> None:
        """Stop sweeping and cut what is left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        for socket in self.sockets:
            socket.abort()
        await self.wait_closed()

    def close_all(self, code: int = CloseCode.SERVICE_RESTART, reason: str = "") -> None:
        """Begin to close every open socket. New ones are accepted as before."""
        for socket in self.sockets:
            socket.close(code, reason)

    def drain(self, code: CloseCode = CloseCode.SERVICE_RESTART, reason: str = "server is leaving") -> None:
        """Close every open socket, and every new one at once."""
        self._leaving = BusyError(reason, code)
        self.close_all(code, reason)

    def refuse_new(self, error: PeerError) -> None:
        """Close every new socket at once; those that are open go on."""
        self._leaving = error

    async def send_away(self, error: PeerError, *, over_s: float, min_per_s: float) -> None:
        """Close every new socket at once, and those that are open in groups, spread over ``over_s``.

        If that would be fewer than ``min_per_s`` a second, it is done sooner. Those who are in one room go
        together as far as that is known.
        """
        self.refuse_new(error)
        sockets = sorted(self.sockets, key=lambda socket: socket.request.path)
        group, pause_s = departure(len(sockets), over_s, min_per_s)
        for first in range(0, len(sockets), group):
            if first:
                await asyncio.sleep(pause_s)
            for socket in sockets[first : first + group]:
                socket.close(error.close_code, error.reason)

    async def wait_closed(self) -> None:
        """Wait until no connection is left."""
        await self._is_empty.wait()

    def forget(self, socket: Socket) -> None:
        """A connection is gone."""
        self.keepalive.discard(socket)
        if self._on_gone is not None:
            self._on_gone(socket.request)
        if not len(self.keepalive):
            self._is_empty.set()

    def accept(self, transport: asyncio.Transport, head: bytes, pipelined: bytes) -> asyncio.BaseProtocol:
        """Answer an upgrade request; returns the protocol that was set on the transport."""
        self.loop = asyncio.get_running_loop()
        peer = transport.get_extra_info("peername")
        try:
            upgrade = read_upgrade(
                head,
                remote_address=(str(peer[0]), int(peer[1]))
                if isinstance(peer, tuple) and len(peer) >= 2
                else None,
                is_secure=transport.get_extra_info("sslcontext") is not None,
                deflate=self.settings.deflate,
            )
        except HandshakeError as error:
            return self.refuse(transport, error.status, error.response, _nothing)
        if len(self.keepalive) >= 2 * self.settings.connections_max:
            status, reason = HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"
            return self.refuse(transport, status, http_error(status, reason, Retry_After="5"), _nothing)
        handler = self._make_handler(upgrade.request)
        transport.write(upgrade.response())
        socket = Socket(self, transport, upgrade.request, upgrade.agreement)
        self.keepalive.add(socket)
        self._is_empty.clear()
        protocol = socket.begin(handler, pipelined)
        upgrade.request.forget_head()
        _forget_names(transport)
        return protocol

    def refuse(
        self, transport: asyncio.Transport, status: HTTPStatus, response: bytes, on_lost: Callable[[], None]
    ) -> asyncio.BaseProtocol:
        """Answer with an HTTP error and end the connection; returns its last protocol."""
        self.observer.refused(status.value)
        transport.write(response)
        return Linger(transport, self.settings.close_timeout_s, on_lost)

    def _make_handler(self, request: Request) -> SocketHandler:
        if self._leaving is not None:
            self.observer.refused(self._leaving.close_code.value)
            return _Refused(self._leaving)
        if len(self.keepalive) >= self.settings.connections_max:
            self.observer.refused(CloseCode.OVERLOADED.value)
            return _Refused(BusyError("too many connections"))
        try:
            return self._handler_factory(request)
        except PeerError as error:
            return _Refused(error)
        except Exception:
            log.exception("the handler factory failed")
            return _Refused(PeerError("internal error"))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.keepalive.tick_s)
            self.keepalive.tick(self.loop.time())


def departure(count: int, over_s: float, min_per_s: float) -> tuple[int, float]:
    """How many of ``count`` clients are sent away at once, and the pause in seconds to the next group."""
    per_s = max(min_per_s, count / max(over_s, _GROUP_S))
    group = max(1, math.ceil(per_s * _GROUP_S))
    return group, group / per_s


def _forget_names(transport: asyncio.Transport) -> None:
    """Have uvloop's stand-in for a socket forget both addresses, which it keeps for good once asked."""
    stand_in: Any = transport.get_extra_info("socket")
    if isinstance(stand_in, PseudoSocket):
        stand_in.__init__(stand_in.family, stand_in.type, stand_in.proto, stand_in.fileno())


def _nothing() -> None:
    """For a connection that nobody waits for."""


class _Refused:
    """A handler that closes its socket at once."""

    def __init__(self, error: PeerError) -> None:
        self._error = error

    def on_open(self, socket: Socket) -> None:
        """Say why."""
        socket.close(self._error.close_code, self._error.reason)

    def on_binary(self, data: bytes) -> None:
        """Nothing is expected."""

    def on_text(self, text: str) -> None:
        """Nothing is expected."""

    def on_full(self) -> None:
        """Nothing waits."""

    def on_drained(self) -> None:
        """Nothing waits."""

    def on_close(self, code: int, clean: bool) -> None:  # as in SocketHandler
        """Nothing to give back."""


class _UpgradeProtocol(asyncio.Protocol):
    """What uvicorn's own HTTP protocol hands an upgrade to.

    With ``http_protocol`` in place it is not used: uvicorn's own has no bounds on the head and drops
    pipelined frames.
    """

    home: WebSocketServer

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._transport: asyncio.Transport
        self._next: asyncio.BaseProtocol | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the transport; uvicorn sets this protocol on it later."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The rebuilt request head; then, until the loop's next turn, perhaps first frames."""
        if self._next is None:
            self._next = self.home.accept(self._transport, data, b"")
            asyncio.get_running_loop().call_soon(self._step_aside)
        else:
            self._step_aside()
            feed(self._transport, data)

    def _step_aside(self) -> None:
        if self._next is not None and self._transport.get_protocol() is self:
            self._transport.set_protocol(self._next)
