"""Who is here, found by whom they are, and ended when their tokens run out."""

from __future__ import annotations

import pytest

from collab_server.access.identity import Admission, Caller, Identity, Role
from collab_server.errors import BusyError, NotAuthenticatedError, PeerError
from collab_server.gateway.sessions import Dialect, Session, Sessions
from collab_server.room.member import Member
from collab_server.wire.sync import PLAIN

NOW = 1_000_000


class PlayedSession(Session):
    dialect = Dialect.PLAIN
    _ids = iter(range(1, 1_000_000))

    def __init__(self, sessions: Sessions, room: str = "trip") -> None:
        super().__init__(room, Caller("192.0.2.1", is_loopback=False))
        self.member = Member(next(self._ids), PLAIN)
        self.sessions = sessions
        self.errors: list[PeerError] = []
        self.asked = 0

    def close(self, error: PeerError) -> None:
        self.errors.append(error)
        self.sessions.discard(self)

    def ask_token(self) -> None:
        self.asked += 1


def allowed(user: str | None = None, session: str | None = None, until_ms: int | None = None) -> Admission:
    return Admission(Identity(user, session_id=session), Role.EDITOR, None, until_ms)


def of(sessions: Sessions, admission: Admission, room: str = "trip") -> PlayedSession:
    session = PlayedSession(sessions, room)
    sessions.add(session, admission)
    return session


@pytest.fixture
def clock() -> list[int]:
    return [NOW]


@pytest.fixture
def sessions(clock: list[int]) -> Sessions:
    return Sessions(1000, node="n-", wall_clock_ms=lambda: clock[0])


def test_sessions_are_found_by_user_session_room_and_their_own_id(sessions: Sessions) -> None:
    ann = of(sessions, allowed("ann", "s1"))
    again = of(sessions, allowed("ann", "s2"), "other")
    bob = of(sessions, allowed("bob"))
    assert sessions.of_user("ann") == [ann, again]
    assert sessions.of_session("s1") == [ann]
    assert sessions.of_room("trip") == [ann, bob]
    assert sessions.of_session(sessions.id_of(bob)) == [bob]
    assert ann.since_ms == NOW
    for nobody in ("", "n-", "n--1", "n-0", "x-1", "n-" + "9" * 5000, "n-²"):
        assert sessions.of_session(nobody) == []


def test_who_has_left_is_found_nowhere(sessions: Sessions) -> None:
    ann = of(sessions, allowed("ann", "s1", NOW + 10))
    sessions.discard(ann)
    sessions.discard(ann)
    assert not len(sessions)
    assert not sessions.of_user("ann") + sessions.of_session("s1") + sessions.of_room("trip")
    assert ann not in sessions
    assert PlayedSession(sessions) not in sessions


def test_a_renewed_session_is_found_by_what_it_is_now(sessions: Sessions) -> None:
    ann = of(sessions, allowed(None, "s1"))
    sessions.renew(ann, allowed("ann", "s2"))
    assert sessions.of_user("ann") == sessions.of_session("s2") == [ann]
    assert sessions.of_session("s1") == []
    gone = PlayedSession(sessions)
    sessions.renew(gone, allowed("ann"))
    assert sessions.of_user("ann") == [ann]


def test_sessions_are_bounded() -> None:
    sessions = Sessions(2, wall_clock_ms=lambda: NOW)
    first = of(sessions, allowed())
    of(sessions, allowed())
    with pytest.raises(BusyError):
        of(sessions, allowed())
    sessions.discard(first)
    of(sessions, allowed())


def test_those_that_a_predicate_names_are_closed_and_counted(sessions: Sessions) -> None:
    ann, bob = of(sessions, allowed("ann")), of(sessions, allowed("bob"))
    error = NotAuthenticatedError("access was revoked")
    assert sessions.close_where(lambda session: session.identity.user_id == "ann", error) == 1
    assert ann.errors == [error]
    assert not bob.errors
    assert sessions.close_where(lambda _: True, error, among=[ann, bob]) == 1


def test_a_token_is_asked_for_once_and_then_runs_out(sessions: Sessions, clock: list[int]) -> None:
    session = of(sessions, allowed("ann", until_ms=NOW + 100_000))
    of(sessions, allowed("bob"))
    clock[0] = NOW + 69_999
    sessions.tick()
    asked = [session.asked]
    for clock[0] in (NOW + 70_000, NOW + 80_000, NOW + 99_999):
        sessions.tick()
        asked.append(session.asked)
    assert asked == [0, 1, 1, 1]
    assert not session.errors
    clock[0] = NOW + 100_000
    sessions.tick()
    assert [type(error) for error in session.errors] == [NotAuthenticatedError]
    assert len(sessions) == 1


def test_a_token_that_had_run_out_before_it_came_ends_at_once(sessions: Sessions) -> None:
    session = of(sessions, allowed("ann", until_ms=NOW - 5))
    sessions.tick()
    assert len(session.errors) == 1


def test_an_end_is_told_once_however_long_the_socket_takes(sessions: Sessions, clock: list[int]) -> None:
    told: list[tuple[Session, str]] = []
    sessions.on_ended = lambda session, error: told.append((session, error.reason))
    ann, bob = of(sessions, allowed("ann", until_ms=NOW + 1000)), of(sessions, allowed("bob"))
    ann.close = bob.close = lambda error: None  # type: ignore[method-assign]
    for _ in range(2):
        sessions.close_where(lambda session: session is bob, NotAuthenticatedError("access was revoked"))
        clock[0] = NOW + 1000
        sessions.tick()
    assert told == [(bob, "access was revoked"), (ann, "the token has run out")]


def test_a_renewal_counts_from_then_on(sessions: Sessions, clock: list[int]) -> None:
    session = of(sessions, allowed("ann", until_ms=NOW + 40_000))
    clock[0] = NOW + 20_000
    sessions.tick()
    sessions.renew(session, allowed("ann", until_ms=NOW + 200_000))
    clock[0] = NOW + 40_000
    sessions.tick()
    assert not session.errors
    clock[0] = NOW + 170_000
    sessions.tick()
    assert session.asked == 2
    sessions.renew(session, allowed("ann"))
    clock[0] = NOW + 10**9
    sessions.tick()
    assert not session.errors


def test_renewals_without_end_take_no_memory(sessions: Sessions) -> None:
    session = of(sessions, allowed("ann", until_ms=NOW + 40_000))
    for number in range(10_000):
        sessions.renew(session, allowed("ann", until_ms=NOW + 50_000 + number))
    assert len(sessions._due) < 100
