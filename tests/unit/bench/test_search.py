from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bench.search import Found, Rules, Verdict, search


def server(limit: float, generator_limit: float = 1e9) -> Callable[[int], Verdict]:
    """A server that holds every load up to a limit, in front of a generator with a limit of its own."""

    def trial(load: int) -> Verdict:
        if load > generator_limit:
            return Verdict.INVALID
        return Verdict.HOLDS if load <= limit else Verdict.FAILS

    return trial


@pytest.mark.parametrize("limit", [4, 99, 100, 101, 1234, 18_000])
@pytest.mark.parametrize("start", [1, 100, 5000])
def test_it_finds_the_limit_of_a_steady_server(limit: int, start: int) -> None:
    found = search(server(limit), Rules(start, precision=0.02, trials_max=200))
    assert found.load is not None
    assert found.load <= limit
    assert limit - found.load <= max(1, 0.02 * limit)
    assert found.fails_at is not None
    assert found.fails_at > limit
    assert (found.held, found.tried) == (5, 5)
    assert not found.by_generator
    assert found.complete


def test_loads_are_whole_steps() -> None:
    seen = []

    def trial(load: int) -> Verdict:
        seen.append(load)
        return server(1001)(load)

    found = search(trial, Rules(50, step=4, precision=0.01))
    assert all(load % 4 == 0 for load in seen)
    assert found.load is not None
    assert 988 <= found.load <= 1000


def test_a_server_that_holds_nothing_is_said_to() -> None:
    found = search(server(0), Rules(100))
    assert found.load is None
    assert found.sentence("clients") == "not even 1 clients held"


def test_the_most_is_not_passed_and_called_at_least() -> None:
    found = search(server(10**9), Rules(100, most=1000, step=3))
    assert found.load == 999
    assert found.by_generator
    assert found.sentence("clients").startswith("at least 999 clients")


def test_where_the_generator_ends_the_answer_is_at_least() -> None:
    found = search(server(10_000, generator_limit=1500), Rules(100, trials_max=100))
    assert found.load is not None
    assert 1400 <= found.load <= 1500
    assert found.by_generator
    assert "at least" in found.sentence("clients")


def test_an_invalid_trial_is_tried_once_more() -> None:
    verdicts = iter([Verdict.INVALID, *[Verdict.HOLDS] * 50])
    found = search(lambda load: next(verdicts), Rules(8, most=8))
    assert found.load == 8
    assert (found.held, found.tried) == (5, 5)


def test_a_load_that_held_by_luck_is_not_the_answer() -> None:
    tries: dict[int, int] = {}

    def lucky_once(load: int) -> Verdict:
        tries[load] = tries.get(load, 0) + 1
        lucky = 100 < load <= 150 and tries[load] == 1
        return Verdict.HOLDS if load <= 100 or lucky else Verdict.FAILS

    found = search(lucky_once, Rules(10, trials_max=200))
    assert found.load is not None
    assert 90 <= found.load <= 100
    assert found.held == found.tried == 5


def noisy(limit: float, seed: int) -> Callable[[int], Verdict]:
    """A server whose chance to hold falls from 1 to 0 between 0.9 and 1.1 times the limit."""
    choice = random.Random(seed)

    def trial(load: int) -> Verdict:
        chance = min(1.0, max(0.0, (1.1 * limit - load) / (0.2 * limit)))
        return Verdict.HOLDS if choice.random() < chance else Verdict.FAILS

    return trial


def test_with_a_noisy_server_the_answer_held_in_most_runs_and_is_near_the_limit() -> None:
    answers = [search(noisy(1000, seed), Rules(64, trials_max=500)) for seed in range(200)]
    assert all(found.held * 2 > found.tried for found in answers)
    loads = [found.load for found in answers if found.load is not None]
    assert len(loads) == len(answers)
    assert all(load <= 1100 for load in loads)
    near = sum(850 <= load <= 1050 for load in loads)
    assert near >= 190


def test_when_the_trials_run_out_the_best_that_is_known_is_said_with_that() -> None:
    found = search(server(1000), Rules(100, trials_max=5))
    assert not found.complete
    assert found.load == 800
    assert "ran out" in found.sentence("clients")
    assert len(found.trials) == 5


def test_the_sentence_says_how_sure_it_is() -> None:
    text = Found(1000, 5, 5, 1050, False, ()).sentence("clients")
    assert text == (
        "1,000 clients: held in 5 of 5 runs (95 % sure that it holds in 55% of runs or more); "
        "1,050 did not hold"
    )
