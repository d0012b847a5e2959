from __future__ import annotations

from collab_server.gateway.progress import Progress


def test_a_body_must_come_at_its_rate() -> None:
    progress = Progress(100, 60, 0.0)
    assert not progress.stands_still("a", 10.0, wants_body=True, unsent_bytes=0)
    progress.received(1_000)
    assert not progress.stands_still("a", 20.0, wants_body=True, unsent_bytes=0)
    progress.received(999)
    assert progress.stands_still("a", 30.0, wants_body=True, unsent_bytes=0)


def test_a_body_that_was_not_read_or_is_of_another_request_is_not_late() -> None:
    progress = Progress(100, 60, 0.0)
    assert not progress.stands_still("a", 10.0, wants_body=False, unsent_bytes=0)
    assert not progress.stands_still("a", 20.0, wants_body=True, unsent_bytes=0)
    assert not progress.stands_still("a", 30.0, wants_body=False, unsent_bytes=0)
    assert not progress.stands_still("b", 40.0, wants_body=True, unsent_bytes=0)
    assert progress.stands_still("b", 50.0, wants_body=True, unsent_bytes=0)


def test_an_answer_may_be_read_slowly_but_must_be_read_on() -> None:
    progress = Progress(100, 60, 0.0)
    now = 0.0
    for unsent_bytes in (1_000, 1_000, 1_000, 999, 999, 999, 998):
        now += 20.0
        assert not progress.stands_still("a", now, wants_body=False, unsent_bytes=unsent_bytes)
    for _ in range(2):
        now += 20.0
        assert not progress.stands_still("a", now, wants_body=False, unsent_bytes=998)
    assert progress.stands_still("a", now + 20.0, wants_body=False, unsent_bytes=998)


def test_an_answer_whose_reader_has_caught_up_meanwhile_moves() -> None:
    progress = Progress(100, 60, 0.0)
    assert not progress.stands_still("a", 10.0, wants_body=False, unsent_bytes=1_000)
    progress.drained()
    assert not progress.stands_still("a", 80.0, wants_body=False, unsent_bytes=1_000)
    assert progress.stands_still("a", 140.0, wants_body=False, unsent_bytes=1_000)


def test_without_limits_nothing_is_too_slow() -> None:
    progress = Progress(0, 0, 0.0)
    for now in (10.0, 1_000.0, 10_000.0):
        assert not progress.stands_still("a", now, wants_body=True, unsent_bytes=1_000)
