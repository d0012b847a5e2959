"""How many messages an address, a user and a room may send, over all their connections. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from collab_server.access.callers import network_of
from collab_server.access.identity import Caller, Identity
from collab_server.access.meters import Meter

_BATCH = 16.0
"""Messages that one connection counts by itself before it tells the meters: they cost the way of an edit
next to nothing then."""


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """Messages a second on average, and at once; a rate of 0 is no limit."""

    address_rate_max_per_s: float = 0
    user_rate_max_per_s: float = 0
    room_rate_max_per_s: float = 0
    burst_s: float = 10.0
    """Who was quiet may send what the rate allows in this time at once."""
    keys_max: int = 50_000


class Traffic:
    """The meters of a node."""

    def __init__(self, settings: TrafficSettings) -> None:
        def meter(name: str, rate: float) -> Meter:
            return Meter(name, rate, rate * settings.burst_s, settings.keys_max)

        self.by_address = meter("ma", settings.address_rate_max_per_s)
        self.by_user = meter("mu", settings.user_rate_max_per_s)
        self.by_room = meter("mr", settings.room_rate_max_per_s)

    @property
    def meters(self) -> tuple[Meter, ...]:
        """All of them, for those who share them with other nodes."""
        return (self.by_address, self.by_user, self.by_room)

    def of_connection(self, caller: Caller) -> Purse:
        """What pays for all that comes over one socket. Programs on this machine are not limited."""
        if caller.is_loopback or not self.by_address.limits:
            return NOBODY
        return Purse(((self.by_address, network_of(caller.address)),))

    def of_member(self, identity: Identity, room: str) -> Purse:
        """What pays, besides, for all that goes into one room."""
        payers: list[tuple[Meter, str]] = [(self.by_room, room)] if self.by_room.limits else []
        user = identity.user_id if self.by_user.limits else None
        if user is not None:
            payers.append((self.by_user, user))
        return Purse(tuple(payers), culprit=(self.by_user, user) if user is not None else None)


class Purse:
    """Pays for messages."""

    __slots__ = ("_culprit", "_payers", "_unpaid")

    def __init__(
        self, payers: tuple[tuple[Meter, str], ...], culprit: tuple[Meter, str] | None = None
    ) -> None:
        self._payers = payers
        self._culprit = culprit
        self._unpaid = 0.0

    def pay(self, now: float, amount: float = 1.0) -> float:
        """Pay for a message; for how many seconds its sender is to be held back, mostly 0.0."""
        self._unpaid = unpaid = self._unpaid + amount
        if unpaid < _BATCH:
            return 0.0
        self._unpaid = 0.0
        hold_back_s = 0.0
        for meter, key in self._payers:
            hold_back_s = max(hold_back_s, meter.take(key, now, unpaid))
        return hold_back_s

    def strained_s(self, now: float) -> float:
        """For how long the user has been too fast without a breath of a second.

        A room, or an address that many share, holds its senders back, but is not the fault of each of them.
        """
        if self._culprit is None:
            return 0.0
        meter, key = self._culprit
        return meter.strained_s(key, now)


NOBODY = Purse(())
"""Pays for everything."""
