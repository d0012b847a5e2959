"""Gets rid of load: measures it, keeps new connections out, and closes the least important ones if need be.

Least important first: sockets that are in no document; then those that may not write; then those that may,
the ones that have not written for longest first. Whoever is closed gets 1013, which every client takes for
"come back later", and comes to another node where there is one.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

import structlog

from collab_server.access.load import Level, Load, Sample, Verdict
from collab_server.errors import BusyError
from collab_server.gateway.connection import Connection
from collab_server.gateway.lobby import Lobby
from collab_server.gateway.stay import Stay
from collab_server.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_INTERVAL_S = 1.0
_ACTIVE_TURNS = 6
"""Turns of the keep-alive: who wrote within this many (a minute, by default) is active."""


class Shedder:
    """The load of a node, and what is done about it."""

    def __init__(
        self,
        load: Load,
        lobby: Lobby,
        sample: Callable[[float, int], Sample],
        metrics: Metrics,
        *,
        closes_max_per_s: int,
        clock: Callable[[], float],
    ) -> None:
        """``sample`` is given the event loop's lag in seconds and the open connections, and adds the rest."""
        self._load = load
        self._lobby = lobby
        self._sample = sample
        self._metrics = metrics
        self._closes_max = max(1, round(closes_max_per_s * _INTERVAL_S))
        self._clock = clock
        self._looked_at = clock()

    @property
    def refuses(self) -> bool:
        """Whether new connections are to be told to come later."""
        return self._load.verdict.level >= Level.REFUSING and not self._load.is_only_full

    @property
    def trouble(self) -> str | None:
        """What is too much, in words; None when nothing is."""
        return self._load.describe()

    async def run(self) -> None:
        """Look each second, until cancelled."""
        while True:
            due = self._clock() + _INTERVAL_S
            await asyncio.sleep(_INTERVAL_S)
            self.look(max(0.0, self._clock() - due))

    def look(self, lag_s: float) -> None:
        """Measure, and act."""
        now = self._clock()
        before = self._load.verdict.level
        sample = self._sample(lag_s, len(self._open()))
        verdict = self._load.look(sample, now, now - self._looked_at)
        self._looked_at = now
        self._metrics.load_level.set(verdict.level)
        if verdict.level is not before:
            if verdict.level is Level.NORMAL:
                log.info("the load is normal again")
            else:
                told = {
                    Level.REFUSING: "new connections are refused",
                    Level.CLOSING: "connections are closed",
                }
                log.warning(told[verdict.level], why=self._load.describe())
        if verdict.level is Level.CLOSING:
            self._close_some(verdict)

    def _open(self) -> list[Connection]:
        """The connections that have not begun to close."""
        return [
            connection
            for connection in self._lobby.connections
            if isinstance(connection, Connection) and connection.is_open
        ]

    def _close_some(self, verdict: Verdict) -> None:
        ranks: dict[Connection, tuple[int, int]] = dict.fromkeys(self._open(), (0, 0))
        for session in self._lobby.sessions:
            if isinstance(session, Stay) and session.connection in ranks:
                rank = (2, -session.connection.idle_turns) if session.member.can_write else (1, 0)
                ranks[session.connection] = max(ranks[session.connection], rank)
        if verdict.spares_active:
            ranks = {
                connection: rank
                for connection, rank in ranks.items()
                if rank[0] < 2 or connection.idle_turns >= _ACTIVE_TURNS
            }
        for connection in heapq.nsmallest(self._closes_max, ranks, key=ranks.__getitem__):
            connection.close(BusyError("overloaded; come back later"))
            self._metrics.load_closed.inc()
