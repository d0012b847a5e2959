"""Scenario files: all of ours can be read, and what is wrong in one is said in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.scenario import Arrival, Overrides, load_scenario, scenario_from_data, scenario_names

STAGES = [{"name": "hold", "duration_s": 2, "clients": 1.0, "measured": True}]


def built(**data: Any) -> Any:
    return scenario_from_data({"name": "own", "summary": "s", "stages": STAGES, **data})


def test_the_promised_scenarios_are_there() -> None:
    assert set(scenario_names()) >= {
        *("typing", "cursors", "trip", "dense", "idle", "join-storm"),
        *("reconnect-storm", "cold-rooms", "big-paste", "soak"),
    }


@pytest.mark.parametrize("name", scenario_names())
def test_each_scenario_can_be_read_and_passed_on(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.summary.endswith((".", "?"))
    assert scenario_from_data(scenario.as_data()) == scenario


def test_a_typing_error_in_a_name_is_guessed() -> None:
    with pytest.raises(BenchError, match="no scenario 'typin'; did you mean 'typing'"):
        load_scenario("typin")


def test_a_file_of_ones_own_is_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'summary = "Mine."\nclients = 6\n[edits]\narrival = "poisson"\nreplay = "a.yupd.gz"\n'
        '[[stages]]\nname = "hold"\nduration_s = 1\nclients = 1.0\nmeasured = true\n'
    )
    scenario = load_scenario(str(path))
    assert (scenario.name, scenario.clients) == ("mine", 6)
    assert scenario.edits
    assert scenario.edits.arrival is Arrival.POISSON
    assert scenario.edits.replay == str(tmp_path / "a.yupd.gz")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("summary = ", "Invalid value"),
        ('summary = "s"', r"at least one \[\[stages\]\]"),
        ('summary = "s"\n[[stages]]\nname = "a"', "duration_s' is missing"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(BenchError, match=complaint) as raised:
        load_scenario(str(path))
    assert "broken.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(BenchError, match=r"nowhere\.toml: No such file"):
        load_scenario("nowhere.toml")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"cleints": 3}, "unknown key 'cleints'; did you mean 'clients'"),
        ({"edits": {"rate": 3}}, "edits: unknown key 'rate'"),
        ({"edits": {"arrival": "sometimes"}}, "'sometimes' is not one of even, poisson, bursts"),
        ({"clients": "many"}, "'many' is not of the type int"),
        ({"clients": True}, "True is not of the type int"),
        ({"clients": 0}, "at least 1"),
        ({"edits": {"deletes": 1.0}}, "below 1"),
        ({"edits": 3}, "a table was expected"),
        ({"stages": [{"name": "a", "duration_s": 1}]}, "no stage is measured"),
        ({"stages": [{"name": "a", "duration_s": 0, "measured": True}]}, "no time"),
        ({"stages": [{"name": "a", "duration_s": 1, "clients": 2, "measured": True}]}, "0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(data: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint):
        built(**data)


def test_the_command_line_changes_a_scenario() -> None:
    scenario = load_scenario("typing").with_overrides(
        Overrides(clients=30, rooms=4, rate_per_s=2.5, duration_s=20, seed=9, settle_s=3)
    )
    assert (scenario.clients, scenario.rooms, scenario.seed, scenario.settle_s) == (30, 4, 9, 3)
    assert scenario.edits
    assert scenario.edits.rate_per_s == 2.5
    assert scenario.duration_s == pytest.approx(20)


def test_only_measured_stages_are_stretched() -> None:
    before = load_scenario("typing")
    after = before.with_overrides(Overrides(duration_s=100))
    ramps = [stage for stage in before.stages if not stage.measured]
    assert [stage for stage in after.stages if not stage.measured] == ramps
    with pytest.raises(BenchError, match="--duration: more than 8 s"):
        before.with_overrides(Overrides(duration_s=5))


def test_a_rate_goes_to_what_the_scenario_is_about() -> None:
    cursors = load_scenario("cursors").with_overrides(Overrides(rate_per_s=3)).cursors
    assert cursors
    assert cursors.rate_per_s == 3
    with pytest.raises(BenchError, match="'idle' has no rate"):
        load_scenario("idle").with_overrides(Overrides(rate_per_s=3))
