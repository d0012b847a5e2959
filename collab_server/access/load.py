"""When a node has too much to do: first it lets nobody in, then it lets the least important go. Pure.

A node that is over its capacity gets slow for everybody. This one says so instead, sends new clients
elsewhere, and, when that is not enough, sends away those who miss the least by reconnecting somewhere else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Level(IntEnum):
    """What a node does about its load."""

    NORMAL = 0
    REFUSING = 1
    """New connections are told to come later."""
    CLOSING = 2
    """Also, connections are closed, the least important first."""


class Measure(StrEnum):
    """What can be too much."""

    CPU = "cpu"
    MEMORY = "memory"
    LOOP_LAG = "loop_lag"
    CONNECTIONS = "connections"


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of the process at one moment."""

    cpu_share: float
    """Of one core, used by the event loop's thread since the last sample: 0.0 to 1.0."""
    memory_bytes: int
    loop_lag_s: float
    connections: int


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """From where on it is too much; 0 switches a measure off."""

    cpu_share_max: float = 0.95
    memory_bytes_max: int = 0
    loop_lag_max_s: float = 1.0
    connections_max: int = 0
    window_s: float = 10.0
    """CPU and lag are averages over about this time: a busy moment is no overload."""
    patience_s: float = 30.0
    """For how long refusing new connections is tried before others are closed."""
    relief_share: float = 0.9
    """What was too much must fall below this share of its limit before all is well again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do now."""

    level: Level
    causes: tuple[Measure, ...] = ()
    """What is too much, or was and has not fallen far enough."""
    spares_active: bool = False
    """Whether only those who do nothing may be closed: active ones lighten nothing but the count."""


class Load:
    """Looks at samples and decides."""

    def __init__(self, settings: LoadSettings) -> None:
        self._settings = settings
        self._averages: dict[Measure, float] = {}
        self._over: dict[Measure, float] = {}
        """What is too much, and since when."""
        self.verdict = Verdict(Level.NORMAL)

    def look(self, sample: Sample, now: float, elapsed_s: float) -> Verdict:
        """Judge. ``now`` is in seconds and never falls; ``elapsed_s`` is the time since the sample before."""
        pressures = self._pressures(sample, elapsed_s)
        for measure, pressure in pressures.items():
            # Places are free or not; there is no average of that, and none is held back.
            relief = 1.0 if measure is Measure.CONNECTIONS else self._settings.relief_share
            if pressure >= 1.0:
                self._over.setdefault(measure, now)
            elif pressure < relief:
                self._over.pop(measure, None)
        if not self._over:
            self.verdict = Verdict(Level.NORMAL)
            return self.verdict
        # What is between relief and limit is getting better by itself: nobody is closed for it.
        grave = [
            measure
            for measure, since in self._over.items()
            if now - since >= self._settings.patience_s and pressures[measure] >= 1.0
        ]
        self.verdict = Verdict(
            Level.CLOSING if grave else Level.REFUSING,
            tuple(sorted(self._over)),
            spares_active=set(grave) == {Measure.CONNECTIONS},
        )
        return self.verdict

    @property
    def is_only_full(self) -> bool:
        """Whether nothing but the number of connections is too much: that one ends with the next goodbye."""
        return self.verdict.causes == (Measure.CONNECTIONS,)

    def describe(self) -> str | None:
        """What is too much, in words and figures; None when nothing is."""
        if self.verdict.level is Level.NORMAL:
            return None
        return "overloaded: " + ", ".join(self._in_words(measure) for measure in self.verdict.causes)

    def _pressures(self, sample: Sample, elapsed_s: float) -> Mapping[Measure, float]:
        """Each measure as a share of its limit."""
        settings = self._settings
        pressures: dict[Measure, float] = {}
        for measure, value, limit in (
            (Measure.CPU, sample.cpu_share, settings.cpu_share_max),
            (Measure.LOOP_LAG, sample.loop_lag_s, settings.loop_lag_max_s),
        ):
            if limit:
                pressures[measure] = self._average(measure, value, elapsed_s) / limit
        for measure, amount, most in (
            (Measure.MEMORY, sample.memory_bytes, settings.memory_bytes_max),
            (Measure.CONNECTIONS, sample.connections, settings.connections_max),
        ):
            if most:
                self._averages[measure] = amount
                pressures[measure] = amount / most
        return pressures

    def _average(self, measure: Measure, value: float, elapsed_s: float) -> float:
        before = self._averages.get(measure, 0.0)
        weight = 1.0 - math.exp(-elapsed_s / self._settings.window_s)
        self._averages[measure] = average = before + (value - before) * weight
        return average

    def _in_words(self, measure: Measure) -> str:
        value, settings = self._averages[measure], self._settings
        match measure:
            case Measure.CPU:
                return f"CPU at {value:.0%} of a core"
            case Measure.LOOP_LAG:
                return f"the event loop is {value * 1000:.0f} ms late"
            case Measure.MEMORY:
                return f"memory at {value / settings.memory_bytes_max:.0%} of its limit"
            case Measure.CONNECTIONS:
                return f"all {settings.connections_max} connections are taken"
