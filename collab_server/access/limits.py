"""How much of it: rates. Pure; the time is handed in."""

from __future__ import annotations

_BREATH_S = 1.0
"""A strain that pauses for this long is over."""


class Pace:
    """A token bucket that lends: it says for how long to hold back who is too fast."""

    __slots__ = ("_burst", "_rate_per_s", "_strained_since", "_strained_until", "_tokens", "_updated_at")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        """``burst`` tokens at once, ``rate_per_s`` on average. ``now`` is in seconds and never falls."""
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._updated_at = now
        self._strained_since = now
        self._strained_until = now - _BREATH_S

    def take(self, now: float, amount: float = 1.0) -> float:
        """Take tokens, on credit if there are none; seconds until it is paid back, 0.0 within the rate."""
        tokens = self._tokens + (now - self._updated_at) * self._rate_per_s
        self._updated_at = now
        tokens = min(tokens, self._burst)
        self._tokens = tokens = tokens - amount
        if tokens >= 0.0:
            return 0.0
        hold_back_s = -tokens / self._rate_per_s
        if now >= self._strained_until + _BREATH_S:
            self._strained_since = now
        self._strained_until = now + hold_back_s
        return hold_back_s

    def available(self, now: float) -> float:
        """How many tokens there are; below 0 what is owed."""
        return min(self._tokens + (now - self._updated_at) * self._rate_per_s, self._burst)

    @property
    def strained_until(self) -> float:
        """When the credit taken so far is paid back."""
        return self._strained_until

    def strained_s(self, now: float) -> float:
        """For how long this one has been too fast without a breath of a second; 0.0 if it is not."""
        return now - self._strained_since if now < self._strained_until + _BREATH_S else 0.0
