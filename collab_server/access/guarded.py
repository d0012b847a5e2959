"""A gatekeeper that does not check tokens for an address that brings wrong ones all the time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from collab_server.access.base import Gatekeeper
from collab_server.access.callers import network_of
from collab_server.access.identity import Admission, Caller
from collab_server.access.meters import Meter
from collab_server.errors import FloodError, NotAuthenticatedError


class GuardedGatekeeper:
    """Asks another gatekeeper, and counts by address what it finds wrong.

    To check a signature, or to ask the application, costs far more than to bring a wrong token. A request
    without any token costs nothing, and is not counted; neither is a program on this machine.
    """

    def __init__(
        self,
        inner: Gatekeeper,
        failures: Meter,
        *,
        clock: Callable[[], float],
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        """``failures``: the wrong tokens of an address. ``on_refused`` counts who was not heard."""
        self._inner = inner
        self._failures = failures
        self._clock = clock
        self._on_refused = on_refused

    @property
    def admits_anonymous(self) -> bool:
        """As the gatekeeper behind it."""
        return self._inner.admits_anonymous

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        """As the gatekeeper behind it; also raises FloodError (4429)."""
        with self._watching(token, caller):
            return await self._inner.admit(token, room, caller)

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        """As the gatekeeper behind it; also raises FloodError (4429)."""
        with self._watching(token, caller):
            return await self._inner.admit_everywhere(token, caller)

    @contextlib.contextmanager
    def _watching(self, token: str | None, caller: Caller) -> Iterator[None]:
        if token is None or caller.is_loopback:
            yield
            return
        network = network_of(caller.address)
        if self._failures.owes(network, self._clock()):
            self._on_refused()
            raise FloodError("too many wrong tokens from this address")
        try:
            yield
        except NotAuthenticatedError:
            self._failures.take(network, self._clock())
            raise
