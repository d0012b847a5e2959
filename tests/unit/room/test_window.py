from __future__ import annotations

import pytest

from collab_server.room.settings import RoomSettings
from collab_server.room.window import Window


def busy(
    members: int, edits_per_s: float, seconds: float = 5.0, settings: RoomSettings | None = None
) -> float:
    """The window's length in ms after so long of that load."""
    window = Window(settings or RoomSettings())
    interval = 1 / (members * edits_per_s)
    now = 100.0
    while now < 100.0 + seconds:
        window.count(members, now)
        now += interval
    return window.length_ms(now)


def test_the_first_edit_after_quiet_is_due_at_once() -> None:
    window = Window(RoomSettings())
    assert window.due(0.0) == 0.0
    assert window.due(100.0) == 100.0


@pytest.mark.parametrize(("members", "edits_per_s"), [(1, 20.0), (2, 10.0), (4, 10.0)])
def test_a_small_room_of_people_has_no_window(members: int, edits_per_s: float) -> None:
    assert busy(members, edits_per_s) == 0.0


def test_ten_fast_typists_wait_for_a_few_milliseconds_at_most() -> None:
    assert 0.0 < busy(10, 10.0) < 3.0


@pytest.mark.parametrize("edits_per_s", [4.0, 5.0, 10.0, 100.0])
def test_fifty_writers_reach_the_longest_window(edits_per_s: float) -> None:
    assert busy(50, edits_per_s) == 20.0


def test_a_burst_of_one_client_reaches_the_longest_window() -> None:
    window = Window(RoomSettings())
    for _ in range(10_000):
        window.count(2, 1.0)
    assert window.length_ms(1.0) == 20.0


def test_the_window_never_shrinks_as_the_load_grows() -> None:
    lengths = [busy(10, rate, seconds=2.0) for rate in (1, 5, 10, 20, 40, 80, 160)]
    assert lengths == sorted(lengths)
    assert lengths[0] == 0.0
    assert lengths[-1] == 20.0


def test_a_busy_room_gathers_from_its_last_flush_on() -> None:
    window = Window(RoomSettings())
    for _ in range(10_000):
        window.count(10, 1.0)
    window.flushed(1.0)
    assert window.due(1.005) == pytest.approx(1.020)
    assert window.due(1.030) == 1.030


def test_a_room_that_was_busy_is_quick_again_after_a_while() -> None:
    window = Window(RoomSettings())
    for _ in range(1_000):
        window.count(10, 1.0)
    window.flushed(1.0)
    assert window.length_ms(1.0) == 20.0
    assert window.length_ms(10.0) == 0.0
    assert window.load(10.0) < 2.0


def test_a_longest_window_of_nothing_means_every_turn() -> None:
    assert busy(50, 100.0, seconds=0.2, settings=RoomSettings(flush_window_max_ms=0)) == 0.0


def test_a_clock_that_stands_still_or_steps_back_does_no_harm() -> None:
    window = Window(RoomSettings())
    window.count(10, 5.0)
    window.count(10, 4.0)
    assert window.load(4.0) == pytest.approx(20.0)
    assert window.due(4.0) == 4.0
