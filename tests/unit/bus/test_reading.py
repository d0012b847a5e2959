from __future__ import annotations

from collab_server.bus.base import NodeId
from collab_server.bus.envelope import Entry, StreamId
from collab_server.bus.reading import Reading, Verdict

A, B = NodeId("a", 1), NodeId("b", 1)


def entry(seq: int, prev_seq: int = 0, prev: StreamId = (0, 0), sender: NodeId = A) -> Entry:
    return Entry(sender, seq, prev_seq, prev, [])


def begun(place: StreamId = (100, 0)) -> Reading:
    reading = Reading(0)
    reading.begin(place)
    return reading


def take(reading: Reading, place: StreamId, one: Entry) -> Verdict:
    reading.position = place
    return reading.take(place, one)


def test_numbers_in_a_row_are_no_gap_and_a_jump_is_one() -> None:
    reading = begun()
    assert take(reading, (101, 0), entry(1)) is Verdict.NEW
    assert take(reading, (102, 0), entry(2, 1, (101, 0))) is Verdict.NEW
    assert take(reading, (103, 0), entry(5, 4, (102, 9))) is Verdict.GAP
    assert take(reading, (104, 0), entry(6, 5, (103, 0))) is Verdict.NEW


def test_what_was_read_is_known() -> None:
    reading = begun()
    take(reading, (101, 0), entry(3, 2, (50, 0)))
    assert take(reading, (102, 0), entry(3, 2, (50, 0))) is Verdict.KNOWN
    assert take(reading, (103, 0), entry(2, 1, (40, 0))) is Verdict.KNOWN


def test_a_sender_that_spoke_before_we_began_has_no_gap() -> None:
    assert take(begun((100, 0)), (105, 0), entry(9, 8, (100, 0))) is Verdict.NEW
    assert take(begun((100, 0)), (105, 0), entry(9, 8, (99, 5))) is Verdict.NEW


def test_a_sender_whose_last_entry_lay_behind_our_beginning_has_a_gap() -> None:
    assert take(begun((100, 0)), (105, 0), entry(9, 8, (100, 1))) is Verdict.GAP


def test_a_first_entry_whose_predecessor_nobody_knows_is_taken_for_a_gap() -> None:
    assert take(begun((100, 0)), (105, 0), entry(9, 7, (90, 0))) is Verdict.GAP


def test_a_sender_that_is_gone_and_has_a_new_life_begins_anew() -> None:
    reading = begun()
    take(reading, (101, 0), entry(1))
    reading.forget(A)
    assert take(reading, (102, 0), entry(1, sender=NodeId("a", 2))) is Verdict.NEW


def test_a_heartbeat_that_speaks_of_an_entry_that_was_passed_unseen_tells_of_a_loss_once() -> None:
    reading = begun((100, 0))
    take(reading, (110, 0), entry(1, sender=B))
    assert not reading.misses(A, 3, (99, 0)), "it lies before our beginning"
    assert not reading.misses(A, 3, (111, 0)), "it is still to be read"
    assert not reading.misses(B, 1, (110, 0)), "it was read"
    assert reading.misses(A, 3, (105, 0))
    assert not reading.misses(A, 3, (105, 0))


def test_after_a_break_reading_goes_on_where_it_was() -> None:
    reading = begun((100, 0))
    take(reading, (120, 0), entry(1))
    reading.suspend(resumes=True)
    assert reading.position is None
    reading.begin((200, 0))
    assert reading.position == (120, 0)
    assert take(reading, (121, 0), entry(2, 1, (120, 0))) is Verdict.NEW


def test_in_a_stream_that_has_gone_backwards_reading_begins_anew() -> None:
    reading = begun((100, 0))
    take(reading, (120, 0), entry(4, 3, (90, 0)))
    reading.suspend(resumes=True)
    reading.begin((50, 0))
    assert reading.position == (50, 0)
    assert take(reading, (51, 0), entry(5, 4, (49, 0))) is Verdict.NEW


def test_after_a_long_break_reading_begins_anew() -> None:
    reading = begun((100, 0))
    take(reading, (120, 0), entry(4, 3, (90, 0)))
    reading.suspend(resumes=False)
    reading.begin((500, 0))
    assert reading.position == (500, 0)
    assert take(reading, (501, 0), entry(90, 89, (499, 0))) is Verdict.NEW


def test_what_is_behind_is_what_others_say_that_they_wrote_and_was_not_read() -> None:
    reading = begun((100, 0))
    take(reading, (101, 0), entry(1))
    assert reading.behind(A, 1, (101, 0)) == 0
    assert reading.behind(A, 6, (130, 0)) == 5
    assert reading.behind(B, 6, (130, 0)) == 1
    assert Reading(0).behind(A, 6, (130, 0)) == 0
