from __future__ import annotations

import math

import pytest

from bench.repeats import Repeats, held_at_least, ratio


def test_the_median_and_the_range_of_what_is_known() -> None:
    found = Repeats.of([3.0, None, 1.0, 10.0])
    assert found is not None
    assert (found.median, found.low, found.high) == (3.0, 1.0, 10.0)
    assert found.spread_percent == pytest.approx(300)


def test_nothing_known_is_nothing() -> None:
    assert Repeats.of([None, None]) is None


@pytest.mark.parametrize(("count", "confidence"), [(1, 0.0), (2, 0.5), (5, 0.9375)])
def test_the_range_holds_the_true_median_as_surely_as_coins_do_not_all_fall_alike(
    count: int, confidence: float
) -> None:
    assert Repeats(tuple(range(count))).confidence == confidence


def test_a_ratio_is_taken_round_by_round_so_that_a_bad_round_cancels_out() -> None:
    ours, other = [1.0, 10.0, 1.2], [2.0, 20.0, 2.4]
    found = ratio(ours, other)
    assert found is not None
    assert found.values == pytest.approx((0.5, 0.5, 0.5))


def test_a_ratio_leaves_out_rounds_in_which_one_is_missing() -> None:
    found = ratio([1.0, None, 3.0, 4.0], [2.0, 2.0, None, 0.0])
    assert found is not None
    assert found.values == (0.5,)


@pytest.mark.parametrize("tried", [1, 3, 5, 20])
def test_so_many_successes_in_a_row_are_believable_down_to_the_root_of_five_percent(tried: int) -> None:
    assert held_at_least(tried, tried) == pytest.approx(0.05 ** (1 / tried), abs=1e-9)


def test_the_bound_is_where_so_many_successes_become_improbable() -> None:
    share = held_at_least(4, 5)
    probability = 5 * share**4 * (1 - share) + share**5
    assert math.isclose(probability, 0.05, abs_tol=1e-6)


def test_no_success_promises_nothing() -> None:
    assert held_at_least(0, 5) == 0.0


def test_more_successes_than_tries_make_no_sense() -> None:
    with pytest.raises(ValueError, match="6 of 5"):
        held_at_least(6, 5)
