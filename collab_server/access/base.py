"""What the doors of the house ask of ``access``: may this one in here?"""

from __future__ import annotations

from typing import Protocol

from collab_server.access.identity import Admission, Caller


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
