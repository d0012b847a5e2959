"""The plain dialect: one socket is one client in one room (y-websocket's own protocol).

Source: yjs/y-websocket ``src/y-websocket.js`` and yjs/y-protocols ``sync.js``, ``awareness.js``.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from collab_server.access.credentials import bearer, subprotocol_for
from collab_server.access.identity import Admission
from collab_server.errors import (
    BusyError,
    CloseCode,
    MalformedError,
    NotAuthenticatedError,
    PeerError,
    RefusedError,
    TooBigError,
)
from collab_server.gateway.connection import Connection
from collab_server.gateway.handshake import Request
from collab_server.gateway.lobby import Lobby
from collab_server.gateway.routing import room_of_path
from collab_server.gateway.sessions import Dialect
from collab_server.gateway.stay import Stay
from collab_server.gateway.websocket import Socket
from collab_server.hosting.host import Host
from collab_server.room.member import Member
from collab_server.telemetry.metrics import Kind, Refusal
from collab_server.wire import sync
from collab_server.wire.awareness import EMPTY_PAYLOAD
from collab_server.wire.frame import Frame
from collab_server.wire.sync import PLAIN


class PlainConnection(Connection):
    """One socket of the plain dialect. It authenticates at once, with a token of its request."""

    __slots__ = ("_session", "_waiting_bytes")

    def __init__(self, lobby: Lobby, request: Request) -> None:
        super().__init__(lobby, request)
        request.subprotocol = subprotocol_for(request.subprotocols)
        self._session: PlainSession | None = None
        self._waiting_bytes = 0

    def begin(self, socket: Socket) -> None:
        """Start to open the room; what arrives meanwhile waits, in the kernel as far as possible."""
        lobby, request = self.lobby, self.request
        try:
            room = room_of_path(request.path, lobby.settings.room_name_bytes_max)
        except MalformedError:
            lobby.metrics.count_refused(Refusal.ROOM_NAME)
            raise
        lobby.silent[self] = lobby.clock()
        socket.pause_reading()
        self._session = PlainSession(self, room)
        lobby.spawn(self._session.enter(bearer(request.headers, request.query)))

    def receive(self, data: bytes) -> None:
        """Take one frame, or keep it until the room is open."""
        session = self._session
        if session is None:
            return
        host = session.host
        if host is not None:
            self.charge(session.purse)
            session.receive(host, data, 0)
            return
        self._waiting_bytes += len(data)
        if self._waiting_bytes > 2 * self.lobby.settings.frame_bytes_max:
            raise TooBigError("too much before the room was open")
        session.keep_waiting(data, 0)

    @property
    def may_read(self) -> bool:
        """Once the room is open."""
        return self._session is not None and self._session.host is not None

    def filled(self) -> None:
        """Hold back what the room has to say."""
        if self._session is not None and self._session.host is not None:
            self._session.host.peer_full(self._session)

    def drained(self) -> None:
        """Bring the client up to date."""
        if self._session is not None and self._session.host is not None:
            self._session.host.peer_drained(self._session)

    def ended(self, *, goodbye: bool) -> None:
        """The client is gone."""
        session, self._session = self._session, None  # or the pair would wait for the garbage collector
        if session is not None:
            session.leave(goodbye=goodbye)

    def keepalive_frame(self) -> Frame | None:
        """An empty awareness frame, once the room is open."""
        if not self.may_read:
            return None
        self.lobby.metrics.sent[Kind.KEEPALIVE].add(len(EMPTY_PAYLOAD))
        return _KEEPALIVE


class PlainSession(Stay):
    """The one client of a plain socket."""

    __slots__ = ("_was_denied",)

    dialect = Dialect.PLAIN

    def __init__(self, connection: PlainConnection, room: str) -> None:
        super().__init__(connection, room)
        self._was_denied = False

    def make_member(self, admission: Admission) -> Member:
        """A member with the plain framing; ``?echo=true`` asks for its own edits back."""
        query = parse_qs(self.connection.request.query)
        return self.new_member(admission, PLAIN, wants_echo=query.get("echo", ["false"])[-1] == "true")

    def attach(self, host: Host) -> None:
        """Join; the host greets with our step 1 and who is here."""
        host.attach(self)

    def entered(self) -> None:
        """Read on."""
        self.connection.read_on()

    def refuse(self, error: PeerError) -> None:
        """There is nothing else on this socket: close it."""
        self.close(error)

    def close(self, error: PeerError) -> None:
        """Say that permission is denied, where that is the reason, and close the socket."""
        if isinstance(error, NotAuthenticatedError | RefusedError) and not self.is_over:
            self.send(PLAIN.permission_denied(error.reason))
        self.bar()
        self.connection.close(error)

    def send_letter(self, frame: Frame) -> bool:
        """This dialect has no such frames."""
        return False

    def receive(self, host: Host, frame: bytes, at: int) -> None:
        """Take one frame. Raises PeerError."""
        message = sync.decode(frame)
        received = self.connection.lobby.metrics.received
        size_bytes = len(frame)
        match message:
            case sync.Update(update):
                self.connection.wrote = True
                received[Kind.UPDATE].add(size_bytes)
                try:
                    host.receive_update(self, update)
                except RefusedError as error:
                    # It shows its user what nobody else has: it must drop its view and sync again.
                    self.send(PLAIN.permission_denied(error.reason))
                    raise BusyError(f"reset: {error.reason}", CloseCode.RESET) from error
            case sync.Awareness(payload):
                received[Kind.AWARENESS].add(size_bytes)
                host.receive_awareness(self, payload)
            case sync.SyncStep1(state_vector):
                received[Kind.SYNC_STEP_1].add(size_bytes)
                host.receive_step1(self, state_vector)
            case sync.SyncStep2(update):
                received[Kind.SYNC_STEP_2].add(size_bytes)
                try:
                    host.receive_update(self, update, is_answer=True)
                except RefusedError as error:
                    # It would send the same with each reconnect: a close would begin a loop without end.
                    if not self._was_denied:
                        self._was_denied = True
                        self.send(PLAIN.permission_denied(error.reason))
            case sync.QueryAwareness():
                received[Kind.QUERY_AWARENESS].add(size_bytes)
                host.receive_query_awareness(self)
            case sync.SyncStatus(payload):
                received[Kind.SYNC_STATUS].add(size_bytes)
                host.receive_sync_status(self, payload)
            case _:
                # The reference server ignores what it does not know (y-websocket-server ``src/utils.js``).
                received[Kind.UNKNOWN].add(size_bytes)


_KEEPALIVE = PLAIN.awareness(EMPTY_PAYLOAD)
