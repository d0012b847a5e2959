"""The highest load that holds, found by trying: pure, the trial is a function that is handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bench.repeats import held_at_least


class Verdict(StrEnum):
    """What a trial showed."""

    HOLDS = "holds"
    FAILS = "fails"
    INVALID = "invalid"
    """The generator was the bottleneck: it says nothing about the server."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How the search goes."""

    start: int
    """The first load."""
    step: int = 1
    """Loads are multiples of this: whole rooms, for example."""
    most: int = 1_000_000
    precision: float = 0.05
    """The search ends when the lowest failing load is at most this much above the highest that holds."""
    repeats: int = 5
    """How often the answer is confirmed; most of them must hold."""
    trials_max: int = 60


@dataclass(frozen=True, slots=True)
class Trial:
    """One try."""

    load: int
    verdict: Verdict
    confirming: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The answer, and how sure it is."""

    load: int | None
    """The highest load that was confirmed; None when not even the lowest one was."""
    held: int
    tried: int
    fails_at: int | None
    """The lowest load above it that did not hold; None when none was seen."""
    by_generator: bool
    """The search was ended by the generator or by ``most``: the server holds at least ``load``."""
    trials: tuple[Trial, ...]
    complete: bool = True
    """False when the trials ran out first."""

    @property
    def sure_share(self) -> float:
        """At 95 % confidence, the share of runs at this load that hold."""
        return held_at_least(self.held, self.tried) if self.tried else 0.0

    def sentence(self, unit: str) -> str:
        """The answer in words."""
        if self.load is None:
            return f"not even {min((t.load for t in self.trials), default=0):,} {unit} held"
        least = "at least " if self.by_generator else ""
        sure = f"held in {self.held} of {self.tried} runs"
        sure += f" (95 % sure that it holds in {self.sure_share:.0%} of runs or more)"
        above = f"; {self.fails_at:,} did not hold" if self.fails_at and not self.by_generator else ""
        above = "; the generator or the machine could not do more" if self.by_generator else above
        early = "" if self.complete else "; the trials ran out before the search was done"
        return f"{least}{self.load:,} {unit}: {sure}{above}{early}"


class _OutOfTrials(Exception):  # noqa: N818 - it ends the search and is no error
    pass


class _Search:
    def __init__(self, trial: Callable[[int], Verdict], rules: Rules) -> None:
        self._trial = trial
        self._rules = rules
        self.trials: list[Trial] = []

    def rounded(self, load: float) -> int:
        step = self._rules.step
        return max(step, min(int(load / step) * step, self._rules.most // step * step))

    def run(self, load: int, *, confirming: bool = False) -> Verdict:
        """One trial; one that was invalid is tried once more, as a neighbour may have taken the CPU."""
        for _ in range(2):
            if len(self.trials) >= self._rules.trials_max:
                raise _OutOfTrials
            verdict = self._trial(load)
            self.trials.append(Trial(load, verdict, confirming))
            if verdict is not Verdict.INVALID:
                break
        return verdict

    def verdict_at(self, load: int) -> Verdict | None:
        """The worst that is known of a load."""
        known = [trial.verdict for trial in self.trials if trial.load == load]
        return next((v for v in (Verdict.FAILS, Verdict.INVALID, Verdict.HOLDS) if v in known), None)


def search(trial: Callable[[int], Verdict], rules: Rules) -> Found:
    """Double until it fails, halve the gap until it is narrow, then confirm, going down while it fails.

    A single trial can hold or fail by luck: therefore the answer is only what most of ``repeats`` runs held.
    """
    one = _Search(trial, rules)
    try:
        held, failed = _bracket(one, rules)
        if held is None:
            return Found(None, 0, 0, failed, False, tuple(one.trials))
        return _confirmed(one, rules, held)
    except _OutOfTrials:
        holding = [t.load for t in one.trials if t.verdict is Verdict.HOLDS]
        failing = [t.load for t in one.trials if t.verdict is Verdict.FAILS]
        best = max((load for load in holding if not failing or load < min(failing)), default=None)
        at_best = [t for t in one.trials if t.load == best]
        held_count = sum(t.verdict is Verdict.HOLDS for t in at_best)
        fails_at = min(failing, default=None)
        return Found(best, held_count, len(at_best), fails_at, False, tuple(one.trials), complete=False)


def _bracket(one: _Search, rules: Rules) -> tuple[int | None, int | None]:
    """The highest load that held and the lowest that did not, close together."""
    load = one.rounded(rules.start)
    held: int | None = None
    failed: int | None = None
    while failed is None:
        if one.run(load) is Verdict.HOLDS:
            held = load
            if one.rounded(load * 2) <= load:
                return held, None  # ``most`` holds
            load = one.rounded(load * 2)
        elif held is None and load > rules.step:
            load = one.rounded(load / 2)  # begun too high
        else:
            failed = load
    while held is not None and failed - held > max(rules.step, held * rules.precision):
        middle = one.rounded((held * failed) ** 0.5)
        if not held < middle < failed:
            middle = held + rules.step
        if one.run(middle) is Verdict.HOLDS:
            held = middle
        else:
            failed = middle
    return held, failed


def _confirmed(one: _Search, rules: Rules, load: int) -> Found:
    """Repeat the answer; where most repeats do not hold, the next lower step is confirmed in its place."""
    while True:
        verdicts = [trial.verdict for trial in one.trials if trial.load == load]
        verdicts = [verdict for verdict in verdicts if verdict is not Verdict.INVALID]
        invalid = 0
        while len(verdicts) < rules.repeats and invalid < rules.repeats:
            failures = verdicts.count(Verdict.FAILS)
            if failures > rules.repeats // 2:
                break
            verdict = one.run(load, confirming=True)
            if verdict is Verdict.INVALID:
                invalid += 1
            else:
                verdicts.append(verdict)
        held = verdicts.count(Verdict.HOLDS)
        if held * 2 > max(len(verdicts), 1) and invalid < rules.repeats:
            return _answer(one, rules, load, held, len(verdicts))
        lower = one.rounded(min(load / (1 + rules.precision), load - rules.step))
        if lower >= load:
            return Found(None, held, len(verdicts), load, False, tuple(one.trials))
        load = lower


def _answer(one: _Search, rules: Rules, load: int, held: int, tried: int) -> Found:
    above = {trial.load for trial in one.trials if trial.load > load}
    lowest = min(above, default=None)
    by_generator = lowest is None or one.verdict_at(lowest) is Verdict.INVALID
    failing = [at for at in above if one.verdict_at(at) is Verdict.FAILS]
    return Found(load, held, tried, min(failing, default=None), by_generator, tuple(one.trials))
