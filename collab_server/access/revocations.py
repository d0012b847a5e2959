"""Whose tokens are void: what the store says of it, kept in memory so that a door never waits.

A revocation names a user, a session, a room, or what these have in common (a user in a room), and a moment:
tokens that were issued until then are void, later ones are not. A time of issue in whole seconds, as most
tokens have it, is taken for the beginning of its second, so a token of the very same second is void too. A
token that does not say when it was issued is older than every revocation.

Whoever has no token cannot lose one: for the anonymous nothing is revoked. What was revoked for one room does
not touch what a token says of all rooms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from collab_server.access.identity import ANONYMOUS, Identity

Subject = tuple[str | None, str | None, str | None]
"""User, session, room: what is None does not matter."""


@dataclass(frozen=True, slots=True)
class Held:
    """One revocation that holds."""

    user: str | None
    session: str | None
    room: str | None
    at_ms: int
    until_ms: int


class Revocations:
    """The revocations that hold. Those of one subject count as one; see ``is_full`` for the bound."""

    __slots__ = ("_held", "_subjects_max")

    def __init__(self, subjects_max: int = 100_000) -> None:
        self._held: dict[Subject, tuple[int, int]] = {}
        """When, and until when it is kept."""
        self._subjects_max = subjects_max

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return (Held(*subject, *times) for subject, times in self._held.items())

    @property
    def is_full(self) -> bool:
        """Whether no further ones should be made. What the store has is taken in all the same."""
        return len(self._held) >= self._subjects_max

    def add(self, held: Held) -> bool:
        """Take one in; whether it voids anything that was valid. For one subject the later moment counts."""
        subject = (held.user, held.session, held.room)
        at_ms, until_ms = self._held.get(subject, (-1, 0))
        self._held[subject] = (max(at_ms, held.at_ms), max(until_ms, held.until_ms))
        return held.at_ms > at_ms

    def drop(self, before_ms: int) -> int:
        """Forget those that are kept until a time before this; how many there were."""
        gone = [subject for subject, (_, until_ms) in self._held.items() if until_ms < before_ms]
        for subject in gone:
            del self._held[subject]
        return len(gone)

    def is_revoked(self, identity: Identity, room: str | None) -> bool:
        """Whether what this token says of this room is void; with None, what it says of all rooms."""
        held = self._held
        if not held or identity == ANONYMOUS:
            return False
        issued_at_ms = identity.issued_at_ms
        users = _ANY if identity.user_id is None else (None, identity.user_id)
        sessions = _ANY if identity.session_id is None else (None, identity.session_id)
        rooms = _ANY if room is None else (None, room)
        for user in users:
            for session in sessions:
                for place in rooms:
                    times = held.get((user, session, place))
                    if times is not None and (issued_at_ms is None or issued_at_ms <= times[0]):
                        return True
        return False


_ANY: Final = (None,)
