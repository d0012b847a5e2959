from __future__ import annotations

from collab_server.access.breaker import Breaker


def test_after_some_failures_in_a_row_nobody_may_try() -> None:
    breaker = Breaker(failures_max=3, pause_s=10)
    for _ in range(2):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(2):
        assert breaker.may_try(1)
        breaker.failed(1)
    assert breaker.may_try(1)
    assert not breaker.is_open
    breaker.failed(1)
    assert breaker.is_open
    assert not breaker.may_try(10.9)


def test_after_the_pause_one_may_try_and_heals_it_or_not() -> None:
    breaker = Breaker(failures_max=1, pause_s=10)
    breaker.failed(0)
    assert breaker.may_try(10)
    assert not breaker.may_try(10)
    breaker.failed(10)
    assert not breaker.may_try(19.9)
    assert breaker.may_try(20)
    breaker.succeeded()
    assert not breaker.is_open
    assert all(breaker.may_try(20) for _ in range(5))


def test_late_failures_of_earlier_tries_do_not_lengthen_the_pause() -> None:
    breaker = Breaker(failures_max=2, pause_s=10)
    for now in (0, 1, 9):
        breaker.failed(now)
    assert breaker.may_try(11)
