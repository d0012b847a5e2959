"""One socket, whatever is spoken on it: its pace, its silence, and what waits to be sent on it."""

from __future__ import annotations

import asyncio

from collab_server.access.limits import Pace
from collab_server.access.traffic import NOBODY, Purse
from collab_server.errors import FloodError, PeerError
from collab_server.gateway.handshake import Request
from collab_server.gateway.lobby import Lobby
from collab_server.gateway.websocket import Socket
from collab_server.wire.frame import Frame


class Connection:
    """The handler of one socket (``gateway.websocket.SocketHandler``). A dialect derives its own from it."""

    __slots__ = (
        "_held_back", "_rate", "_sent", "caller", "idle_turns", "is_closed", "is_ending", "is_full", "lobby",
        "purse", "request", "socket", "wrote",
    )  # fmt: skip

    def __init__(self, lobby: Lobby, request: Request) -> None:
        self.lobby = lobby
        self.request = request
        address = request.remote_address
        self.caller = request.caller or lobby.callers.caller(
            address[0] if address else None, request.headers.all
        )
        self.socket: Socket | None = None
        self.is_closed = False
        self.is_ending = False
        """Whether nothing that the client says counts any more."""
        self.is_full = False
        """Whether the socket's buffer is over its high-water mark."""
        self.wrote = False
        """Whether an edit came since the last turn of the keep-alive."""
        self.idle_turns = 0
        """How many turns of the keep-alive ago an edit came, or the connection began."""
        self._held_back = False
        self._sent = False
        self.purse = lobby.traffic.of_connection(self.caller)
        """What the messages of this socket are paid from, besides its own pace."""
        settings = lobby.settings
        self._rate = Pace(settings.message_rate_max_per_s, settings.message_burst_max, lobby.clock())

    # -- what a dialect says

    def begin(self, socket: Socket) -> None:
        """The socket is open. Raises PeerError to close it at once."""
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Take one frame. Raises PeerError to close the socket."""
        raise NotImplementedError

    @property
    def may_read(self) -> bool:
        """Whether the dialect takes more frames now."""
        raise NotImplementedError

    def filled(self) -> None:
        """The socket is over its high-water mark."""
        raise NotImplementedError

    def drained(self) -> None:
        """The socket has room again."""
        raise NotImplementedError

    def ended(self, *, goodbye: bool) -> None:
        """The socket is gone; ``goodbye`` if the client closed it in order."""
        raise NotImplementedError

    def keepalive_frame(self) -> Frame | None:
        """A frame that the client takes to no effect; None if there is none for it now."""
        raise NotImplementedError

    # -- what the socket says

    def on_open(self, socket: Socket) -> None:
        """The handshake is done."""
        self.socket = socket
        self.begin(socket)
        self.lobby.connections.add(self)

    def on_binary(self, data: bytes) -> None:
        """Take one frame. Raises PeerError."""
        lobby = self.lobby
        lobby.silent.pop(self, None)
        self.pace()
        if len(data) < _WEIGHED_FROM_BYTES:
            self.receive(data)
            return
        # A large message counts as more than one if it made everybody else wait for long.
        began = lobby.stopwatch()
        self.receive(data)
        took_ms = (lobby.stopwatch() - began) * 1000
        if took_ms > 1.0:
            self.pace(took_ms * _MESSAGES_PER_MS)

    def on_text(self, text: str) -> None:
        """Ignored: neither dialect has text frames, and y_crdt's JSON ping is harmless."""
        self.lobby.silent.pop(self, None)
        self.pace()

    def on_full(self) -> None:
        """The socket is over its high-water mark."""
        self.is_full = True
        self.filled()

    def on_drained(self) -> None:
        """The socket has room again."""
        self.is_full = False
        if not self.is_closed:
            self.drained()

    def on_close(self, code: int, clean: bool) -> None:  # as in SocketHandler
        """The socket is gone."""
        self.is_closed = self.is_ending = True
        lobby = self.lobby
        lobby.connections.discard(self)
        lobby.silent.pop(self, None)
        lobby.unauthenticated.pop(self, None)
        self.ended(goodbye=clean)

    # -- what sessions and the lobby do

    def send(self, frame: Frame) -> None:
        """Queue a frame."""
        socket = self.socket
        if socket is not None and not self.is_closed:
            self._sent = True
            socket.send(frame)

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close it."""
        return self.socket is not None and not self.is_closed and self.socket.is_open

    def close(self, error: PeerError) -> None:
        """Close the socket with the error's code."""
        self.is_ending = True
        if self.socket is not None and not self.is_closed:
            self.socket.close(error.close_code, error.reason)

    def keep_alive(self) -> None:
        """Send a small frame if nothing was sent since the last turn."""
        self.idle_turns = 0 if self.wrote else self.idle_turns + 1
        self.wrote = False
        if not self._sent and not self.is_full and (frame := self.keepalive_frame()) is not None:
            self.send(frame)
        self._sent = False

    def pace(self, amount: float = 1.0) -> None:
        """Count a message. Who is too fast is read more slowly, and closed when that goes on."""
        lobby = self.lobby
        now = lobby.clock()
        hold_back_s = self._rate.take(now, amount)
        if self.purse is not NOBODY:
            hold_back_s = max(hold_back_s, self.purse.pay(now, amount))
        if hold_back_s > 0.0:
            self._hold_back(self.purse, now, hold_back_s)

    def charge(self, purse: Purse) -> None:
        """Count a message for those who pay for a part of what this socket brings."""
        if purse is NOBODY:
            return
        now = self.lobby.clock()
        hold_back_s = purse.pay(now)
        if hold_back_s > 0.0:
            self._hold_back(purse, now, hold_back_s)

    def read_on(self) -> None:
        """Go on reading, unless the client is held back or the dialect takes nothing now."""
        if self.socket is not None and not self.is_closed and not self._held_back and self.may_read:
            self.socket.resume_reading()

    def _hold_back(self, purse: Purse, now: float, for_s: float) -> None:
        flood_max_s = self.lobby.settings.message_flood_max_s
        strained_s = max(self._rate.strained_s(now), purse.strained_s(now))
        if strained_s > flood_max_s:
            raise FloodError("too many messages")
        if self._held_back or self.socket is None:
            return
        self._held_back = True
        self.lobby.metrics.reads_paused.inc()
        self.socket.pause_reading()
        # Who has more to say when it has been held back for so long is a flood, however much it owes still.
        asyncio.get_running_loop().call_later(min(for_s, flood_max_s), self._let_go)

    def _let_go(self) -> None:
        self._held_back = False
        self.read_on()


_WEIGHED_FROM_BYTES = 16 * 1024
_MESSAGES_PER_MS = 10
"""What a millisecond of work counts as: at the default rate a connection gets a tenth of the node's time."""
