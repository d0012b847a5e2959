from __future__ import annotations

import pytest

from bench.capacity import Limits, Vary, judged, offered_per_s, scenario_at
from bench.scenario import Edits, Scenario, Stage
from bench.search import Verdict
from tests.unit.bench.results import made_up

BASE = Scenario(
    "typing", "", (Stage("hold", 10, clients=1.0, measured=True),), 40, 4, edits=Edits(rate_per_s=0.5)
)


def test_more_clients_are_more_rooms_of_the_same_kind() -> None:
    bigger = scenario_at(BASE, Vary.CLIENTS, 80)
    assert (bigger.clients, bigger.rooms, bigger.edits) == (80, 20, BASE.edits)


def test_a_rate_is_in_hundredths() -> None:
    faster = scenario_at(BASE, Vary.RATE, 250)
    assert faster.edits is not None
    assert faster.edits.rate_per_s == 2.5
    assert faster.clients == 40


def test_what_is_asked_for_is_every_edit_at_every_other_member() -> None:
    assert offered_per_s(BASE) == pytest.approx(40 * 0.5 * 3)
    assert offered_per_s(Scenario("idle", "", BASE.stages)) is None


def test_a_run_within_the_limit_holds() -> None:
    assert judged(made_up(latency_ms=20), Scenario("x", "", BASE.stages), Limits())[0] is Verdict.HOLDS


def test_a_run_above_the_limit_fails() -> None:
    verdict, why = judged(made_up(latency_ms=60), BASE, Limits())
    assert verdict is Verdict.FAILS
    assert "p99" in why


def test_latency_above_the_limit_says_nothing_when_the_generator_was_late() -> None:
    result = made_up(latency_ms=60, reasons=("sent late",))
    assert judged(result, BASE, Limits()) == (Verdict.INVALID, "p99 59.4 ms; sent late")


def test_what_holds_in_spite_of_a_late_generator_holds() -> None:
    result = made_up(latency_ms=20, reasons=("sent late",))
    assert judged(result, Scenario("x", "", BASE.stages), Limits())[0] is Verdict.HOLDS


def test_a_loss_fails_however_fast_the_rest_was() -> None:
    verdict, why = judged(made_up(failures=("2 were lost",), reasons=("sent late",)), BASE, Limits())
    assert verdict is Verdict.FAILS
    assert "2 were lost" in why


def test_delivering_less_than_was_asked_for_fails() -> None:
    busier = scenario_at(BASE, Vary.RATE, 500)  # 600 deliveries a second are asked for, 100 came
    verdict, why = judged(made_up(latency_ms=1), busier, Limits())
    assert verdict is Verdict.FAILS
    assert "100 of 600" in why
