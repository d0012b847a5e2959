"""How many connections one address may have, and how often it may come. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from collab_server.access.meters import Meter


class AddressFault(StrEnum):
    """Why an address gets no further connection just now."""

    CONNECTIONS = "too many connections from this address"
    RATE = "too many new connections from this address"


@dataclass(frozen=True, slots=True)
class AddressSettings:
    """0 is no limit."""

    connections_max: int = 0
    rate_max_per_s: float = 0
    burst_max: float = 1
    keys_max: int = 50_000


class Addresses:
    """Counts connections by address: see ``callers.network_of``."""

    def __init__(self, settings: AddressSettings) -> None:
        self._connections_max = settings.connections_max
        self._open: dict[str, int] = {}
        self.rate = Meter("c", settings.rate_max_per_s, settings.burst_max, settings.keys_max)
        """New connections."""

    def enter(self, network: str, now: float) -> AddressFault | None:
        """Let a connection in, and ``leave`` must follow; or say why not, and nothing is counted."""
        held = self._open.get(network, 0)
        if self._connections_max and held >= self._connections_max:
            return AddressFault.CONNECTIONS
        if not self.rate.try_take(network, now):
            return AddressFault.RATE
        self._open[network] = held + 1
        return None

    def leave(self, network: str) -> None:
        """A connection that was let in is gone."""
        held = self._open[network]
        if held > 1:
            self._open[network] = held - 1
        else:
            del self._open[network]
