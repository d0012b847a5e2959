"""What all connections share on their way into rooms: who is asked, who is watched, and the one clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Protocol

import structlog

from collab_server.access.base import Gatekeeper, known_from
from collab_server.access.callers import Callers
from collab_server.access.identity import Admission, Caller, Identity
from collab_server.access.traffic import Traffic, TrafficSettings
from collab_server.errors import PeerError, SilentError
from collab_server.gateway.courier import Courier
from collab_server.gateway.sessions import Session, Sessions
from collab_server.gateway.settings import GatewaySettings
from collab_server.hosting.registry import Registry
from collab_server.telemetry.audit import AuditEvent, AuditLog, AuditResult
from collab_server.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


class Watched(Protocol):
    """What the lobby needs of a connection."""

    def close(self, error: PeerError) -> None:
        """Close it."""

    def keep_alive(self) -> None:
        """Send a small frame if nothing was sent since the last call."""


class Lobby:
    """The parts that connections need, and the watch over those that say nothing."""

    def __init__(
        self,
        registry: Registry,
        gatekeeper: Gatekeeper,
        sessions: Sessions,
        settings: GatewaySettings,
        metrics: Metrics,
        *,
        audit: AuditLog | None = None,
        callers: Callers | None = None,
        traffic: Traffic | None = None,
        clock: Callable[[], float],
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``clock`` is the event loop's; ``stopwatch`` goes on inside a turn of it. Both in seconds."""
        self.registry = registry
        self.gatekeeper = gatekeeper
        self.sessions = sessions
        sessions.on_ended = self._note_end
        self.settings = settings
        self.metrics = metrics
        self.audit = audit or AuditLog(now_ms=lambda: 0)
        self.callers = callers or Callers()
        self.traffic = traffic or Traffic(TrafficSettings())
        self.clock = clock
        self.stopwatch = stopwatch
        self.connections: set[Watched] = set()
        self.silent: dict[Watched, float] = {}
        """Those that have not said anything yet, oldest first, with the time at which they came."""
        self.unauthenticated: dict[Watched, float] = {}
        """Those that have no session yet and must ask for one; oldest first."""
        self.courier = Courier(sessions, metrics)
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_member_id = 0

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        """What the bearer of ``token`` may do in ``room``. Raises PeerError as the gatekeeper does."""
        try:
            return await self.gatekeeper.admit(token, room, caller)
        except PeerError as error:
            self.note_refusal(error, room, caller)
            raise

    def note_refusal(
        self, error: PeerError, room: str, caller: Caller, identity: Identity | None = None
    ) -> None:
        """Put it on record that somebody may not enter; ``identity`` where the error does not say who."""
        self.audit.record(
            AuditEvent.REFUSAL,
            identity=known_from(error) or identity,
            address=caller.address,
            result=AuditResult.REFUSED,
            reason=error.reason,
            room=room,
            code=int(error.close_code),
        )

    def note_login(self, session: Session) -> None:
        """Put it on record that somebody was let in."""
        self.audit.record(
            AuditEvent.LOGIN,
            identity=session.identity,
            address=session.caller.address,
            room=session.room,
            role=session.admission.role.name.lower(),
            dialect=session.dialect.value,
        )

    def _note_end(self, session: Session, error: PeerError) -> None:
        self.audit.record(
            AuditEvent.END,
            identity=session.identity,
            address=session.caller.address,
            reason=error.reason,
            room=session.room,
            dialect=session.dialect.value,
            code=int(error.close_code),
        )

    def next_member_id(self) -> int:
        """An id that no other member on this node has."""
        self._next_member_id += 1
        return self._next_member_id

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do something for a connection that waits; it is cancelled by ``close``."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    @property
    def is_bringing_in(self) -> bool:
        """Whether anybody is on the way into a room, or has a token judged."""
        return bool(self._tasks)

    async def run(self) -> None:
        """Close those who say nothing, end what has run out, keep the others connected. Until cancelled.

        The stable y-websocket provider reconnects after 30 s without a data frame
        (``messageReconnectTimeout``), and so does the Hocuspocus provider.
        """
        turns = 0
        keepalive_turns = max(1, int(self.settings.keepalive_s / 2))
        while True:
            await asyncio.sleep(1)
            turns += 1
            self.close_late(self.clock())
            self.sessions.tick()
            if turns % keepalive_turns == 0:
                for connection in list(self.connections):
                    connection.keep_alive()

    def close_late(self, now: float) -> None:
        """Close those who have not spoken, or not authenticated, in time."""
        _close_overdue(self.silent, now - self.settings.silence_timeout_s, "said nothing")
        _close_overdue(
            self.unauthenticated, now - self.settings.auth_timeout_s, "did not authenticate in time"
        )

    async def close(self) -> None:
        """Stop bringing anybody in. The sockets are the transport's to close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session could not enter its room", exc_info=error)


def _close_overdue(waiting: dict[Watched, float], came_before: float, reason: str) -> None:
    for connection, since in list(waiting.items()):
        if since > came_before:
            return
        connection.close(SilentError(reason))
        waiting.pop(connection, None)
