from __future__ import annotations

from collab_server.access.load import Level, Load, LoadSettings, Measure, Sample

SETTINGS = LoadSettings(
    cpu_share_max=0.9, memory_bytes_max=1000, loop_lag_max_s=0.5, connections_max=100, patience_s=30
)
CALM = Sample(0.1, 100, 0.001, 10)


def after(load: Load, sample: Sample, seconds: int, start: int = 0) -> Level:
    """Where a load ends that stays the same for so long."""
    for second in range(start, start + seconds):
        load.look(sample, float(second), 1.0)
    return load.verdict.level


def test_a_calm_node_lets_everybody_in() -> None:
    load = Load(SETTINGS)
    assert after(load, CALM, 100) is Level.NORMAL
    assert load.describe() is None


def test_a_busy_moment_is_no_overload() -> None:
    load = Load(SETTINGS)
    assert after(load, Sample(1.0, 100, 2.0, 10), 2) is Level.NORMAL
    assert after(load, CALM, 100, 2) is Level.NORMAL


def test_cpu_that_stays_high_refuses_and_then_closes() -> None:
    load = Load(SETTINGS)
    busy = Sample(1.0, 100, 0.001, 10)
    assert after(load, busy, 30) is Level.REFUSING
    assert load.verdict.causes == (Measure.CPU,)
    assert load.describe() == "overloaded: CPU at 95% of a core"
    assert after(load, busy, 60, 30) is Level.CLOSING
    assert not load.verdict.spares_active


def test_a_node_stays_careful_until_the_load_has_fallen_well_below_its_limit() -> None:
    load = Load(SETTINGS)
    after(load, Sample(1.0, 100, 0.001, 10), 90)
    assert after(load, Sample(0.85, 100, 0.001, 10), 200, 90) is Level.REFUSING
    assert after(load, Sample(0.5, 100, 0.001, 10), 60, 290) is Level.NORMAL


def test_memory_counts_at_once_because_it_does_not_come_back_by_itself() -> None:
    load = Load(SETTINGS)
    assert after(load, Sample(0.1, 1000, 0.001, 10), 1) is Level.REFUSING
    assert load.describe() == "overloaded: memory at 100% of its limit"
    assert after(load, Sample(0.1, 950, 0.001, 10), 1, 1) is Level.REFUSING
    assert after(load, Sample(0.1, 899, 0.001, 10), 1, 2) is Level.NORMAL


def test_a_late_loop_is_told_in_milliseconds() -> None:
    load = Load(SETTINGS)
    assert after(load, Sample(0.1, 100, 1.0, 10), 60) is Level.CLOSING
    assert load.describe() == "overloaded: the event loop is 998 ms late"


def test_a_full_node_closes_only_those_who_do_nothing_and_lets_in_whoever_finds_a_place() -> None:
    load = Load(SETTINGS)
    full = Sample(0.1, 100, 0.001, 100)
    assert after(load, full, 1) is Level.REFUSING
    assert load.is_only_full
    assert after(load, full, 60, 1) is Level.CLOSING
    assert load.verdict.spares_active
    assert after(load, Sample(0.1, 100, 0.001, 99), 1, 61) is Level.NORMAL


def test_what_is_set_to_nothing_is_not_looked_at() -> None:
    load = Load(LoadSettings(cpu_share_max=0, memory_bytes_max=0, loop_lag_max_s=0, connections_max=0))
    assert after(load, Sample(1.0, 10**12, 60.0, 10**6), 300) is Level.NORMAL
