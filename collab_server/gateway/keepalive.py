"""Who is still there: pings, pongs and silence of all connections, with one tick for all of them.

A wheel: every connection sits in one of N slots, each tick visits one slot, a turn of the wheel is the ping
interval. So 10,000 connections cost one timer and not 10,000. Pure: ``tick`` is called with the time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from collab_server.errors import BusyError, PeerError, SilentError
from collab_server.gateway.settings import TransportSettings


class Watched(Protocol):
    """What the wheel needs of a connection."""

    def take_heard(self, now: float) -> bool:
        """Whether anything was received since the last call, be it a part of a frame."""

    def is_reading(self) -> bool:
        """Whether the server reads from it now: only then is silence the peer's fault."""

    def data_age_s(self, now: float) -> float:
        """Time since the client's last data message (or since it opened)."""

    def stalled_s(self, now: float) -> float:
        """For how long it has been full; 0 when it is not."""

    def nap(self, now: float) -> bool:
        """Let go of what only a talking connection needs; True if that is done."""

    def ping(self) -> None:
        """Send a ping."""

    def give_up(self, error: PeerError) -> None:
        """Close it."""


_NAP_LOOK_S = 3.0  # how often one that talks is asked whether it naps again

W = TypeVar("W", bound=Watched)


class Keepalive(Generic[W]):
    """The wheel. Call ``tick`` every ``tick_s`` seconds."""

    def __init__(self, settings: TransportSettings) -> None:
        self._pings = settings.ping_interval_s > 0
        self._idle_timeout_s = settings.idle_timeout_s
        self._pong_timeout_s = settings.pong_timeout_s
        self._stall_timeout_s = settings.stall_timeout_s
        turn_s = settings.ping_interval_s or 25.0
        turn_s = min(turn_s, settings.idle_timeout_s or turn_s, settings.stall_timeout_s or turn_s)
        self.tick_s = min(1.0, turn_s / 4, settings.pong_timeout_s)
        self._slots: list[set[W]] = [set() for _ in range(math.ceil(turn_s / self.tick_s))]
        self._at = 0
        self._awake: list[set[W]] = [set() for _ in range(max(1, round(_NAP_LOOK_S / self.tick_s)))]
        """Who has a parser, in slots as above: each tick asks one of them who naps again."""
        self._pinged: deque[tuple[float, list[W]]] = deque()
        self._awaited: dict[W, float] = {}
        """Until when an answer to a ping has time; whoever was heard since is not in here."""

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots)

    def __iter__(self) -> Iterator[W]:
        """All connections; a copy, so that they may leave meanwhile."""
        return iter([socket for slot in self._slots for socket in slot])

    def add(self, socket: W) -> None:
        """Watch a connection from now on."""
        self._slot_of(socket, self._slots).add(socket)

    def discard(self, socket: W) -> None:
        """Watch it no more."""
        self._slot_of(socket, self._slots).discard(socket)
        self._slot_of(socket, self._awake).discard(socket)
        self._awaited.pop(socket, None)

    def awake(self, socket: W) -> None:
        """A connection has begun to talk: ask it now and then whether it naps again."""
        self._slot_of(socket, self._awake).add(socket)

    def tick(self, now: float) -> None:
        """Judge who was pinged ``pong_timeout_s`` ago, then visit the next slot."""
        while self._pinged and self._pinged[0][0] <= now:
            due, sockets = self._pinged.popleft()
            for socket in sockets:
                # A visit since may have heard it, and have pinged it once more.
                if self._awaited.get(socket) == due:
                    del self._awaited[socket]
                    self._judge(socket, now)
        self._at += 1
        awake = self._awake[self._at % len(self._awake)]
        awake.difference_update([socket for socket in awake if socket.nap(now)])
        visited = list(self._slots[self._at % len(self._slots)])
        pinged = [socket for socket in visited if self._visit(socket, now)]
        if pinged:
            due = now + self._pong_timeout_s
            self._pinged.append((due, pinged))
            self._awaited.update(dict.fromkeys(pinged, due))

    @staticmethod
    def _slot_of(socket: W, slots: list[set[W]]) -> set[W]:
        # The address of an object is a good enough hash, and costs the socket no memory.
        return slots[(id(socket) >> 5) % len(slots)]

    def _judge(self, socket: W, now: float) -> None:
        if socket.is_reading() and not socket.take_heard(now):
            socket.give_up(SilentError("no answer to a ping"))

    def _visit(self, socket: W, now: float) -> bool:
        """Whether it was pinged and is to be judged."""
        if self._stall_timeout_s and socket.stalled_s(now) >= self._stall_timeout_s:
            socket.give_up(BusyError("reads too slowly"))
            return False
        if not socket.is_reading():
            return False
        has_spoken = socket.take_heard(now)
        if has_spoken:
            self._awaited.pop(socket, None)
        if self._idle_timeout_s and socket.data_age_s(now) >= self._idle_timeout_s:
            socket.give_up(SilentError("no message for too long"))
            return False
        if has_spoken or not self._pings or socket in self._awaited:
            return False
        socket.ping()
        return True
