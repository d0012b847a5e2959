"""The way of one client into a room and out again, whatever its dialect: asked, let in, caught up, gone."""

from __future__ import annotations

import structlog

from collab_server.access.identity import Admission, Identity
from collab_server.access.traffic import NOBODY
from collab_server.errors import CloseCode, PeerError
from collab_server.gateway.connection import Connection
from collab_server.gateway.sessions import Session
from collab_server.hosting.host import Host
from collab_server.room.member import Member
from collab_server.room.stamp import IdentityStamp
from collab_server.telemetry.metrics import Refusal
from collab_server.wire.frame import Frame
from collab_server.wire.sync import Framing

log = structlog.get_logger(__name__)


class Stay(Session):
    """A session with a connection to speak through: the peer of a room's host."""

    __slots__ = ("_goodbye", "_has_left", "_is_barred", "connection", "host", "purse", "waiting")

    def __init__(self, connection: Connection, room: str) -> None:
        super().__init__(room, connection.caller)
        self.connection = connection
        self.purse = NOBODY
        """What this client's messages are paid from, besides its socket's."""
        self.host: Host | None = None
        """The room, once it is open and joined."""
        self.waiting: list[tuple[bytes, int]] | None = None
        """Frames that came before, each with where its message begins; None if there are none."""
        self._has_left = False
        self._goodbye = False
        self._is_barred = False

    # -- what a dialect says

    def receive(self, host: Host, frame: bytes, at: int) -> None:
        """Take one frame, whose message begins at ``at``. Raises PeerError."""
        raise NotImplementedError

    def make_member(self, admission: Admission) -> Member:
        """The member that this client becomes."""
        raise NotImplementedError

    def attach(self, host: Host) -> None:
        """Join, and greet the client. Raises PeerError if there is no place."""
        raise NotImplementedError

    def entered(self) -> None:
        """The room is open, and what waited has been taken; the client may have left meanwhile."""
        raise NotImplementedError

    def refuse(self, error: PeerError) -> None:
        """Tell the client that it could not enter."""
        raise NotImplementedError

    def unheard(self, frames: list[tuple[bytes, int]]) -> None:
        """The client had said this before it was open, and behind what ended the stay."""

    # -- in and out

    def keep_waiting(self, frame: bytes, at: int) -> None:
        """Keep a frame until the room is open; its message begins at ``at``. The caller bounds them."""
        if self.waiting is None:
            self.waiting = []
        self.waiting.append((frame, at))

    async def enter(self, token: str | None) -> None:
        """Ask for admission, open the room, join it, and take what the client said meanwhile."""
        lobby = self.connection.lobby
        try:
            admission = await self.ask(token)
            self.member = self.make_member(admission)
            try:
                lobby.sessions.add(self, admission)
            except PeerError as error:
                lobby.note_refusal(error, self.room, self.caller, admission.identity)
                raise
            self.purse = lobby.traffic.of_member(admission.identity, self.room)
            lobby.note_login(self)
            lobby.unauthenticated.pop(self.connection, None)
            async with lobby.registry.opened(self.room) as host:
                if not self._is_barred:
                    self._join(host)
        except PeerError as error:
            if self.host is None and error.close_code in _REFUSALS:
                lobby.metrics.count_refused(_REFUSALS[error.close_code])
            self.refuse(error)
        except Exception:  # whatever it is, a socket that is never read again must not stay
            log.exception("a session could not enter its room")
            self.refuse(PeerError("internal error"))
        finally:
            self.waiting = None
            if self._has_left or self._is_barred:
                lobby.sessions.discard(self)

    async def ask(self, token: str | None) -> Admission:
        """Ask what the client may do. Raises PeerError."""
        return await self.connection.lobby.admit(token, self.room, self.caller)

    def _join(self, host: Host) -> None:
        self.attach(host)
        self.host = host
        try:
            if self.connection.is_full:
                host.peer_full(self)
            # A client that wrote and left at once has left its edits here: they count.
            frames, self.waiting = self.waiting or [], None
            for count, (frame, at) in enumerate(frames):
                if self._is_barred:
                    self.unheard(frames[count:])
                    break
                self.receive(host, frame, at)
        finally:
            if self._has_left:
                host.detach(self, goodbye=self._goodbye)
        self.entered()

    def leave(self, *, goodbye: bool) -> None:
        """The client is gone. What it wrote stays; ``goodbye``: it left in order."""
        if self._has_left:
            return
        self._has_left = True
        self._goodbye = goodbye
        self.connection.lobby.sessions.discard(self)
        if self.host is not None:
            self.host.detach(self, goodbye=goodbye)

    def bar(self) -> None:
        """Take nothing more from this client, also of what it has sent already."""
        self._is_barred = True

    @property
    def is_over(self) -> bool:
        """Whether the client is gone, or was sent away."""
        return self._has_left or self._is_barred

    # -- what the room says

    @property
    def has_joined(self) -> bool:
        """Whether it is in the room, and not only on its way."""
        return self.host is not None and not self._has_left

    @property
    def is_full(self) -> bool:
        """Whether the socket's buffer is over its high-water mark."""
        return self.connection.is_full

    def send(self, frame: Frame) -> None:
        """Queue a frame."""
        if not self._has_left:
            self.connection.send(frame)

    def new_member(self, admission: Admission, framing: Framing, *, wants_echo: bool = False) -> Member:
        """A member with the rights of ``admission``."""
        return Member(
            self.connection.lobby.next_member_id(),
            framing,
            can_write=admission.can_write,
            writable_roots=admission.writable_roots,
            wants_echo=wants_echo,
            user_id=admission.identity.user_id,
            stamp=self.stamp_of(admission.identity),
            invisible=admission.identity.invisible,
        )

    def stamp_of(self, identity: Identity) -> IdentityStamp | None:
        """What puts the verified name into this client's presence; None where that is not asked for."""
        if not self.connection.lobby.settings.stamps_presence:
            return None
        return IdentityStamp(identity.user_id, identity.name)


# What is over a bound is counted where the bound is.
_REFUSALS = {
    CloseCode.SERVICE_RESTART: Refusal.DRAINING,
    CloseCode.DELETED: Refusal.DELETED,
    CloseCode.STORE_UNAVAILABLE: Refusal.STORE,
    CloseCode.UNAUTHENTICATED: Refusal.UNAUTHENTICATED,
    CloseCode.FORBIDDEN: Refusal.FORBIDDEN,
}
