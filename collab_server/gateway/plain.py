"""The plain dialect: one socket is one client in one room (y-websocket's own protocol).

Source: yjs/y-websocket ``src/y-websocket.js`` and yjs/y-protocols ``sync.js``, ``awareness.js``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote_to_bytes

import structlog

from collab_server.access.limits import Pace
from collab_server.errors import (
    CloseCode,
    FloodError,
    MalformedError,
    PeerError,
    SilentError,
    TooBigError,
)
from collab_server.gateway.handshake import Request
from collab_server.gateway.websocket import Socket
from collab_server.hosting.host import Host
from collab_server.hosting.registry import Registry
from collab_server.room.member import Member
from collab_server.telemetry.metrics import Kind, Metrics, Refusal
from collab_server.wire import sync
from collab_server.wire.awareness import EMPTY_PAYLOAD
from collab_server.wire.frame import Frame
from collab_server.wire.sync import PLAIN

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PlainSettings:
    """Bounds of one connection."""

    frame_bytes_max: int = 16 * 1024 * 1024
    room_name_bytes_max: int = 512
    message_rate_max_per_s: float = 1_000
    message_burst_max: float = 20_000
    message_flood_max_s: float = 10
    silence_timeout_s: float = 30
    keepalive_s: float = 20


def room_name(path: str, bytes_max: int) -> str:
    """The room that a request path names: everything after the first slash, percent-decoded.

    Raises MalformedError for an empty name, one over ``bytes_max``, invalid UTF-8, or a NUL character.
    """
    raw = unquote_to_bytes(path.partition("?")[0].removeprefix("/"))
    if not raw:
        raise MalformedError("the path names no room")
    if len(raw) > bytes_max:
        raise MalformedError(f"a room's name has at most {bytes_max} bytes")
    try:
        name = raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a room's name is UTF-8") from error
    if "\0" in name:
        raise MalformedError("a room's name has no NUL character")
    return name


class PlainGateway:
    """Makes a session for each socket, and looks after opening, silence and keep-alive."""

    def __init__(
        self,
        registry: Registry,
        settings: PlainSettings,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``clock`` is the event loop's; ``stopwatch`` goes on inside a turn of it. Both in seconds."""
        self.registry = registry
        self.settings = settings
        self.metrics = metrics
        self.clock = clock
        self.stopwatch = stopwatch
        self.sessions: set[PlainSession] = set()
        self.silent: dict[PlainSession, float] = {}
        """Sessions that have not said anything yet, oldest first, with the time at which they came."""
        self._openings: set[asyncio.Task[None]] = set()
        self._next_member_id = 0

    def session(self, request: Request) -> PlainSession:
        """A handler for a new socket."""
        return PlainSession(self, request)

    def next_member_id(self) -> int:
        """An id that no other member on this node has."""
        self._next_member_id += 1
        return self._next_member_id

    def open(self, session: PlainSession, socket: Socket) -> asyncio.Task[None]:
        """Start to bring a session into its room."""
        task = asyncio.get_running_loop().create_task(session.enter(socket))
        self._openings.add(task)
        task.add_done_callback(self._opened)
        return task

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._openings.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session could not enter its room", exc_info=error)

    async def run(self) -> None:
        """Close those who say nothing, keep the others connected with a data frame. Until cancelled.

        The stable y-websocket provider reconnects after 30 s without a data frame
        (``messageReconnectTimeout``).
        """
        turns = 0
        keepalive_turns = max(1, int(self.settings.keepalive_s / 2))
        while True:
            await asyncio.sleep(1)
            turns += 1
            self._close_silent(self.clock())
            if turns % keepalive_turns == 0:
                for session in list(self.sessions):
                    session.keep_alive()

    def _close_silent(self, now: float) -> None:
        for session, since in list(self.silent.items()):
            if now - since < self.settings.silence_timeout_s:
                return
            session.close(SilentError("said nothing"))
            self.silent.pop(session, None)

    async def close(self) -> None:
        """Stop bringing sessions in. Their sockets are the transport's to close."""
        for task in self._openings:
            task.cancel()
        await asyncio.gather(*self._openings, return_exceptions=True)


class PlainSession:
    """One socket of the plain dialect, and its member's peer."""

    __slots__ = (
        "_closed", "_gateway", "_goodbye", "_held_back", "_host", "_is_full", "_rate", "_room", "_sent",
        "_socket", "_waiting", "_waiting_bytes", "member", "request",
    )  # fmt: skip

    member: Member

    def __init__(self, gateway: PlainGateway, request: Request) -> None:
        self.request = request
        self._gateway = gateway
        self._socket: Socket | None = None
        self._host: Host | None = None
        self._room = ""
        self._closed = False
        self._goodbye = False
        self._held_back = False
        self._is_full = False
        self._sent = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        settings = gateway.settings
        self._rate = Pace(settings.message_rate_max_per_s, settings.message_burst_max, gateway.clock())

    # -- what the socket says

    def on_open(self, socket: Socket) -> None:
        """Start to open the room; what arrives meanwhile waits, in the kernel as far as possible."""
        self._socket = socket
        gateway = self._gateway
        try:
            self._room = room_name(self.request.path, gateway.settings.room_name_bytes_max)
        except MalformedError:
            gateway.metrics.count_refused(Refusal.ROOM_NAME)
            raise
        gateway.sessions.add(self)
        gateway.silent[self] = gateway.clock()
        socket.pause_reading()
        gateway.open(self, socket)

    async def enter(self, socket: Socket) -> None:
        """Open the room, join it, and catch up with what the client said meanwhile."""
        query = parse_qs(self.request.query)
        self.member = Member(
            id=self._gateway.next_member_id(),
            can_write=True,
            wants_echo=query.get("echo", ["false"])[-1] == "true",
            user_id=None,
            framing=PLAIN,
        )
        try:
            async with self._gateway.registry.opened(self._room) as host:
                host.attach(self)
                self._host = host
                try:
                    if self._is_full:
                        host.peer_full(self)
                    # A client that wrote and left at once has left its edits here: they count.
                    while self._waiting:
                        self._receive(host, self._waiting.popleft())
                finally:
                    if self._closed:
                        host.detach(self, goodbye=self._goodbye)
                if not self._closed and not self._held_back:
                    socket.resume_reading()
        except PeerError as error:
            if self._host is None and error.close_code in _REFUSALS:
                self._gateway.metrics.count_refused(_REFUSALS[error.close_code])
            self.close(error)
        except Exception:  # whatever it is, a socket that is never read again must not stay
            log.exception("a session could not enter its room")
            self.close(PeerError("internal error"))
        finally:
            self._waiting.clear()

    def on_binary(self, data: bytes) -> None:
        """Take one frame. Raises PeerError."""
        gateway = self._gateway
        gateway.silent.pop(self, None)
        self._pace()
        host = self._host
        if host is None:
            self._waiting_bytes += len(data)
            if self._waiting_bytes > 2 * gateway.settings.frame_bytes_max:
                raise TooBigError("too much before the room was open")
            self._waiting.append(data)
            return
        if len(data) < _WEIGHED_FROM_BYTES:
            self._receive(host, data)
        else:
            self._receive_weighed(host, data)

    def on_text(self, text: str) -> None:
        """Ignored: the dialect has no text frames, and y_crdt's JSON ping is harmless."""
        self._gateway.silent.pop(self, None)
        self._pace()

    def on_full(self) -> None:
        """The socket is over its high-water mark."""
        self._is_full = True
        if self._host is not None:
            self._host.peer_full(self)

    def on_drained(self) -> None:
        """The socket has room again."""
        self._is_full = False
        if self._host is not None and not self._closed:
            self._host.peer_drained(self)

    def on_close(self, code: int, clean: bool) -> None:
        """The socket is gone."""
        self._closed = True
        self._goodbye = clean
        gateway = self._gateway
        gateway.sessions.discard(self)
        gateway.silent.pop(self, None)
        if self._host is not None:
            self._host.detach(self, goodbye=clean)

    # -- what the room says

    @property
    def is_full(self) -> bool:
        """Whether the socket's buffer is over its high-water mark."""
        return self._is_full

    def send(self, frame: Frame) -> None:
        """Queue a frame."""
        if self._socket is not None and not self._closed:
            self._sent = True
            self._socket.send(frame)

    def close(self, error: PeerError) -> None:
        """Close the socket with the error's code."""
        if self._socket is not None and not self._closed:
            self._socket.close(error.close_code, error.reason)

    def keep_alive(self) -> None:
        """Send an empty awareness frame if nothing was sent since the last turn."""
        if not self._sent and self._host is not None and not self._is_full:
            self.send(_KEEPALIVE)
            self._gateway.metrics.sent[Kind.KEEPALIVE].add(len(EMPTY_PAYLOAD))
        self._sent = False

    # -- inside

    def _pace(self, amount: float = 1.0) -> None:
        """Count a message. Who is too fast is read more slowly, and closed when that goes on."""
        gateway = self._gateway
        now = gateway.clock()
        if self._rate.take(now, amount) == 0.0:
            return
        if self._rate.strained_s(now) > gateway.settings.message_flood_max_s:
            raise FloodError("too many messages")
        if not self._held_back and self._socket is not None:
            self._held_back = True
            self._socket.pause_reading()
            self._read_on_when_paid()

    def _read_on_when_paid(self) -> None:
        wait_s = self._rate.strained_until - self._gateway.clock()
        if self._closed or self._socket is None:
            return
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._read_on_when_paid)
            return
        self._held_back = False
        if self._host is not None:
            self._socket.resume_reading()

    def _receive_weighed(self, host: Host, data: bytes) -> None:
        """Take a large message, and count it as more than one if it made everybody else wait for long."""
        began = self._gateway.stopwatch()
        self._receive(host, data)
        took_ms = (self._gateway.stopwatch() - began) * 1000
        if took_ms > 1.0:
            self._pace(took_ms * _MESSAGES_PER_MS)

    def _receive(self, host: Host, data: bytes) -> None:
        message = sync.decode(data)
        received = self._gateway.metrics.received
        size_bytes = len(data)
        match message:
            case sync.Update(update):
                received[Kind.UPDATE].add(size_bytes)
                host.receive_update(self, update)
            case sync.Awareness(payload):
                received[Kind.AWARENESS].add(size_bytes)
                host.receive_awareness(self, payload)
            case sync.SyncStep1(state_vector):
                received[Kind.SYNC_STEP_1].add(size_bytes)
                host.receive_step1(self, state_vector)
            case sync.SyncStep2(update):
                received[Kind.SYNC_STEP_2].add(size_bytes)
                host.receive_update(self, update, is_answer=True)
            case sync.QueryAwareness():
                received[Kind.QUERY_AWARENESS].add(size_bytes)
                host.receive_query_awareness(self)
            case sync.SyncStatus(payload):
                received[Kind.SYNC_STATUS].add(size_bytes)
                host.receive_sync_status(self, payload)
            case _:
                # The reference server ignores what it does not know (y-websocket-server ``src/utils.js``).
                received[Kind.UNKNOWN].add(size_bytes)


# What is over a bound is counted where the bound is.
_REFUSALS = {
    CloseCode.SERVICE_RESTART: Refusal.DRAINING,
    CloseCode.DELETED: Refusal.DELETED,
    CloseCode.STORE_UNAVAILABLE: Refusal.STORE,
}
_WEIGHED_FROM_BYTES = 16 * 1024
_MESSAGES_PER_MS = 10
"""What a millisecond of work counts as: at the default rate a connection gets a tenth of the node's time."""
_KEEPALIVE = PLAIN.awareness(EMPTY_PAYLOAD)
