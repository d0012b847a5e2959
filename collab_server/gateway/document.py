"""One document of a multiplexed socket: a client's stay in one room, under one address.

What the server says of it is told on the socket under that address; what ends it ends the others only where
no provider could come back to a single document (see ``gateway.hocuspocus``).
"""

from __future__ import annotations

import structlog

from collab_server.access.base import NotGrantedError
from collab_server.access.identity import Admission
from collab_server.errors import CloseCode, NotAuthenticatedError, PeerError, RefusedError, Retry, TooBigError
from collab_server.gateway.connection import Connection
from collab_server.gateway.courier import Letter
from collab_server.gateway.sessions import Dialect
from collab_server.gateway.stay import Stay
from collab_server.hosting.host import Host
from collab_server.room.member import Member
from collab_server.telemetry.metrics import Kind
from collab_server.wire import hocuspocus, sync
from collab_server.wire.frame import Frame
from collab_server.wire.hocuspocus import NOT_TAKEN, SAVED, AddressedFraming

log = structlog.get_logger(__name__)


class DocumentConnection(Connection):
    """What a document needs of its socket."""

    __slots__ = ()

    token: str | None
    """The token of the request, for who sends none."""

    def has_others(self, address: bytes) -> bool:
        """Whether the client is in another document than this one, or on its way into one."""
        raise NotImplementedError

    @property
    def knows_close(self) -> bool:
        """Whether the client is known to take a Close of the server; the oldest providers throw at it."""
        raise NotImplementedError

    def token_came(self, message: hocuspocus.Token) -> None:
        """Count a token. Raises PeerError for who sends too many."""
        raise NotImplementedError

    def queued(self, size_bytes: int, *, is_entering: bool) -> None:
        """Count a frame that waits. Raises TooBigError past a bound."""
        raise NotImplementedError

    def unqueued(self, size_bytes: int, count: int) -> None:
        """So much waits no more."""
        raise NotImplementedError

    def decided(self) -> None:
        """One of the documents that asked for admission has its answer."""
        raise NotImplementedError

    def deny(self, address: bytes, reason: str) -> None:
        """Tell the client that it may not be in a document, and look no more at what it says of it."""
        raise NotImplementedError

    def put_off(self, address: bytes, error: PeerError) -> None:
        """Deny a document that may be had later, and have the client come back once it is in no other one."""
        raise NotImplementedError

    def shut(self, address: bytes) -> None:
        """Look no more at what the client says of a document, until it asks for it anew."""
        raise NotImplementedError

    def left(self, address: bytes) -> None:
        """The client has left a document by itself."""
        raise NotImplementedError


class DocumentSession(Stay):
    """A client in one document."""

    __slots__ = (
        "_framing", "_home", "_is_renewing", "_newest_token", "_queued_bytes", "_queued_count", "_was_reset",
        "address", "is_entering",
    )  # fmt: skip

    dialect = Dialect.MULTIPLEXED

    def __init__(self, home: DocumentConnection, room: str, address: bytes) -> None:
        super().__init__(home, room)
        self.address = address
        self.is_entering = False
        """Whether admission was asked for."""
        self._home = home
        self._framing = AddressedFraming(address)
        self._queued_bytes = 0
        self._queued_count = 0
        self._is_renewing = False
        self._newest_token: str | None = None
        self._was_reset = False

    # -- on the way in

    def wait(self, frame: bytes, at: int) -> None:
        """Keep a frame until the document is open. Raises TooBigError past a bound."""
        self._home.queued(len(frame), is_entering=self.is_entering)
        self._queued_bytes += len(frame)
        self._queued_count += 1
        self.keep_waiting(frame, at)

    def forget_waiting(self) -> None:
        """Drop what waits."""
        self.waiting = None
        self._home.unqueued(self._queued_bytes, self._queued_count)
        self._queued_bytes = self._queued_count = 0

    async def enter(self, token: str | None) -> None:
        """As every stay; the socket hears when nothing waits any more."""
        try:
            await super().enter(token)
        finally:
            self.forget_waiting()

    async def ask(self, token: str | None) -> Admission:
        """As every stay; the socket hears of the decision."""
        try:
            return await super().ask(token)
        finally:
            self._home.decided()

    def make_member(self, admission: Admission) -> Member:
        """A member that is spoken to under the address."""
        return self.new_member(admission, self._framing)

    def attach(self, host: Host) -> None:
        """Welcome the client, and join; the host tells who is here. Our step 1 follows the client's."""
        self._welcome()
        host.attach(self, asks=False)

    def entered(self) -> None:
        """The socket is read all the while."""

    def unheard(self, frames: list[tuple[bytes, int]]) -> None:
        """Perhaps it has left and come again: let the socket see."""
        try:
            for frame, _ in frames:
                if not self._home.is_ending:
                    self._home.receive(frame)
        except PeerError as error:
            self._home.close(error)

    def refuse(self, error: PeerError) -> None:
        """The client could not enter, or not say what it had said already.

        What may work later closes the socket, because the client then tries again by itself; but not while
        that would tear the client out of other documents, again and again.
        """
        if self.is_over:
            return
        if self.host is not None:
            # What ends the whole socket was among the frames that waited.
            self.bar()
            self._home.close(error)
        elif (
            error.close_code.retry in _FINAL
            or error.close_code is CloseCode.SERVICE_RESTART
            or not self._home.has_others(self.address)
        ):
            self.close(error)
        else:
            self._end()
            self._home.put_off(self.address, error)

    # -- what the room and the lobby say

    def close(self, error: PeerError) -> None:
        """End this document, or the whole socket where only coming back can heal it."""
        if self.is_over:
            return
        if error.close_code.retry in _FINAL:
            self._deny(error.reason)
        else:
            self.bar()
            self._home.close(error)

    def ask_token(self) -> None:
        """``2, 0``: the provider answers with what its application gives it (since version 3)."""
        self.send(self._framing.token_wanted())
        self._count_sent(Kind.AUTH, 0)

    def send_letter(self, frame: Frame) -> bool:
        """Send a stateless message."""
        if not self.has_joined or self._home.is_full:
            return False
        self.send(frame)
        self._count_sent(Kind.STATELESS, len(frame))
        return True

    # -- what the client says

    def receive(self, host: Host, frame: bytes, at: int) -> None:
        """Take one frame. Raises PeerError for what ends the whole socket."""
        message = hocuspocus.decode(frame, at)
        if isinstance(message, hocuspocus.Token):
            self._home.token_came(message)
            self._renew(message)
            return
        try:
            self._take(host, message, len(frame))
        except PeerError as error:
            self.close(error)

    def _take(self, host: Host, message: hocuspocus.Message, size_bytes: int) -> None:
        received = self._home.lobby.metrics.received
        match message:
            case sync.Update(update):
                received[Kind.UPDATE].add(size_bytes)
                self._take_edit(host, update, is_answer=False)
            case sync.Awareness(payload):
                received[Kind.AWARENESS].add(size_bytes)
                host.receive_awareness(self, payload)
            case sync.SyncStep1(state_vector):
                received[Kind.SYNC_STEP_1].add(size_bytes)
                host.receive_step1(self, state_vector)
                host.ask(self)
            case hocuspocus.ReplyStep1(state_vector):
                received[Kind.SYNC_STEP_1].add(size_bytes)
                host.receive_step1(self, state_vector)
            case sync.SyncStep2(update):
                received[Kind.SYNC_STEP_2].add(size_bytes)
                self._take_edit(host, update, is_answer=True)
            case sync.QueryAwareness():
                received[Kind.QUERY_AWARENESS].add(size_bytes)
                host.receive_query_awareness(self)
            case hocuspocus.Stateless(payload):
                received[Kind.STATELESS].add(size_bytes)
                self._take_stateless(payload)
            case hocuspocus.Close():
                received[Kind.CLOSE].add(size_bytes)
                self._end()
                self._home.left(self.address)

    def _take_edit(self, host: Host, update: bytes, *, is_answer: bool) -> None:
        """Take an edit, and answer 1 when it is committed or 0 when it is refused."""
        self.connection.wrote = self.connection.wrote or not is_answer
        try:
            host.receive_update(self, update, is_answer=is_answer)
        except RefusedError as error:
            if is_answer or not self.member.can_write:
                host.receive_sync_status(self, NOT_TAKEN)
                return
            self._reset(host, error)
            return
        if not host.ended:
            host.receive_sync_status(self, SAVED)

    def _reset(self, host: Host, error: RefusedError) -> None:
        """Refuse an edit of a client that shows its user now what nobody else has: it must begin anew."""
        if self._home.knows_close:
            self.send(self._framing.sync_status(NOT_TAKEN))
            self._send_reset(error)
            self._end()
            self._home.shut(self.address)
            return
        # It may not understand, and would go on to speak to nobody: so it stays, and reads on.
        host.receive_sync_status(self, NOT_TAKEN)
        if not self._was_reset:
            self._was_reset = True
            self._send_reset(error)

    def _send_reset(self, error: RefusedError) -> None:
        self.send(self._framing.close(f"reset: {error.reason}"))
        self._count_sent(Kind.CLOSE, len(error.reason))

    def _take_stateless(self, payload: str) -> None:
        lobby = self._home.lobby
        if len(payload.encode()) > lobby.settings.stateless_bytes_max:
            raise TooBigError("stateless message too big")
        reached = lobby.courier.post(self.room, Letter(payload), sender=self)
        if reached > _LETTERS_PER_MESSAGE:
            self._home.pace(reached / _LETTERS_PER_MESSAGE)

    # -- a new token

    def _renew(self, message: hocuspocus.Token) -> None:
        """Judge a token again while the client goes on; of several that wait only the newest counts."""
        self._newest_token = message.token or self._home.token or ""
        if not self._is_renewing:
            self._is_renewing = True
            self._home.lobby.spawn(self._judge_tokens())

    async def _judge_tokens(self) -> None:
        try:
            while self._newest_token is not None and not self.is_over:
                token, self._newest_token = self._newest_token or None, None
                await self._judge(token)
        finally:
            self._is_renewing = False

    async def _judge(self, token: str | None) -> None:
        lobby = self._home.lobby
        try:
            admission = await lobby.admit(token, self.room, self.caller)
            if not self.is_over:
                self._renewed(admission)
        except (NotAuthenticatedError, RefusedError) as error:
            self.close(error)
        except PeerError as error:
            # Nobody can tell now. What was said of this client before holds until it runs out.
            log.warning("a token could not be renewed", room=self.room, error=error.reason)

    def _renewed(self, admission: Admission) -> None:
        user_id = self.member.user_id
        if user_id is not None and admission.identity.user_id != user_id:
            error = NotGrantedError("the new token is somebody else's", admission.identity)
            self._home.lobby.note_refusal(error, self.room, self.caller)
            raise error
        member = self.member
        member.can_write = admission.can_write
        member.writable_roots = admission.writable_roots
        member.user_id = admission.identity.user_id
        member.stamp = self.stamp_of(admission.identity)
        member.invisible = admission.identity.invisible
        self._home.lobby.sessions.renew(self, admission)
        self._welcome()

    # -- inside

    def _welcome(self) -> None:
        frame = self._framing.welcome(can_write=self.member.can_write)
        self.send(frame)
        self._count_sent(Kind.AUTH, len(frame))

    def _deny(self, reason: str) -> None:
        self._end()
        self._home.deny(self.address, reason)

    def _end(self) -> None:
        self.bar()
        self.leave(goodbye=True)

    def _count_sent(self, kind: Kind, size_bytes: int) -> None:
        self._home.lobby.metrics.sent[kind].add(size_bytes)


_FINAL = (Retry.NO, Retry.NEW_TOKEN)
_LETTERS_PER_MESSAGE = 100
"""A message that reaches so many counts as one more."""
