from __future__ import annotations

import random
from itertools import pairwise

import pytest

from persistence.base import SegmentInfo, UpdateRow
from persistence.history import (
    CHECKPOINT_BYTES_MIN,
    DAY_MS,
    SegmentRule,
    last_expired,
    plan_segments,
    retention_starts_ms,
    wants_checkpoint,
)

RULE = SegmentRule(updates_max=3, span_max_ms=1000)


def rows(*times_ms: int) -> list[UpdateRow]:
    return [UpdateRow(number, b"", (), at_ms) for number, at_ms in enumerate(times_ms, 1)]


def plan(*times_ms: int) -> list[list[int]]:
    return [[row.at_ms for row in group] for group in plan_segments(rows(*times_ms), RULE)]


@pytest.mark.parametrize(
    ("times_ms", "groups"),
    [
        ((), []),
        ((5,), [[5]]),
        ((1, 2, 3), [[1, 2, 3]]),
        ((1, 2, 3, 4), [[1, 2, 3], [4]]),
        ((0, 999), [[0, 999]]),
        ((0, 1000), [[0], [1000]]),
        ((0, 600, 1200, 1500), [[0, 600], [1200, 1500]]),
        ((0, 5000, 5000, 5000, 5000), [[0], [5000, 5000, 5000], [5000]]),
    ],
)
def test_a_segment_ends_by_count_or_by_time_whichever_is_first(
    times_ms: tuple[int, ...], groups: list[list[int]]
) -> None:
    assert plan(*times_ms) == groups


def test_rows_are_taken_in_the_order_in_which_they_were_received() -> None:
    assert plan(3, 1, 2000, 2) == [[1, 2, 3], [2000]]


def test_the_defaults_are_ten_groups_and_five_minutes() -> None:
    assert SegmentRule() == SegmentRule(updates_max=10, span_max_ms=5 * 60 * 1000)


@pytest.mark.parametrize("seed", range(20))
def test_every_row_is_in_exactly_one_segment_and_time_goes_on(seed: int) -> None:
    choice = random.Random(seed)
    given = rows(*(choice.randrange(5000) for _ in range(choice.randrange(60))))
    groups = plan_segments(given, RULE)
    flat = [row for group in groups for row in group]
    assert sorted(row.id for row in flat) == [row.id for row in given]
    assert [row.at_ms for row in flat] == sorted(row.at_ms for row in given)
    for group in groups:
        assert 1 <= len(group) <= RULE.updates_max
        assert group[-1].at_ms - group[0].at_ms < RULE.span_max_ms
    # No two neighbours could have been one.
    for left, right in pairwise(groups):
        assert len(left) == RULE.updates_max or right[0].at_ms - left[0].at_ms >= RULE.span_max_ms


def test_a_checkpoint_is_wanted_when_the_segments_outweigh_the_document() -> None:
    large = 10 * CHECKPOINT_BYTES_MIN
    assert not wants_checkpoint(large, large)
    assert wants_checkpoint(large + 1, large)


def test_a_small_document_does_not_get_a_checkpoint_for_each_segment() -> None:
    assert not wants_checkpoint(CHECKPOINT_BYTES_MIN, 10)
    assert wants_checkpoint(CHECKPOINT_BYTES_MIN + 1, 10)


def segment(number: int, to_ms: int) -> SegmentInfo:
    return SegmentInfo(number, to_ms, to_ms, (), 1, 1)


def test_retention_takes_what_ended_before_it_begins() -> None:
    before_ms = retention_starts_ms(100 * DAY_MS, 90)
    assert before_ms == 10 * DAY_MS
    newest_first = [segment(3, before_ms), segment(2, before_ms - 1), segment(1, 5)]
    assert last_expired(newest_first, before_ms) == newest_first[1]
    assert last_expired(newest_first[:1], before_ms) is None
    assert last_expired([], before_ms) is None
