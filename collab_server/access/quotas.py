"""What one tenant may hold at once on one node, so that it cannot crowd the others out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from collab_server.errors import BusyError


@dataclass(slots=True)
class _Held:
    members: int = 0
    rooms: Counter[str] = field(default_factory=Counter)


class TenantQuotas:
    """Counts the members of each tenant, and the rooms that they are in.

    A room counts once for each tenant that has a member in it, however many those are. Who belongs to no
    tenant is not counted.
    """

    def __init__(
        self, rooms_max: int = 0, members_max: int = 0, *, on_refused: Callable[[], None] = lambda: None
    ) -> None:
        """0 is no limit. ``on_refused`` counts."""
        self._on_refused = on_refused
        self._rooms_max = rooms_max
        self._members_max = members_max
        self._held: dict[str, _Held] = {}

    def enter(self, tenant: str | None, room: str) -> None:
        """A member comes into a room; ``leave`` must follow. Raises BusyError (1013) when it is too much."""
        if tenant is None:
            return
        held = self._held.get(tenant) or _Held()
        if self._members_max and held.members >= self._members_max:
            self._on_refused()
            raise BusyError("too many connections of this tenant")
        if self._rooms_max and room not in held.rooms and len(held.rooms) >= self._rooms_max:
            self._on_refused()
            raise BusyError("too many open documents of this tenant")
        self._held[tenant] = held
        held.members += 1
        held.rooms[room] += 1

    def leave(self, tenant: str | None, room: str) -> None:
        """A member that had entered is gone."""
        if tenant is None:
            return
        held = self._held[tenant]
        held.members -= 1
        held.rooms[room] -= 1
        if not held.rooms[room]:
            del held.rooms[room]
        if not held.members:
            del self._held[tenant]
