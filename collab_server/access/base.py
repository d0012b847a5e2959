"""What the doors of the house ask of ``access``: may this one in here?"""

from __future__ import annotations

from typing import Protocol

from collab_server.access.identity import Admission, Caller, Identity
from collab_server.errors import NotAuthenticatedError, PeerError, RefusedError


class VoidTokenError(NotAuthenticatedError):
    """A genuine token that does not count any more; ``identity`` is who it spoke of."""

    def __init__(self, reason: str, identity: Identity) -> None:
        super().__init__(reason)
        self.identity = identity


class NotGrantedError(RefusedError):
    """Somebody who is known may not do this; ``identity`` is who."""

    def __init__(self, reason: str, identity: Identity) -> None:
        super().__init__(reason)
        self.identity = identity


def known_from(error: PeerError) -> Identity | None:
    """Who was refused, where a token that was verified says so."""
    return error.identity if isinstance(error, VoidTokenError | NotGrantedError) else None


class Gatekeeper(Protocol):
    """Decides who may do what in a room.

    It waits only where the application or a key server must be asked, never without a limit, and it fails
    closed. A token never appears in an error, a log line or a metric.
    """

    @property
    def admits_anonymous(self) -> bool:
        """Whether anybody may be let in without a token: the first frame of a document then opens it."""
        ...

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        """What the bearer of ``token`` may do in ``room``.

        Raises:
            NotAuthenticatedError: No token, or one that is not valid (any more), or revoked: 4401.
            RefusedError: A valid one, which does not speak of this room: 4403.
            BusyError: Nobody can tell just now, for example because the application does not answer: 1013.
        """
        ...

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        """What the bearer of ``token`` may do in each and every room, also in those that are not there yet.

        For what concerns all rooms: listing them, revoking access. A room that happens to be called ``*`` has
        nothing to do with it.

        Raises:
            PeerError: As ``admit``.
        """
        ...


class Revoked(Protocol):
    """What was taken back before its time. Asked at each admission, so it answers from memory."""

    def is_revoked(self, identity: Identity, room: str | None) -> bool:
        """Whether access that ``identity`` got at its ``issued_at_ms`` has been taken back since.

        ``room`` is None where all rooms are meant: then it counts what was revoked for a user or a session
        as a whole. Who does not know when access was given (None) is taken for older than any revocation.
        """
        ...


class NothingRevoked:
    """For a server on which nothing can be revoked."""

    def is_revoked(self, identity: Identity, room: str | None) -> bool:  # noqa: D102 - the contract says it
        return False
