"""Documents and workers without a server behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from collab_server.access.base import Gatekeeper
from collab_server.access.callers import Callers
from collab_server.access.gatekeeper import OpenGatekeeper
from collab_server.api.access import Doors
from collab_server.telemetry.audit import AuditLog
from persistence.base import DocumentInfo


def doors(
    gatekeeper: Gatekeeper | None = None, audit: AuditLog | None = None, admin_token: str | None = None
) -> Doors:
    """Doors that stand open, unless a gatekeeper is given."""
    return Doors(
        gatekeeper or OpenGatekeeper(),
        Callers(),
        audit or AuditLog(now_ms=lambda: 0),
        room_name_bytes_max=512,
        admin_token=admin_token,
    )


class FakeDocuments:
    """Documents in a dictionary; ``fault`` is raised by every call once it is set."""

    def __init__(self, **rooms: bytes) -> None:
        self.rooms: dict[str, bytes] = dict(rooms)
        self.fault: Exception | None = None

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        self._check()
        names = sorted(name for name in self.rooms if name > after and name.startswith(prefix))
        return [DocumentInfo(name, len(self.rooms[name]), 1, 1000, 2000) for name in names[:limit]]

    async def read_update(self, room: str) -> bytes | None:
        self._check()
        return self.rooms.get(room)

    async def delete(self, room: str) -> bool:
        self._check()
        return self.rooms.pop(room, None) is not None

    async def revive(self, room: str) -> None:
        self._check()

    def _check(self) -> None:
        if self.fault is not None:
            raise self.fault


class InPlace:
    """Runs the functions here instead of in a worker."""

    def __init__(self) -> None:
        self.fault: Exception | None = None

    async def run(self, function: Callable[..., Any], /, *args: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        return function(*args)
