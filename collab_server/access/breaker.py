"""A circuit breaker: whoever fails again and again is left alone for a while. Pure; the time is handed in."""

from __future__ import annotations


class Breaker:
    """Counts failures in a row. After ``failures_max`` nobody may try for ``pause_s``; then one may."""

    __slots__ = ("_failures", "_failures_max", "_is_tried", "_open_until", "_pause_s")

    def __init__(self, failures_max: int, pause_s: float) -> None:
        self._failures_max = failures_max
        self._pause_s = pause_s
        self._failures = 0
        self._open_until: float | None = None
        self._is_tried = False

    @property
    def is_open(self) -> bool:
        """Whether it has failed too often and has not succeeded since."""
        return self._open_until is not None

    def may_try(self, now: float) -> bool:
        """Whether to try now. After True say ``succeeded`` or ``failed``, whatever happens."""
        if self._open_until is None:
            return True
        if now < self._open_until or self._is_tried:
            return False
        self._is_tried = True
        return True

    def succeeded(self) -> None:
        """It works."""
        self._failures = 0
        self._open_until = None
        self._is_tried = False

    def failed(self, now: float) -> None:
        """It does not."""
        self._failures += 1
        if self._is_tried or (self._open_until is None and self._failures >= self._failures_max):
            self._open_until = now + self._pause_s
        self._is_tried = False
