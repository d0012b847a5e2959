"""Connections that come and go, as the transport tells it."""

from __future__ import annotations

from http import HTTPStatus

from collab_server.errors import CloseCode
from collab_server.telemetry.metrics import Metrics, Refusal

_REFUSALS = {
    CloseCode.SERVICE_RESTART.value: Refusal.DRAINING,
    CloseCode.OVERLOADED.value: Refusal.CONNECTIONS_MAX,
    HTTPStatus.SERVICE_UNAVAILABLE.value: Refusal.CONNECTIONS_MAX,
}


class ConnectionCounts:
    """Counts what the transport reports; it implements ``gateway.observer.TransportObserver``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def opened(self) -> None:
        """A socket was opened."""
        self._metrics.accepted.inc()

    def closed(self, code: int, *, clean: bool, by_server: bool) -> None:
        """A socket came to its end."""
        self._metrics.count_closed(code, by_server=by_server)

    def refused(self, status: int) -> None:
        """A request was answered with an HTTP error or with a close code."""
        self._metrics.count_refused(_REFUSALS.get(status, Refusal.BAD_REQUEST))
