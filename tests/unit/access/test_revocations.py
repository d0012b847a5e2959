from __future__ import annotations

import pytest

from collab_server.access.identity import ANONYMOUS, Identity
from collab_server.access.revocations import Held, Revocations

T = 1_750_000_000_000
LATER = T + 86_400_000


def who(user: str | None = "ada", session: str | None = "s1", issued_at_ms: int | None = T - 1) -> Identity:
    return Identity(user, session_id=session, issued_at_ms=issued_at_ms)


@pytest.mark.parametrize(
    ("subject", "identity", "room", "expected"),
    [
        (("ada", None, None), who(), "trip-1", True),
        (("ada", None, None), who("bob"), "trip-1", False),
        (("ada", None, None), who(None), "trip-1", False),
        ((None, "s1", None), who("bob"), "trip-1", True),
        ((None, "s1", None), who(session="s2"), "trip-1", False),
        ((None, "s1", None), who(session=None), "trip-1", False),
        ((None, None, "trip-1"), who(), "trip-1", True),
        ((None, None, "trip-1"), who(), "trip-2", False),
        (("ada", None, "trip-1"), who(), "trip-1", True),
        (("ada", None, "trip-1"), who(), "trip-2", False),
        (("ada", None, "trip-1"), who("bob"), "trip-1", False),
        (("ada", "s1", None), who(), "trip-9", True),
        (("ada", "s1", None), who(session="s2"), "trip-9", False),
        (("ada", "s1", "trip-1"), who(), "trip-1", True),
        ((None, "s1", "trip-1"), who(), "trip-2", False),
        (("s1", None, None), who(), "trip-1", False),
    ],
)
def test_a_revocation_holds_for_what_all_its_names_share(
    subject: tuple[str | None, str | None, str | None], identity: Identity, room: str, expected: bool
) -> None:
    revocations = Revocations()
    revocations.add(Held(*subject, T, LATER))
    assert revocations.is_revoked(identity, room) is expected


def test_only_what_was_issued_until_then_is_void() -> None:
    revocations = Revocations()
    revocations.add(Held("ada", None, None, T, LATER))
    assert revocations.is_revoked(who(issued_at_ms=T), "r")
    assert not revocations.is_revoked(who(issued_at_ms=T + 1), "r")
    assert revocations.is_revoked(who(issued_at_ms=None), "r")


def test_the_anonymous_have_nothing_to_lose() -> None:
    revocations = Revocations()
    revocations.add(Held(None, None, "r", T, LATER))
    assert not revocations.is_revoked(ANONYMOUS, "r")


def test_the_later_of_two_counts_in_whatever_order_they_come() -> None:
    for times in ((T, T + 5), (T + 5, T)):
        revocations = Revocations()
        for at_ms in times:
            revocations.add(Held("ada", None, None, at_ms, at_ms + 10))
        assert len(revocations) == 1
        assert revocations.is_revoked(who(issued_at_ms=T + 5), "r")
        assert not revocations.is_revoked(who(issued_at_ms=T + 6), "r")
        assert revocations.drop(T + 15) == 0


def test_what_has_run_out_is_forgotten() -> None:
    revocations = Revocations(subjects_max=2)
    revocations.add(Held("ada", None, None, T, LATER))
    revocations.add(Held("bob", None, None, T, LATER + 1))
    assert revocations.is_full
    assert revocations.drop(LATER + 1) == 1
    assert not revocations.is_full
    assert not revocations.is_revoked(who("ada"), "r")
    assert revocations.is_revoked(who("bob"), "r")
