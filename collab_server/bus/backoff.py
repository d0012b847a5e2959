"""How long to wait before the next try. Pure; the randomness is handed in."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Doubles from ``first_s`` up to ``most_s``, each a random half more or less.

    Many nodes must not knock at a server at once that has just come back.
    """

    def __init__(self, first_s: float, most_s: float, random: Callable[[], float]) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._random = random
        self._next_s = first_s

    def next_s(self) -> float:
        """How long to wait now."""
        now_s = self._next_s
        self._next_s = min(self._most_s, now_s * 2)
        return now_s * (0.5 + self._random())

    def reset(self) -> None:
        """It has worked: begin small again."""
        self._next_s = self._first_s
