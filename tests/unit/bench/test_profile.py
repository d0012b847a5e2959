"""The schedule against what is known of its distributions. Nothing here runs; times are only computed."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest

from bench.profile import Cumulative, arrivals, client_lines, presence, rate_lines, stage_starts
from bench.scenario import Arrival, Stage

RAMP_HOLD_SPIKE = (
    Stage("ramp", 10, clients=1.0, rate=1.0),
    Stage("hold", 20),
    Stage("up", 5, rate=3.0),
    Stage("spike", 10),
    Stage("down", 5, clients=0.0, rate=0.0),
)


def times(arrival: Arrival, rate_per_s: float, seconds: float, seed: int = 1) -> list[float]:
    cumulative = Cumulative(rate_lines([Stage("hold", seconds)]), rate_per_s)
    return list(arrivals(cumulative, arrival, random.Random(seed), burst_messages=10, burst_rate_per_s=20))


def test_lines_go_from_stage_to_stage_and_stages_without_a_word_go_on_as_before() -> None:
    assert [(line.begin, line.end) for line in client_lines(RAMP_HOLD_SPIKE)] == [
        (0, 1), (1, 1), (1, 1), (1, 1), (1, 0),
    ]  # fmt: skip
    assert [(line.begin, line.end) for line in rate_lines(RAMP_HOLD_SPIKE)] == [
        (1, 1), (1, 1), (1, 3), (3, 3), (3, 0),
    ]  # fmt: skip


def test_a_rate_of_zero_in_the_first_stage_holds_from_its_beginning() -> None:
    lines = rate_lines([Stage("ramp", 5, rate=0.0), Stage("hold", 5, rate=1.0)])
    assert (lines[0].begin, lines[0].end) == (0, 0)
    assert (lines[1].begin, lines[1].end) == (0, 1)


def test_the_sum_over_a_profile_is_its_area() -> None:
    cumulative = Cumulative(rate_lines(RAMP_HOLD_SPIKE), 2.0)
    assert cumulative.total == pytest.approx(2 * (10 + 20 + 10 + 30 + 7.5))
    assert cumulative.count_at(30) == pytest.approx(60)
    assert cumulative.count_at(35) == pytest.approx(80)


def test_the_time_of_a_message_is_the_inverse_of_the_count() -> None:
    cumulative = Cumulative(rate_lines(RAMP_HOLD_SPIKE), 3.0)
    for n in range(1, 200):
        count = cumulative.total * n / 200
        at_s = cumulative.time_at(count)
        assert at_s is not None
        assert cumulative.count_at(at_s) == pytest.approx(count, abs=1e-9)
    assert cumulative.time_at(cumulative.total) is None


def test_the_first_message_of_a_ramp_from_nothing_is_due_at_its_beginning() -> None:
    lines = rate_lines([Stage("ramp", 5, rate=0.0), Stage("warm-up", 5, rate=1.0)])
    assert Cumulative(lines, 1.0).time_at(0.0) == 5.0


def test_a_rate_of_zero_is_passed_over() -> None:
    stages = [Stage("a", 1, rate=1.0), Stage("b", 0, rate=0.0), Stage("c", 5), Stage("d", 0, rate=1.0)]
    cumulative = Cumulative(rate_lines([*stages, Stage("e", 1)]), 1.0)
    assert cumulative.time_at(0.5) == pytest.approx(0.5)
    assert cumulative.time_at(1.5) == pytest.approx(6.5)


def test_even_arrivals_have_equal_gaps() -> None:
    due = times(Arrival.EVEN, 5, 100)
    assert len(due) == pytest.approx(500, abs=1)
    assert {round(b - a, 9) for a, b in itertools.pairwise(due)} == {0.2}


def test_poisson_arrivals_have_exponential_gaps() -> None:
    due = times(Arrival.POISSON, 10, 5000)
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert len(due) == pytest.approx(50_000, rel=0.02)
    assert statistics.mean(gaps) == pytest.approx(0.1, rel=0.02)
    assert statistics.pstdev(gaps) == pytest.approx(0.1, rel=0.03)
    assert sum(gap > 0.1 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), rel=0.03)


def test_poisson_arrivals_follow_a_ramp() -> None:
    cumulative = Cumulative(rate_lines([Stage("start", 0, rate=0.0), Stage("ramp", 1000, rate=1.0)]), 20.0)
    due = list(arrivals(cumulative, Arrival.POISSON, random.Random(2)))
    assert len(due) == pytest.approx(10_000, rel=0.04)
    assert sum(at < 500 for at in due) / len(due) == pytest.approx(0.25, abs=0.02)


def test_bursts_keep_the_average_and_the_pace_within_a_burst() -> None:
    due = times(Arrival.BURSTS, 1.0, 20_000)
    assert len(due) == pytest.approx(20_000, rel=0.05)
    assert due == sorted(due)
    gaps = sorted(b - a for a, b in itertools.pairwise(due))
    assert gaps[len(gaps) // 2] == pytest.approx(0.05)
    assert sum(gap > 0.06 for gap in gaps) == pytest.approx(len(due) / 10, rel=0.05)


def test_a_schedule_is_fixed_by_its_seed() -> None:
    for arrival in Arrival:
        assert times(arrival, 3, 50, seed=4) == times(arrival, 3, 50, seed=4)
        assert times(arrival, 3, 50, seed=4) != times(arrival, 3, 50, seed=5)


def test_clients_come_one_after_the_other_on_a_ramp_and_stay() -> None:
    lines = client_lines([Stage("ramp", 10, clients=1.0), Stage("hold", 5)])
    for rank in range(5):
        ((come_s, leave_s),) = presence(lines, rank, 5)
        assert come_s == pytest.approx(1.0 + 2 * rank)
        assert leave_s == math.inf


def test_clients_of_a_spike_go_again() -> None:
    stages = [Stage("base", 0, clients=0.5), Stage("hold", 10), Stage("up", 2, clients=1.0)]
    lines = client_lines([*stages, Stage("down", 2, clients=0.5)])
    assert presence(lines, 0, 4) == [(0.0, math.inf)]
    ((come_s, leave_s),) = presence(lines, 3, 4)
    assert 10 < come_s < 12 < leave_s < 14


def test_a_stage_without_duration_brings_all_at_once() -> None:
    lines = client_lines([Stage("storm", 0, clients=1.0), Stage("hold", 10)])
    assert [presence(lines, rank, 3) for rank in range(3)] == [[(0.0, math.inf)]] * 3


def test_stages_start_where_the_last_one_ended() -> None:
    assert stage_starts(RAMP_HOLD_SPIKE) == [0, 10, 30, 35, 45, 50]
