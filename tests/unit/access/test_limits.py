from collab_server.access.limits import Pace


def test_a_burst_passes_at_once() -> None:
    pace = Pace(rate_per_s=10, burst=100, now=0.0)
    assert [pace.take(0.0) for _ in range(100)] == [0.0] * 100


def test_what_is_above_the_burst_is_held_back_until_the_credit_is_paid() -> None:
    pace = Pace(rate_per_s=10, burst=2, now=0.0)
    assert [pace.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.1, 0.2]
    assert pace.strained_until == 0.2
    assert pace.take(0.4) == 0.0


def test_a_heavy_message_takes_many_tokens() -> None:
    pace = Pace(rate_per_s=10, burst=100, now=0.0)
    assert pace.take(0.0, 90) == 0.0
    assert pace.take(0.0, 30) == 2.0


def test_tokens_do_not_gather_beyond_the_burst() -> None:
    pace = Pace(rate_per_s=10, burst=2, now=0.0)
    pace.take(1000.0)
    assert pace.take(1000.0) == 0.0
    assert pace.take(1000.0) > 0.0


def test_a_strain_lasts_as_long_as_there_is_no_breath_of_a_second() -> None:
    pace = Pace(rate_per_s=1, burst=1, now=0.0)
    pace.take(0.0)
    for second in range(1, 11):
        pace.take(float(second) - 0.5)
    assert pace.strained_s(9.5) == 9.0


def test_a_strain_ends_with_a_breath() -> None:
    pace = Pace(rate_per_s=10, burst=1, now=0.0)
    pace.take(0.0)
    assert pace.take(0.0) > 0.0
    assert pace.strained_s(5.0) == 0.0
    pace.take(5.0)
    pace.take(5.0)
    assert pace.strained_s(5.05) < 0.1


def test_who_keeps_the_rate_is_never_strained() -> None:
    pace = Pace(rate_per_s=10, burst=5, now=0.0)
    for step in range(1000):
        assert pace.take(step * 0.1) == 0.0
        assert pace.strained_s(step * 0.1) == 0.0
