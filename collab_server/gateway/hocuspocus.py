"""The multiplexed dialect: one socket, many documents, each let in by itself (the Hocuspocus protocol).

Source: ueberdosis/hocuspocus, ``packages/server/src/ClientConnection.ts`` and ``MessageReceiver.ts`` for what
a server does, ``packages/provider/src`` of versions 2 to 4 for what providers expect. Of that:

- Our step 1 goes out once for each step 1 of the client, behind the answer to it, and not on joining: the
  provider counts one acknowledgement for each round (``resetUnsyncedChanges``).
- Providers before version 3, and the Dart one, throw at a Close, and only version 4 tells its version. So a
  refusal is told as "permission denied", which all of them know, and a Close goes with it to those that are
  known to take it.
- What only a new round can heal (the room had to be opened again, the store is away) closes the socket: no
  provider begins a new round for a single document. One that cannot be entered just now waits for that
  until no other document of its socket is left, so that a crowded room does not take the others along.
- A Close is not answered: a provider that is destroyed and made again would take the answer for its own.
"""

from __future__ import annotations

from collab_server.access.credentials import bearer, subprotocol_for
from collab_server.errors import MalformedError, PeerError, TooBigError
from collab_server.gateway.document import DocumentConnection, DocumentSession
from collab_server.gateway.handshake import Request
from collab_server.gateway.lobby import Lobby
from collab_server.gateway.routing import room_name
from collab_server.gateway.websocket import Socket
from collab_server.telemetry.metrics import Kind, Refusal
from collab_server.wire import hocuspocus, sync
from collab_server.wire.awareness import EMPTY_PAYLOAD
from collab_server.wire.frame import Frame
from collab_server.wire.hocuspocus import AddressedFraming


class MultiplexedConnection(DocumentConnection):
    """One socket of the multiplexed dialect: its documents by their addresses."""

    __slots__ = (
        "_address", "_closed", "_documents", "_is_crowded", "_knows_close", "_queued_bytes", "_queued_count",
        "_tokenless", "_undecided", "token",
    )  # fmt: skip

    def __init__(self, lobby: Lobby, request: Request) -> None:
        super().__init__(lobby, request)
        request.subprotocol = subprotocol_for(request.subprotocols)
        self.token = bearer(request.headers, request.query)
        self._documents: dict[bytes, DocumentSession] = {}
        self._closed: dict[bytes, PeerError | None] = {}
        """Documents that this client was sent away from, oldest first: it may go on to speak of them. With an
        error, which says when to come back, where it is worth to try again."""
        self._address: bytes | None = None
        """The document that the client was in last: for a keep-alive while it is in none."""
        self._knows_close = False
        self._queued_bytes = 0
        self._queued_count = 0
        self._tokenless = 0
        """Documents that the client has spoken of, but not asked to be let in."""
        self._undecided = 0
        """Documents that the gatekeeper thinks about."""
        self._is_crowded = False

    # -- what the socket says

    def begin(self, socket: Socket) -> None:
        """Wait for the first document. The time for it runs from now, whatever comes."""
        lobby = self.lobby
        lobby.unauthenticated[self] = lobby.clock()

    def receive(self, data: bytes) -> None:
        """Take one frame. Raises PeerError for what ends the whole socket."""
        if len(data) == 1 and data in (hocuspocus.PING, hocuspocus.PONG):
            self._receive_ping(data)
            return
        address, at = hocuspocus.read_address(data)
        document = self._documents.get(address)
        if document is None:
            self._receive_first(address, data, at)
        elif document.host is not None:
            self.charge(document.purse)
            document.receive(document.host, data, at)
        elif document.is_entering:
            document.wait(data, at)
        else:
            self._receive_early(document, data, at)

    @property
    def may_read(self) -> bool:
        """Unless too much waits for documents to open."""
        return not self._is_crowded

    def filled(self) -> None:
        """Hold back what the rooms have to say."""
        for document in list(self._documents.values()):
            if document.host is not None:
                document.host.peer_full(document)

    def drained(self) -> None:
        """Bring the documents up to date, one after the other, until the socket is full again."""
        for document in list(self._documents.values()):
            if self.is_full or self.is_closed:
                return
            if document.host is not None:
                document.host.peer_drained(document)

    def ended(self, *, goodbye: bool) -> None:
        """The client is gone from all its documents."""
        for document in list(self._documents.values()):
            document.leave(goodbye=goodbye)
        self._documents.clear()
        self._closed.clear()

    def keepalive_frame(self) -> Frame | None:
        """An empty awareness frame for a document that the client knows, which every version takes.

        The protocol's own ping is known to version 4 only; the others throw at it.
        """
        joined = (address for address, document in self._documents.items() if document.has_joined)
        address = next(joined, self._address)
        if address is None:
            return None
        self.lobby.metrics.sent[Kind.KEEPALIVE].add(len(EMPTY_PAYLOAD))
        return AddressedFraming(address).awareness(EMPTY_PAYLOAD)

    # -- what documents say

    def has_others(self, address: bytes) -> bool:
        """Whether the client is in another document than this one, or on its way into one."""
        return any(one.is_entering for one in self._documents.values() if one.address != address)

    @property
    def knows_close(self) -> bool:
        """Whether it has said so, by a version or an address as only those have it."""
        return self._knows_close

    def token_came(self, message: hocuspocus.Token) -> None:
        """Count a token as several messages, and note what its version says of the provider."""
        self.lobby.metrics.received[Kind.AUTH].add(len(message.token))
        if message.version is not None:
            self._knows_close = True
        self.pace(_MESSAGES_PER_TOKEN)

    def queued(self, size_bytes: int, *, is_entering: bool) -> None:
        """Count a frame that waits, and read no more while there are many.

        Raises TooBigError for what waits without a token: nothing says that it will ever be let in.
        """
        self._queued_bytes += size_bytes
        self._queued_count += 1
        settings = self.lobby.settings
        if self._has_much_waiting and not is_entering:
            self.lobby.metrics.count_refused(Refusal.QUEUE)
            raise TooBigError("too much before a token")
        if self._queued_bytes > 2 * settings.frame_bytes_max:
            raise TooBigError("too much before the document was open")
        self._look_at_crowd()

    def unqueued(self, size_bytes: int, count: int) -> None:
        """So much waits no more."""
        self._queued_bytes -= size_bytes
        self._queued_count -= count
        self._look_at_crowd()

    def decided(self) -> None:
        """One of the documents that asked for admission has its answer."""
        self._undecided -= 1
        self._look_at_crowd()

    def deny(self, address: bytes, reason: str) -> None:
        """Tell the client that it may not be in a document, and look no more at what it says of it."""
        framing = AddressedFraming(address)
        self.send(framing.permission_denied(reason))
        self.lobby.metrics.sent[Kind.AUTH].add(len(reason))
        if self._knows_close and address in self._documents:
            self.send(framing.close(reason))
            self.lobby.metrics.sent[Kind.CLOSE].add(len(reason))
        self.shut(address)

    def put_off(self, address: bytes, error: PeerError) -> None:
        """Deny a document that may be had later, and have the client come back once it is in no other one."""
        self.deny(address, error.reason)
        self._closed[address] = error
        self._look_if_alone()

    def shut(self, address: bytes) -> None:
        """Look no more at what the client says of a document, until it asks for it anew."""
        self.left(address)
        self._closed[address] = None
        if len(self._closed) > _CLOSED_MAX:
            del self._closed[next(iter(self._closed))]

    def left(self, address: bytes) -> None:
        """The client has left a document by itself."""
        self._documents.pop(address, None)
        self._address = address
        self._look_if_alone()

    # -- inside

    def _look_if_alone(self) -> None:
        """Where only documents are left that were put off, close the socket: its client begins anew."""
        if self.is_ending or any(one.is_entering for one in self._documents.values()):
            return
        for error in self._closed.values():
            if error is not None:
                self.close(error)
                return

    def _receive_ping(self, data: bytes) -> None:
        self.lobby.metrics.received[Kind.PING].add(1)
        if data == hocuspocus.PING and not self.is_full:
            self.send(_PONG)
            self.lobby.metrics.sent[Kind.PING].add(1)

    def _receive_first(self, address: bytes, data: bytes, at: int) -> None:
        """Take the first frame of a document, or one of a document that this client is no longer in."""
        message = hocuspocus.decode(data, at)
        token = message if isinstance(message, hocuspocus.Token) else None
        # The Dart provider sends no Auth when it has no token: its first frame opens the document.
        opens = token is not None or self.lobby.gatekeeper.admits_anonymous or self.token is not None
        if address in self._closed:
            if isinstance(message, hocuspocus.Close):
                self._closed[address] = None
            if token is None and not (opens and isinstance(message, sync.SyncStep1)):
                return
            del self._closed[address]
        if isinstance(message, hocuspocus.Close):
            return
        settings = self.lobby.settings
        try:
            room = self._room_of(address)
        except MalformedError as error:
            self.lobby.metrics.count_refused(Refusal.ROOM_NAME)
            self.deny(address, error.reason)
            return
        if len(self._documents) >= settings.documents_per_connection_max:
            self.lobby.metrics.count_refused(Refusal.DOCUMENTS_MAX)
            self.deny(address, "too many documents on one connection")
            return
        if hocuspocus.session_bytes(address):
            self._knows_close = True
        document = self._documents[address] = DocumentSession(self, room, address)
        if opens:
            self._start(document, token)
            if token is None:
                document.wait(data, at)
            return
        self._tokenless += 1
        if self._tokenless > settings.unauthenticated_documents_max:
            self.lobby.metrics.count_refused(Refusal.QUEUE)
            raise TooBigError("too many documents without a token")
        document.wait(data, at)

    def _receive_early(self, document: DocumentSession, data: bytes, at: int) -> None:
        """Take a frame of a document for which there is no token yet."""
        message = hocuspocus.decode(data, at)
        if isinstance(message, hocuspocus.Token):
            self._tokenless -= 1
            self._start(document, message)
        elif isinstance(message, hocuspocus.Close):
            self._tokenless -= 1
            document.forget_waiting()
            self.left(document.address)
        else:
            document.wait(data, at)

    def _start(self, document: DocumentSession, message: hocuspocus.Token | None) -> None:
        """Ask for admission, with the token of the message or else that of the request."""
        token = self.token
        if message is not None:
            self.token_came(message)
            token = message.token or token
        document.is_entering = True
        self._undecided += 1
        self._look_at_crowd()
        self.lobby.spawn(document.enter(token))

    def _room_of(self, address: bytes) -> str:
        if not address:
            # What a y-websocket client begins with reads like a document without a name.
            raise MalformedError("the document has no name (y-websocket takes the room from the path)")
        if len(hocuspocus.session_bytes(address)) > _SESSION_BYTES_MAX:
            raise MalformedError(f"the session of an address has at most {_SESSION_BYTES_MAX} bytes")
        return room_name(hocuspocus.room_bytes(address), self.lobby.settings.room_name_bytes_max)

    @property
    def _has_much_waiting(self) -> bool:
        settings = self.lobby.settings
        return (
            self._queued_bytes > settings.unauthenticated_bytes_max
            or self._queued_count > settings.unauthenticated_messages_max
        )

    def _look_at_crowd(self) -> None:
        """Pause reading while too much waits, and go on when less does."""
        is_crowded = (
            self._undecided >= self.lobby.settings.unauthenticated_documents_max or self._has_much_waiting
        )
        if is_crowded == self._is_crowded:
            return
        self._is_crowded = is_crowded
        if not is_crowded:
            self.read_on()
        elif self.socket is not None:
            self.socket.pause_reading()


_PONG = Frame(hocuspocus.PONG)
_CLOSED_MAX = 100
_SESSION_BYTES_MAX = 128
"""Providers make up some eleven characters."""
_MESSAGES_PER_TOKEN = 10
"""What a token counts as: to check a signature takes longer than to take an edit."""
