"""The histogram against distributions with known percentiles, and against HdrHistogram's own text form."""

from __future__ import annotations

import math
import random

import pytest

from bench.histogram import US_MAX, Histogram, step_of, step_range

REFERENCE = "HISTFAAAADZ4nJNpmSzMwMAgygABzFCaEURcm7yEwf4DRICJiZXpozwTy0FlltNWTGsNmBbvYWQCAOfFCe0="
"""What HdrHistogram's Python port 0.10.8 writes for ``REFERENCE_VALUES`` (1 to an hour in us, 3 digits)."""
REFERENCE_VALUES = (0, 1, 5, 2047, 2048, 2049, 10_000, 10_000, 123_456, 999_999, US_MAX)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@pytest.mark.parametrize("value", [0, 1, 2047, 2048, 4095, 4096, 65_537, 1_000_003, US_MAX])
def test_a_step_holds_its_value_with_three_digits(value: int) -> None:
    low, high = step_range(step_of(value))
    assert low <= value <= high
    assert high - low <= value / 1000


def test_steps_follow_each_other_without_a_gap() -> None:
    before = -1
    for step in range(step_of(US_MAX)):
        low, high = step_range(step)
        assert low == before + 1
        assert step_of(low) == step_of(high) == step
        before = high


@pytest.mark.parametrize("percent", [0, 50, 90, 99, 99.9, 100])
def test_percentiles_of_a_uniform_distribution_are_where_they_belong(percent: float) -> None:
    histogram = filled([float(n) for n in range(1, 100_001)])
    assert histogram.percentile(percent) == pytest.approx(max(1, percent * 1000), rel=0.002)


def test_percentiles_of_an_exponential_distribution_are_where_they_belong() -> None:
    dice = random.Random(7)
    histogram = filled([dice.expovariate(1 / 5000) for _ in range(200_000)])
    for percent in (50, 90, 99):
        assert histogram.percentile(percent) == pytest.approx(-5000 * math.log(1 - percent / 100), rel=0.03)
    assert histogram.mean_us == pytest.approx(5000, rel=0.02)


def test_a_percentile_is_a_value_that_the_share_does_not_pass() -> None:
    histogram = filled([10, 20, 30, 40])
    assert [histogram.percentile(p) for p in (25, 26, 50, 75, 76, 100)] == [10, 20, 20, 30, 40, 40]
    assert histogram.share_above(20) == 0.5


def test_an_empty_histogram_has_no_values() -> None:
    assert (Histogram().count, Histogram().percentile(99), Histogram().mean_us) == (0, 0, 0.0)


def test_histograms_of_two_processes_add_up_to_that_of_both() -> None:
    dice = random.Random(1)
    one, other = ([dice.lognormvariate(8, 2) for _ in range(1000)] for _ in range(2))
    merged = filled(one)
    merged.add(filled(other))
    both = filled(one + other)
    assert (merged.counts, merged.count, merged.max_us, merged.min_us) == (
        both.counts, both.count, both.max_us, both.min_us,
    )  # fmt: skip


def test_what_lasts_longer_than_an_hour_counts_as_an_hour() -> None:
    assert step_of(US_MAX * 5) == step_of(US_MAX)


def test_the_text_form_is_that_of_hdrhistogram() -> None:
    assert filled(list(REFERENCE_VALUES)).encode() == REFERENCE


def test_the_text_form_reads_back() -> None:
    dice = random.Random(3)
    histogram = filled([dice.lognormvariate(9, 3) for _ in range(5000)])
    again = Histogram.decode(histogram.encode())
    assert (again.counts, again.count) == (histogram.counts, histogram.count)
    assert Histogram.decode(Histogram().encode()).count == 0


@pytest.mark.parametrize("text", ["", "?", "AAAA", REFERENCE[:40], "HISTEwAAAAN4nAMAAAAAAQ=="])
def test_what_is_no_histogram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="histogram"):
        Histogram.decode(text)
