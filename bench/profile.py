"""The schedule: when who is connected, and when each message is due. Fixed before the run, from its seed.

Times are seconds from the beginning of the first stage. Latency counts from these times and from nothing
else: a generator or a server that falls behind makes later messages late, and that shows. (A harness that
sends the next message when the last one is through would measure a stalled server once, and not for each
message that should have been sent meanwhile.)
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.scenario import Arrival, Stage


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line over a stretch of time."""

    begin_s: float
    end_s: float
    begin: float
    end: float


def client_lines(stages: Sequence[Stage]) -> list[Line]:
    """The share of the clients that is connected, over time."""
    return _lines(stages, [stage.clients for stage in stages])


def rate_lines(stages: Sequence[Stage]) -> list[Line]:
    """The multiple of the base rates, over time; 1 unless a stage says otherwise."""
    lines = _lines(stages, [stage.rate for stage in stages], before=1.0)
    first = next((stage.rate for stage in stages if stage.rate is not None), None)
    if first is not None and stages[0].rate is not None:
        # The first stage has nothing to come from: what it names holds from its beginning.
        lines[0] = Line(lines[0].begin_s, lines[0].end_s, stages[0].rate, stages[0].rate)
    return lines


def _lines(stages: Sequence[Stage], ends: Sequence[float | None], before: float = 0.0) -> list[Line]:
    lines, at_s, value = [], 0.0, before
    for stage, end in zip(stages, ends, strict=True):
        to = value if end is None else end
        lines.append(Line(at_s, at_s + stage.duration_s, value, to))
        at_s, value = at_s + stage.duration_s, to
    return lines


def presence(lines: Sequence[Line], rank: int, clients: int) -> list[tuple[float, float]]:
    """The stretches of time in which the client of this rank is connected.

    Clients come in the order of their ranks, and go in the opposite order. The last stretch ends with the
    stages: who is there then stays until the run is checked.
    """
    level = (rank + 0.5) / clients
    stretches: list[tuple[float, float]] = []
    since: float | None = None
    for line in lines:
        was, will = line.begin >= level, line.end >= level
        if was and since is None:
            since = line.begin_s
        if was == will:
            continue
        share = (level - line.begin) / (line.end - line.begin)
        at_s = line.begin_s + (line.end_s - line.begin_s) * share
        if will:
            since = at_s
        elif since is not None:
            stretches.append((since, at_s))
            since = None
    if since is not None:
        stretches.append((since, math.inf))
    return stretches


class Cumulative:
    """How many messages were due up to a time, and the inverse of it."""

    def __init__(self, lines: Sequence[Line], rate_per_s: float) -> None:
        self._lines = [line for line in lines if line.end_s > line.begin_s]
        self._rate = rate_per_s
        self._counts = [0.0]
        for line in self._lines:
            area = (line.begin + line.end) / 2 * (line.end_s - line.begin_s) * rate_per_s
            self._counts.append(self._counts[-1] + area)

    @property
    def total(self) -> float:
        """Messages over the whole run."""
        return self._counts[-1]

    def time_at(self, count: float) -> float | None:
        """When ``count`` messages were due; None if the run is over before."""
        if count >= self.total:
            return None
        at = bisect.bisect_right(self._counts, count) - 1
        line = self._lines[at]
        left = (count - self._counts[at]) / self._rate
        if left <= 0:
            return line.begin_s
        slope = (line.end - line.begin) / (line.end_s - line.begin_s)
        if abs(slope) < 1e-12:
            return line.begin_s + left / line.begin
        # begin * x + slope * x^2 / 2 = left, in the form that loses no digits
        root = math.sqrt(max(0.0, line.begin * line.begin + 2 * slope * left))
        return line.begin_s + 2 * left / (line.begin + root)

    def count_at(self, at_s: float) -> float:
        """How many messages were due up to a time."""
        total = 0.0
        for line, before in zip(self._lines, self._counts, strict=False):
            if at_s <= line.begin_s:
                break
            x = min(at_s, line.end_s) - line.begin_s
            slope = (line.end - line.begin) / (line.end_s - line.begin_s)
            total = before + self._rate * (line.begin * x + slope * x * x / 2)
        return total


def arrivals(
    cumulative: Cumulative,
    arrival: Arrival,
    dice: random.Random,
    *,
    burst_messages: int = 20,
    burst_rate_per_s: float = 8.0,
) -> Iterator[float]:
    """The times at which one client's messages are due, ascending. ``cumulative`` is one client's."""
    if arrival is Arrival.BURSTS:
        yield from _bursts(cumulative, dice, burst_messages, burst_rate_per_s)
        return
    count = dice.random() if arrival is Arrival.EVEN else dice.expovariate(1.0)
    while (at_s := cumulative.time_at(count)) is not None:
        yield at_s
        count += 1.0 if arrival is Arrival.EVEN else dice.expovariate(1.0)


def _bursts(
    cumulative: Cumulative, dice: random.Random, burst_messages: int, burst_rate_per_s: float
) -> Iterator[float]:
    count = dice.random() * burst_messages
    after_s = 0.0
    while (start_s := cumulative.time_at(count)) is not None:
        at_s = max(start_s, after_s)
        for n in range(burst_messages):
            yield at_s + n / burst_rate_per_s
        after_s = at_s + burst_messages / burst_rate_per_s
        count += burst_messages * dice.uniform(0.5, 1.5)


def stage_starts(stages: Sequence[Stage]) -> list[float]:
    """When each stage begins, and at the end of the list when the last one ends."""
    starts = [0.0]
    for stage in stages:
        starts.append(starts[-1] + stage.duration_s)
    return starts
