"""What the generator processes report, put together: second by second, and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.generator.tally import COUNTS, STAGE_SHIFT, TIMES, paired
from bench.histogram import Histogram
from bench.profile import stage_starts
from bench.result import times_of
from bench.scenario import Scenario

_STEP_MASK: Final = (1 << STAGE_SHIFT) - 1


@dataclass(slots=True)
class Second:
    """One second of the run, of all processes together."""

    reports: int = 0
    connected: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    edits: Histogram = field(default_factory=Histogram)
    cursors: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    loop_lag: Histogram = field(default_factory=Histogram)
    cpu_percent: float = 0.0
    """Of the busiest process."""
    wait_percent: float = 0.0
    live_bytes: int = 0
    phase: str = "running"


class Collection:
    """All reports of a run."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.seconds: list[Second] = []
        self.totals: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.times: dict[str, Histogram] = {name: Histogram() for name in TIMES}
        self.stage_edits = [Histogram() for _ in scenario.stages]
        self.stage_cursors = [Histogram() for _ in scenario.stages]
        self.stage_sent = [0 for _ in scenario.stages]
        self.results: list[dict[str, Any]] = []
        self.rss_max_bytes = 0
        self._starts = stage_starts(scenario.stages)

    def stage_of(self, at_s: float) -> int:
        """The stage at a time; the last one after the end."""
        for stage, end_s in enumerate(self._starts[1:]):
            if at_s < end_s:
                return stage
        return len(self.scenario.stages) - 1

    def is_measured(self, second: int) -> bool:
        """Whether the middle of a second lies in a measured stage."""
        at_s = second + 0.5
        return at_s < self.scenario.duration_s and self.scenario.stages[self.stage_of(at_s)].measured

    def add(self, line: dict[str, Any]) -> None:
        """A report of one second of one process."""
        number = line["second"]
        while len(self.seconds) <= number:
            self.seconds.append(Second())
        second = self.seconds[number]
        second.reports += 1
        second.phase = line["phase"]
        second.connected += line["connected"]
        second.live_bytes += line["live_bytes_received"]
        second.cpu_percent = max(second.cpu_percent, line["cpu_percent"])
        second.wait_percent = max(second.wait_percent, line["wait_percent"])
        self.rss_max_bytes = max(self.rss_max_bytes, line["rss_bytes"])
        for name in COUNTS:
            second.counts[name] += line[name]
            self.totals[name] += line[name]
        for name in TIMES:
            steps = list(paired(line[name]))
            self.times[name].add_steps(steps)
            if name == "lag":
                second.lag.add_steps(steps)
            elif name == "loop_lag":
                second.loop_lag.add_steps(steps)
        self._add_by_stage(line["edits"], second.edits, self.stage_edits)
        self._add_by_stage(line["cursors"], second.cursors, self.stage_cursors)
        for stage, count in paired(line["sent_by_stage"]):
            self.stage_sent[stage] += count

    @staticmethod
    def _add_by_stage(keys: list[int], second: Histogram, stages: Sequence[Histogram]) -> None:
        by_stage: dict[int, list[tuple[int, int]]] = {}
        for key, count in paired(keys):
            by_stage.setdefault(key >> STAGE_SHIFT, []).append((key & _STEP_MASK, count))
        for stage, steps in by_stage.items():
            second.add_steps(steps)
            stages[stage].add_steps(steps)

    def measured(self, stages: Sequence[Histogram]) -> Histogram:
        """The sum of the measured stages."""
        whole = Histogram()
        for stage, histogram in zip(self.scenario.stages, stages, strict=True):
            if stage.measured:
                whole.add(histogram)
        return whole

    def own_lag(self, name: str) -> Histogram:
        """``lag`` or ``loop_lag`` over the measured seconds."""
        whole = Histogram()
        for number, second in enumerate(self.seconds):
            if self.is_measured(number):
                whole.add(getattr(second, name))
        return whole

    def bytes_received(self) -> list[int]:
        """By second. What closed connections got is reported as they close; of open ones the level is."""
        received, before = [], 0
        for second in self.seconds:
            level = second.live_bytes
            received.append(max(0, level - before + second.counts["bytes_received"]))
            before = level
        return received

    def series(self) -> dict[str, list[Any]]:
        """One entry a second."""
        seconds = self.seconds
        series: dict[str, list[Any]] = {"second": list(range(len(seconds)))}
        series["connected"] = [second.connected for second in seconds]
        for name in ("sent", "delivered", "awareness_delivered", "frames_received"):
            series[name] = [second.counts[name] for second in seconds]
        series["bytes_received"] = self.bytes_received()
        edits = [times_of(second.edits) for second in seconds]
        for name in ("p50_ms", "p99_ms", "max_ms"):
            series[name] = [each[name] for each in edits]
        series["awareness_p99_ms"] = [times_of(second.cursors)["p99_ms"] for second in seconds]
        series["generator_cpu_percent"] = [round(second.cpu_percent, 1) for second in seconds]
        series["generator_wait_percent"] = [round(second.wait_percent, 1) for second in seconds]
        series["generator_lag_ms"] = [times_of(second.lag)["p99_ms"] for second in seconds]
        return series

    def stages(self) -> list[dict[str, Any]]:
        """Each stage with what was due in it."""
        return [
            {
                "name": stage.name,
                "begin_s": self._starts[at],
                "end_s": self._starts[at + 1],
                "measured": stage.measured,
                "sent": self.stage_sent[at],
                "delivered": self.stage_edits[at].count,
                "awareness_delivered": self.stage_cursors[at].count,
                "latency": times_of(self.stage_edits[at]),
                "awareness": times_of(self.stage_cursors[at]),
            }
            for at, stage in enumerate(self.scenario.stages)
        ]
