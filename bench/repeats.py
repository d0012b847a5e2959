"""Statistics of few repeats, without assumptions about how they are distributed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Repeats:
    """The same figure, measured several times."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Repeats | None:
        """The values that are known; None when none is."""
        known = tuple(sorted(value for value in values if value is not None))
        return cls(known) if known else None

    @property
    def median(self) -> float:
        """The middle one."""
        return float(median(self.values))

    @property
    def low(self) -> float:
        """The lowest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest."""
        return max(self.values)

    @property
    def spread_percent(self) -> float:
        """How far the highest lies above the lowest, in percent of the median."""
        return 100 * (self.high - self.low) / self.median if self.median else 0.0

    @property
    def confidence(self) -> float:
        """How probable it is that the true median lies between the lowest and the highest.

        Each repeat falls above or below the true median like a coin, so all lie on one side of it with
        probability 2 * 0.5**n, whatever the distribution.
        """
        return 1 - 0.5 ** (len(self.values) - 1)


def ratio(ours: Sequence[float | None], other: Sequence[float | None]) -> Repeats | None:
    """Ours over the other's, round by round: what disturbs a whole round cancels out."""
    pairs = zip(ours, other, strict=True)
    return Repeats.of([a / b if a is not None and b else None for a, b in pairs])


def held_at_least(held: int, tried: int, confidence: float = 0.95) -> float:
    """The lowest share of runs that would hold, which ``held`` of ``tried`` still makes believable.

    The one-sided bound of Clopper and Pearson: below it, so many successes or more had a probability of less
    than ``1 - confidence``. 5 of 5 give 0.55, 20 of 20 give 0.86.
    """
    if not 0 <= held <= tried or tried < 1:
        raise ValueError(f"{held} of {tried}")
    if held == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        at_least = sum(
            math.comb(tried, count) * share**count * (1 - share) ** (tried - count)
            for count in range(held, tried + 1)
        )
        if at_least < 1 - confidence:
            low = share
        else:
            high = share
    return low
