"""How fast the clients of a node that leaves are sent away."""

from __future__ import annotations

import math

import pytest

from collab_server.gateway.upgrade import departure


def takes_s(count: int, over_s: float, min_per_s: float) -> float:
    group, pause_s = departure(count, over_s, min_per_s)
    return (math.ceil(count / group) - 1) * pause_s


@pytest.mark.parametrize("count", [0, 1, 5, 10])
def test_few_clients_are_sent_away_at_once(count: int) -> None:
    assert takes_s(count, over_s=18, min_per_s=200) <= 0


def test_some_clients_go_at_the_least_pace() -> None:
    assert takes_s(400, over_s=18, min_per_s=200) == pytest.approx(2, rel=0.1)


def test_many_clients_take_the_whole_time_and_no_more() -> None:
    assert takes_s(20_000, over_s=18, min_per_s=200) == pytest.approx(18, rel=0.05)
    assert takes_s(20_000, over_s=18, min_per_s=200) <= 18


def test_no_time_at_all_sends_everybody_away_at_once() -> None:
    group, _ = departure(500, over_s=0, min_per_s=1)
    assert group >= 500


def test_a_slow_pace_goes_one_by_one() -> None:
    assert departure(4, over_s=100, min_per_s=2) == (1, 0.5)
