"""How many messages an address, a user and a room may send, over all their connections. Pure."""

from __future__ import annotations

from dataclasses import dataclass

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

    def purse(self, address: str | None, user: str | None, room: str | None) -> Purse:
        """What the messages of one member are paid from; None: that one does not pay."""
        own = [(self.by_address, address), (self.by_user, user)]
        return Purse(
            tuple((meter, key) for meter, key in own if meter.limits and key is not None),
            (self.by_room, room) if self.by_room.limits and room is not None else None,
        )


class Purse:
    """Pays for the messages of one member."""

    __slots__ = ("_own", "_room", "_unpaid")

    def __init__(self, own: tuple[tuple[Meter, str], ...], room: tuple[Meter, str] | None) -> None:
        self._own = own
        self._room = room
        self._unpaid = 0.0

    def pay(self, now: float, amount: float = 1.0) -> float:
        """Pay for a message; for how many seconds its sender is to be held back, mostly 0.0."""
        self._unpaid = unpaid = self._unpaid + amount
        if unpaid < _BATCH:
            return 0.0
        self._unpaid = 0.0
        hold_back_s = 0.0
        for meter, key in self._own:
            hold_back_s = max(hold_back_s, meter.take(key, now, unpaid))
        if self._room is not None:
            meter, key = self._room
            hold_back_s = max(hold_back_s, meter.take(key, now, unpaid))
        return hold_back_s

    def strained_s(self, now: float) -> float:
        """For how long the sender's own address or user has been too fast without a breath of a second.

        A room that is too fast holds all its writers back, but is nobody's own fault.
        """
        return max((meter.strained_s(key, now) for meter, key in self._own), default=0.0)
