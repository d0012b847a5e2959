"""The load harness against a relay that does wrong on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.result import RunResult
from bench.run import RunOptions, run_scenario
from bench.scenario import Edits, Scenario, Stage
from bench.target import Dialect, Target
from tests.support.faultyrelay import Faults, Relay, faulty_relay

SCENARIO = Scenario(
    name="short",
    summary="Three rooms of four, who write for a second and a half.",
    clients=12,
    clients_per_room=4,
    settle_s=2.5,
    edits=Edits(rate_per_s=10, deletes=0.0),
    stages=(
        Stage("ramp", 0.4, clients=1.0, rate=0.0),
        Stage("arrive", 1.2),  # who came later would be told again, by all, what was written before
        Stage("start", 0.0, rate=1.0),
        Stage("hold", 1.5, measured=True),
    ),
)
PATIENT = RunOptions(lag_p99_max_ms=60_000, cpu_max_percent=1000)
"""The machine that runs the tests may be slow: that is not what these tests are about."""


def measured(relay: Relay, scenario: Scenario = SCENARIO, options: RunOptions = PATIENT) -> RunResult:
    return run_scenario(scenario, Target((relay.url,), Dialect.RELAY), options)


def test_a_faultless_relay_passes_with_every_message_delivered_to_every_other_client() -> None:
    with faulty_relay() as relay:
        result = measured(relay)
    assert result.failures == []
    assert result.is_valid, result.validity
    assert result.counts["sent"] == pytest.approx(180, abs=12)
    assert result.counts["delivered"] == result.counts["sent"] * 3
    assert result.latency["count"] == result.counts["delivered"]
    assert (result.counts["replicas_compared"], result.counts["unconverged"]) == (12, 0)


def test_messages_that_only_delete_are_followed_too() -> None:
    assert SCENARIO.edits
    scenario = replace(SCENARIO, edits=replace(SCENARIO.edits, deletes=0.5))
    with faulty_relay() as relay:
        result = measured(relay, scenario)
    assert result.failures == []
    assert result.counts["delivered"] == result.counts["sent"] * 3


def test_every_planted_loss_is_found() -> None:
    faults = Faults(drop_every=40)
    with faulty_relay(faults) as relay:
        result = measured(relay)
    assert faults.done["drop"] > 5
    assert result.counts["lost"] == faults.done["drop"]
    assert result.counts["unconverged"] > 0
    assert any("never reached" in failure for failure in result.failures)


def test_a_lost_message_that_only_deletes_is_found() -> None:
    assert SCENARIO.edits
    scenario = replace(SCENARIO, edits=replace(SCENARIO.edits, deletes=0.5))
    faults = Faults(drop_every=40)
    with faulty_relay(faults) as relay:
        result = measured(relay, scenario)
    assert result.counts["lost"] == faults.done["drop"]


def test_every_planted_duplicate_is_found() -> None:
    faults = Faults(repeat_every=40)
    with faulty_relay(faults) as relay:
        result = measured(relay)
    assert result.counts["duplicated"] == faults.done["repeat"]
    assert (result.counts["lost"], result.counts["unconverged"]) == (0, 0)
    assert any("twice" in failure for failure in result.failures)


def test_a_planted_divergence_is_found_by_comparing_contents() -> None:
    faults = Faults(change_every=300)
    with faulty_relay(faults) as relay:
        result = measured(relay)
    assert faults.done["change"] >= 1
    assert 1 <= result.counts["unconverged"] <= faults.done["change"]
    assert (result.counts["lost"], result.counts["duplicated"]) == (0, 0)
    assert any("another document" in failure for failure in result.failures)


def test_a_planted_stall_shows_for_each_message_that_was_due_in_it() -> None:
    # A closed loop would see one slow message for each client. Here half of the time nothing comes through.
    with faulty_relay(Faults(stall_at=150, stall_s=0.8)) as relay:
        result = measured(relay)
    assert result.failures == []
    assert result.latency["max_ms"] >= 700
    assert result.latency["p90_ms"] >= 300


def test_an_artificial_delay_is_measured_in_full() -> None:
    with faulty_relay(Faults(delay_s=0.2)) as relay:
        result = measured(relay)
    assert result.failures == []
    assert result.latency["min_ms"] >= 199
    assert result.latency["p50_ms"] >= 200


def test_a_connection_that_the_server_closes_fails_the_run() -> None:
    with faulty_relay(Faults(hang_up_after=100)) as relay:
        result = measured(relay)
    assert result.counts["connections_dropped"] == 1
    assert any("1011" in failure for failure in result.failures)
    assert result.counts["connections_opened"] == 13


def test_a_generator_that_is_the_bottleneck_declares_the_run_invalid() -> None:
    with faulty_relay() as relay:
        result = measured(relay, options=RunOptions(lag_p99_max_ms=0.0001))
    assert not result.is_valid
    assert any("late" in reason for reason in result.validity["reasons"])


def test_several_generator_processes_add_up() -> None:
    with faulty_relay() as relay:
        result = measured(relay, options=replace(PATIENT, processes=2))
    assert result.failures == []
    assert result.generator["processes"] == 2
    assert result.counts["delivered"] == result.counts["sent"] * 3 == result.latency["count"]
    assert max(result.series["connected"]) == 12
