"""Who is let in: the doors of the house ask here."""

from __future__ import annotations

from collab_server.access.identity import ANONYMOUS, Admission, Caller, Role


class OpenGatekeeper:
    """Admits everybody to every room, with one role."""

    admits_anonymous = True

    def __init__(self, role: Role = Role.OWNER) -> None:
        self._admission = Admission(ANONYMOUS, role)

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        """The same for everybody."""
        return self._admission

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        """The same again."""
        return self._admission
