from __future__ import annotations

from collab_server.bus.base import NodeId
from collab_server.bus.envelope import Tails
from collab_server.bus.peers import Peers

ME = NodeId("me", 1)
A1, A2, B = NodeId("a", 1), NodeId("a", 2), NodeId("b", 1)


def read(tails: Tails) -> bool:
    return True


def unread(tails: Tails) -> bool:
    return not tails


def peers(now: float = 0.0) -> Peers:
    found = Peers(ME, 10.0)
    found.linked(now)
    return found


def test_who_says_hello_or_is_heard_or_beats_is_here_and_we_are_not_among_them() -> None:
    found = peers()
    found.hello(A1, 1)
    found.heard(B)
    found.hello(ME, 1)
    found.beat({ME: {}, NodeId("c", 1): {}}, 2)
    assert found.nodes() == [A1, B, NodeId("c", 1)]


def test_who_says_goodbye_is_gone_once_its_last_words_were_read() -> None:
    found = peers()
    found.hello(A1, 1)
    found.bye(A1, {3: (5, (100, 0))}, 2)
    assert found.nodes() == []
    assert list(found.gone(unread, 2)) == []
    assert list(found.gone(read, 3)) == [A1]
    assert list(found.gone(read, 4)) == []


def test_last_words_are_not_waited_for_without_end() -> None:
    found = peers()
    found.hello(A1, 1)
    found.bye(A1, {3: (5, (100, 0))}, 2)
    assert list(found.gone(unread, 13)) == [A1]


def test_what_is_still_read_of_a_node_after_its_goodbye_does_not_revive_it() -> None:
    found = peers()
    found.hello(A1, 1)
    found.bye(A1, {}, 2)
    found.heard(A1)
    assert found.nodes() == []


def test_who_has_no_heartbeat_any_more_is_gone() -> None:
    found = peers()
    found.hello(A1, 1)
    found.beat({A1: {}}, 20)
    found.beat({A1: None}, 25)
    assert list(found.gone(read, 25)) == [A1]
    found.heard(A1)
    assert found.nodes() == [A1], "it was only late"


def test_when_redis_was_away_nobody_is_taken_for_dead_at_once() -> None:
    found = peers()
    found.hello(A1, 1)
    found.linked(100)
    found.beat({A1: None}, 101)
    found.beat({}, 105)
    assert list(found.gone(read, 105)) == []
    assert found.nodes() == [A1]
    found.beat({}, 111)
    assert list(found.gone(read, 111)) == [A1]


def test_a_new_life_ends_the_old_one_whose_heartbeat_is_still_found() -> None:
    found = peers()
    found.hello(A1, 1)
    found.hello(A2, 2)
    assert list(found.gone(read, 2)) == [A1]
    found.beat({A1: {}, A2: {}}, 20)
    found.heard(A1)
    assert found.nodes() == [A2]


def test_a_namesake_that_lives_is_told_and_our_own_earlier_life_is_not() -> None:
    found = peers()
    earlier = NodeId("me", 0)
    found.beat({ME: {}, earlier: {}}, 1)
    assert found.namesake is None, "it may still be our own last heartbeat"
    found.beat({ME: {}, earlier: {}}, 12)
    assert found.namesake == earlier
    found.beat({ME: {}}, 14)
    assert found.namesake is None
    assert found.nodes() == []
