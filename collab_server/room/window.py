"""When a room's waiting edits are to be flushed: a function of times and load, without a clock of its own.

Leading edge: the first edit after quiet is due at once, that is at the end of the current turn of the loop,
so a quiet room adds no delay. Under load edits are gathered: a room of N writers then costs N frames for each
window instead of N for each keystroke.

The load is an exponentially weighted rate of deliveries (edits times members) in 1/s, with a time constant of
one second. The window's length is a straight line over it::

    length = flush_window_max * clamp((load - quiet) / (full - quiet), 0, 1)

With the defaults (quiet 500/s, full 8,000/s, 20 ms): 4 members who type 10 edits/s each are 160/s, no window;
10 of them are 1,000/s, 1.3 ms; 50 at 5 edits/s are 12,500/s, the full 20 ms; one client that pastes 10,000
small edits reaches it within the burst.
"""

from __future__ import annotations

from math import exp

from collab_server.room.settings import RoomSettings

TIME_CONSTANT_S = 1.0


class Window:
    """The load of one room, and the moment at which what waits in it is due."""

    __slots__ = ("_flushed_at", "_full", "_load", "_max_ms", "_measured_at", "_quiet")

    def __init__(self, settings: RoomSettings) -> None:
        self._max_ms = settings.flush_window_max_ms
        self._quiet = settings.flush_quiet_deliveries_per_s
        self._full = settings.flush_full_deliveries_per_s
        self._load = 0.0
        self._measured_at = 0.0
        self._flushed_at = -1e9

    def count(self, deliveries: int, now: float) -> None:
        """An edit came that goes to so many members."""
        self._load = self.load(now) + deliveries / TIME_CONSTANT_S
        self._measured_at = now

    def load(self, now: float) -> float:
        """Deliveries per second, recently."""
        elapsed = now - self._measured_at
        if elapsed <= 0.0 or not self._load:
            return self._load
        return self._load * exp(-elapsed / TIME_CONSTANT_S)

    def length_ms(self, now: float) -> float:
        """How long edits are to be gathered at the present load."""
        share = (self.load(now) - self._quiet) / max(self._full - self._quiet, 1e-9)
        return self._max_ms * min(max(share, 0.0), 1.0)

    def due(self, now: float) -> float:
        """When the window that opens ``now`` is to be closed: never before ``now``."""
        if self._load <= self._quiet:  # it only falls with time
            return now
        return max(now, self._flushed_at + self.length_ms(now) / 1000)

    def flushed(self, now: float) -> None:
        """The window was closed."""
        self._flushed_at = now
