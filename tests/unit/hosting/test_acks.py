from collab_server.hosting.acks import Acks
from collab_server.room.member import Member
from collab_server.wire.frame import Frame
from collab_server.wire.sync import PLAIN

ADA, BOB = Member(1, PLAIN), Member(2, PLAIN)
FIRST, SECOND, THIRD = (Frame(bytes([n])) for n in range(3))


def test_a_room_without_edits_is_settled() -> None:
    assert Acks().is_settled


def test_an_edit_unsettles_the_room_until_it_is_committed() -> None:
    acks = Acks()
    acks.edited()
    assert not acks.is_settled
    acks.flushed(7)
    assert not acks.is_settled
    assert list(acks.committed(6)) == []
    assert not acks.is_settled
    assert list(acks.committed(7)) == []
    assert acks.is_settled


def test_who_asks_before_the_flush_is_answered_after_that_flush_is_committed() -> None:
    acks = Acks()
    acks.edited()
    acks.flushed(1)
    acks.edited()
    acks.wait(ADA, FIRST)
    assert list(acks.committed(1)) == []
    acks.flushed(2)
    assert list(acks.committed(1)) == []
    assert list(acks.committed(2)) == [(ADA, FIRST)]


def test_who_asks_after_the_flush_does_not_wait_for_later_edits() -> None:
    acks = Acks()
    acks.edited()
    acks.flushed(1)
    acks.wait(ADA, FIRST)
    acks.edited()
    assert list(acks.committed(1)) == [(ADA, FIRST)]


def test_answers_come_in_the_order_of_the_questions() -> None:
    acks = Acks()
    acks.edited()
    acks.flushed(1)
    acks.wait(ADA, FIRST)
    acks.wait(BOB, SECOND)
    acks.edited()
    acks.wait(ADA, THIRD)
    acks.flushed(2)
    assert list(acks.committed(2)) == [(ADA, FIRST), (BOB, SECOND), (ADA, THIRD)]


def test_who_has_left_is_not_answered() -> None:
    acks = Acks()
    acks.edited()
    acks.flushed(1)
    acks.wait(ADA, FIRST)
    acks.edited()
    acks.wait(ADA, SECOND)
    acks.wait(BOB, THIRD)
    acks.forget(ADA)
    acks.flushed(2)
    assert list(acks.committed(2)) == [(BOB, THIRD)]
