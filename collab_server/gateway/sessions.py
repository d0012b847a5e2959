"""Every client's stay in a room on this node, in both dialects: who it is, what it may do, until when.

What must find clients walks this: revocation, expiry of tokens, quotas, load shedding, operations. It knows
no socket; a session's own ``close`` does what its dialect has for an end.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import count
from typing import ClassVar

from collab_server.access.identity import Admission, Caller, Identity
from collab_server.access.quotas import TenantQuotas
from collab_server.errors import BusyError, NotAuthenticatedError, PeerError
from collab_server.room.member import Member
from collab_server.wire.frame import Frame


class Dialect(StrEnum):
    """How a client speaks."""

    PLAIN = "plain"
    MULTIPLEXED = "multiplexed"


class Session:
    """One client's stay in one room, from its admission to its end. A dialect derives its own from it."""

    __slots__ = (
        "admission", "caller", "due_ms", "member", "room", "since_ms", "tenant", "was_asked", "was_ended",
    )  # fmt: skip

    dialect: ClassVar[Dialect]

    member: Member
    admission: Admission
    """What it may do. Set at the admission, replaced by ``Sessions.renew``."""
    since_ms: int
    """When it was admitted, in milliseconds since 1970."""

    def __init__(self, room: str, caller: Caller) -> None:
        self.room = room
        self.caller = caller
        self.tenant: str | None = None
        """For whose quota this stay counts: it stays with it when the token is renewed."""
        self.due_ms: int | None = None
        """When ``Sessions`` looks at its token next."""
        self.was_asked = False
        """Whether it was asked for a new token since the last renewal."""
        self.was_ended = False
        """Whether ``Sessions`` has ended it; its socket may take a while to close."""

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return self.admission.identity

    def close(self, error: PeerError) -> None:
        """End the stay, and tell the client why as its dialect does. May be called more than once."""
        raise NotImplementedError

    def ask_token(self) -> None:
        """Ask the client for a new token, where the dialect has a way to."""

    @property
    def has_joined(self) -> bool:
        """Whether it is in the room, and not only on its way."""
        raise NotImplementedError

    def send_letter(self, frame: Frame) -> bool:
        """Send a frame that nobody keeps, if the socket is not full; whether it was sent."""
        raise NotImplementedError


class Sessions:
    """All sessions, found by user, session id and room. Bounded by ``sessions_max``."""

    def __init__(
        self,
        sessions_max: int = 100_000,
        *,
        expiry_notice_s: float = 30.0,
        node: str = "",
        quotas: TenantQuotas | None = None,
        wall_clock_ms: Callable[[], int],
    ) -> None:
        """``node`` begins the ids of sessions, so that they differ between nodes."""
        self._sessions_max = sessions_max
        self._notice_ms = round(expiry_notice_s * 1000)
        self._node = node
        self._quotas = quotas or TenantQuotas()
        self._wall_clock_ms = wall_clock_ms
        self._all: dict[int, Session] = {}
        self._by_user: dict[str, dict[Session, None]] = {}
        self._by_session_id: dict[str, dict[Session, None]] = {}
        self._by_room: dict[str, dict[Session, None]] = {}
        self._due: list[tuple[int, int, Session]] = []
        self._serial = count()
        self.on_ended: Callable[[Session, PeerError], None] = lambda session, error: None
        """Called for each session that is ended here, once: its token ran out, or access was taken back."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Session]:
        """All of them; a copy, so that they may end meanwhile."""
        return iter(list(self._all.values()))

    def of_user(self, user_id: str) -> list[Session]:
        """The sessions of a user, by the ``sub`` of the token."""
        return list(self._by_user.get(user_id, ()))

    def of_session(self, session_id: str) -> list[Session]:
        """The stays of one session, by ``sid`` or ``jti`` of the token; or the one stay of that ``id_of``."""
        found = list(self._by_session_id.get(session_id, ()))
        prefix, number = session_id[: len(self._node)], session_id[len(self._node) :]
        if prefix == self._node and number.isascii() and number.isdecimal() and len(number) < _DIGITS_MAX:
            stay = self._all.get(int(number))
            if stay is not None and stay not in found:
                found.append(stay)
        return found

    def __contains__(self, session: Session) -> bool:
        return hasattr(session, "member") and self._all.get(session.member.id) is session

    def of_room(self, room: str) -> list[Session]:
        """Who is in a room, or on the way into it."""
        return list(self._by_room.get(room, ()))

    def id_of(self, session: Session) -> str:
        """A name for one stay, which no other has on any node."""
        return f"{self._node}{session.member.id}"

    def add(self, session: Session, admission: Admission) -> None:
        """Take in who was admitted. Raises BusyError if there are too many, of all or of its tenant."""
        if len(self._all) >= self._sessions_max:
            raise BusyError("too many sessions on this node")
        self._quotas.enter(admission.identity.tenant, session.room)
        session.tenant = admission.identity.tenant
        session.admission = admission
        session.since_ms = self._wall_clock_ms()
        self._all[session.member.id] = session
        self._by_room.setdefault(session.room, {})[session] = None
        self._index(session)
        self._watch(session, session.since_ms)

    def renew(self, session: Session, admission: Admission) -> None:
        """Exchange what a session may do, and until when."""
        if session not in self:
            return
        self._unindex(session)
        session.admission = admission
        self._index(session)
        self._watch(session, self._wall_clock_ms())

    def discard(self, session: Session) -> None:
        """Forget who has left."""
        if session not in self:
            return
        del self._all[session.member.id]
        self._quotas.leave(session.tenant, session.room)
        session.due_ms = None
        _remove(self._by_room, session.room, session)
        self._unindex(session)

    def close_where(
        self, predicate: Callable[[Session], bool], error: PeerError, among: list[Session] | None = None
    ) -> int:
        """Close every session (or every one of ``among``) for which ``predicate`` holds; how many."""
        closed = 0
        for session in self if among is None else among:
            if session in self and predicate(session):
                self._end(session, error)
                closed += 1
        return closed

    def tick(self) -> None:
        """Ask for new tokens where the old ones run out soon, and end the sessions whose tokens have."""
        now = self._wall_clock_ms()
        while self._due and self._due[0][0] <= now:
            due_ms, _, session = heapq.heappop(self._due)
            if session.due_ms != due_ms:
                continue  # it has left, or was renewed
            expires = session.admission.expires_at_ms
            if expires is None or now >= expires:
                session.due_ms = None
                self._end(session, NotAuthenticatedError("the token has run out"))
            else:
                if not session.was_asked:
                    session.was_asked = True
                    session.ask_token()
                self._look_at(session, expires)

    # -- inside

    def _end(self, session: Session, error: PeerError) -> None:
        if not session.was_ended:
            session.was_ended = True
            self.on_ended(session, error)
        session.close(error)

    def _index(self, session: Session) -> None:
        identity = session.admission.identity
        if identity.user_id is not None:
            self._by_user.setdefault(identity.user_id, {})[session] = None
        if identity.session_id is not None:
            self._by_session_id.setdefault(identity.session_id, {})[session] = None

    def _unindex(self, session: Session) -> None:
        identity = session.admission.identity
        if identity.user_id is not None:
            _remove(self._by_user, identity.user_id, session)
        if identity.session_id is not None:
            _remove(self._by_session_id, identity.session_id, session)

    def _watch(self, session: Session, now: int) -> None:
        expires = session.admission.expires_at_ms
        session.was_asked = False
        if expires is None:
            session.due_ms = None
        else:
            # Half of what is left of a short one: otherwise each answer would be asked for the next at once.
            self._look_at(session, max(expires - self._notice_ms, now + max(0, expires - now) // 2))

    def _look_at(self, session: Session, due_ms: int) -> None:
        session.due_ms = due_ms
        heapq.heappush(self._due, (due_ms, next(self._serial), session))
        if len(self._due) > 2 * len(self._all) + 64:
            # What was renewed or has left stays in the heap until its time comes: not for ever.
            self._due = [entry for entry in self._due if entry[2].due_ms == entry[0]]
            heapq.heapify(self._due)


def _remove(index: dict[str, dict[Session, None]], key: str, session: Session) -> None:
    sessions = index[key]
    del sessions[session]
    if not sessions:
        del index[key]


_DIGITS_MAX = 20
