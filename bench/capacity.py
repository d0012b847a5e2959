"""One node under rising load: what a load is, and when a run counts as held. The search is in ``search``."""

from __future__ import annotations

import dataclasses
from enum import StrEnum

from bench.result import RunResult
from bench.scenario import Overrides, Scenario
from bench.search import Verdict


class Vary(StrEnum):
    """What grows with the load."""

    CLIENTS = "clients"
    """More rooms of the same size, each as busy as before."""
    RATE = "rate"
    """The same clients, each of which writes more often; the load is in hundredths of an edit a second."""


RATE_UNIT = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """When a load is held."""

    p99_ms: float = 50.0
    delivered_share: float = 0.97
    """Of what the schedule asked for; an overloaded server must not pass by delivering less in time."""


def scenario_at(base: Scenario, vary: Vary, load: int) -> Scenario:
    """The scenario with a load. ``BenchError`` when it has no rate to vary."""
    if vary is Vary.CLIENTS:
        return base.with_overrides(Overrides(clients=load))
    return base.with_overrides(Overrides(rate_per_s=load / RATE_UNIT))


def offered_per_s(scenario: Scenario) -> float | None:
    """Deliveries a second that the measured stages ask for; None where that is not simple to say."""
    edits = scenario.edits
    whole = scenario.clients % scenario.clients_per_room == 0
    if edits is None or edits.writers < 1 or edits.replay or not whole:
        return None
    if any(stage.measured and stage.rate not in (None, 1.0) for stage in scenario.stages):
        return None
    return scenario.clients * edits.rate_per_s * (scenario.clients_per_room - 1)


def judged(result: RunResult, scenario: Scenario, limits: Limits) -> tuple[Verdict, str]:
    """What a run says about its load, and why."""
    figures = result.summary()
    p99 = figures["p99_ms"]
    said = f"p99 {p99:.1f} ms" if p99 is not None else "nothing was delivered"
    # A server that loses or drops has failed, whatever the generator's own lag was.
    if result.failures:
        return Verdict.FAILS, f"{said}; {result.failures[0]}"
    if p99 is not None and p99 <= limits.p99_ms:
        offered, delivered = offered_per_s(scenario), figures["deliveries_per_s"]
        if offered and delivered is not None and delivered < offered * limits.delivered_share:
            return Verdict.FAILS, f"{said}, but {delivered:,.0f} of {offered:,.0f} deliveries/s"
        # Its own lag only makes latencies longer: what holds in spite of it, holds.
        return Verdict.HOLDS, said
    if not result.is_valid:
        return Verdict.INVALID, f"{said}; {result.validity['reasons'][0]}"
    return Verdict.FAILS, said
