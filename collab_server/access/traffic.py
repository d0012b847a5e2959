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
        return Purse(self, address=network_of(caller.address))

    def of_member(self, identity: Identity, room: str) -> Purse:
        """What pays, besides, for all that goes into one room."""
        payer = room if self.by_room.limits else None
        user = identity.user_id if self.by_user.limits else None
        return NOBODY if payer is None and user is None else Purse(self, room=payer, user=user)


class Purse:
    """Pays for messages, with what an address, a room and a user have; None for what pays nothing."""

    __slots__ = ("_address", "_room", "_traffic", "_unpaid", "_user")

    def __init__(
        self,
        traffic: Traffic,
        *,
        address: str | None = None,
        room: str | None = None,
        user: str | None = None,
    ) -> None:
        self._traffic = traffic
        self._address = address
        self._room = room
        self._user = user
        self._unpaid = 0.0

    def pay(self, now: float, amount: float = 1.0) -> float:
        """Pay for a message; for how many seconds its sender is to be held back, mostly 0.0."""
        self._unpaid = unpaid = self._unpaid + amount
        if unpaid < _BATCH:
            return 0.0
        self._unpaid = 0.0
        traffic = self._traffic
        hold_back_s = 0.0
        for meter, key in (
            (traffic.by_address, self._address),
            (traffic.by_room, self._room),
            (traffic.by_user, self._user),
        ):
            if key is not None:
                hold_back_s = max(hold_back_s, meter.take(key, now, unpaid))
        return hold_back_s

    def strained_s(self, now: float) -> float:
        """For how long the user has been too fast without a breath of a second.

        A room, or an address that many share, holds its senders back, but is not the fault of each of them.
        """
        return 0.0 if self._user is None else self._traffic.by_user.strained_s(self._user, now)


NOBODY = Purse(Traffic(TrafficSettings()))
"""Pays for everything."""
