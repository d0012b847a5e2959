"""A document as bytes: what is new, what waits, what is passed on."""

from __future__ import annotations

import pytest

from collab_server.errors import MalformedError, TooBigError
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.compaction import compact
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog, Novelty
from collab_server.ydoc.update import splice
from tests.support.ydocs import array_type, content, item, recorded, skip, string, typed, update, varints


def _add(log: DocumentLog, data: bytes) -> Novelty:
    return log.add(inspect(data))


def _unchanged(log: DocumentLog, data: bytes, error: type[Exception]) -> None:
    before = (dict(log.state_vector), log.encode(), log.pending_bytes, log.bytes_total)
    with pytest.raises(error):
        _add(log, data)
    assert (dict(log.state_vector), log.encode(), log.pending_bytes, log.bytes_total) == before


HELLO = update((1, 0, [string("hello")]))


def test_a_new_log_is_an_empty_document() -> None:
    log = DocumentLog()
    assert log.encode() == b"\x00\x00"
    assert log.since({}) == b"\x00\x00"
    assert log.state_vector == {}


def test_what_is_all_new_is_passed_on_as_the_very_same_object() -> None:
    novelty = _add(DocumentLog(), HELLO)
    assert novelty.update is HELLO
    assert novelty.journal is HELLO


def test_only_the_unknown_rest_of_an_update_is_passed_on() -> None:
    log = DocumentLog()
    _add(log, update((1, 0, [string("he")])))
    novelty = _add(log, HELLO)
    assert novelty.update == update((1, 2, [string("llo", origin=(1, 1))]))
    assert content([log.encode()]) == content([HELLO])


def test_deletions_alone_are_new_once() -> None:
    log = DocumentLog()
    _add(log, HELLO)
    deletion = update(deletes=[(1, 1, 2)])
    assert _add(log, deletion).update is deletion
    assert _add(log, deletion).update is None
    more = _add(log, update(deletes=[(1, 0, 5)]))
    assert more.update is not None
    assert list(inspect(more.update).spans) == [1, 0, 1, 1, 3, 5]


def test_deletions_of_what_nobody_knows_are_kept() -> None:
    log = DocumentLog()
    _add(log, update(deletes=[(9, 100, 5)]))
    assert log.deletes.contains(9, 102)
    assert log.encode() == update(deletes=[(9, 100, 5)])
    assert log.pending_bytes == 0


def test_a_gap_waits_and_closes() -> None:
    log = DocumentLog()
    later = update((1, 5, [string(" world", origin=(1, 4))]))
    novelty = _add(log, later)
    assert novelty.update is None
    assert novelty.journal is later
    assert log.pending_bytes > 0
    assert log.encode() == b"\x00\x00"
    assert _add(log, later).journal is None
    closing = _add(log, HELLO)
    assert closing.update is not None
    assert closing.journal is HELLO
    assert log.pending_bytes == 0
    assert log.state_vector == {1: 11}
    assert content([closing.update]) == content([HELLO, later])


@pytest.mark.parametrize("where", [{"origin": (2, 4)}, {"right": (2, 4)}, {"parent": (2, 4)}])
def test_a_struct_waits_for_each_id_that_it_names(where: dict[str, tuple[int, int]]) -> None:
    log = DocumentLog()
    _add(log, update((1, 0, [string("x", **where)])))
    assert log.state_vector == {}
    _add(log, update((2, 0, [string("abcd")])))
    assert log.state_vector == {2: 4}
    _add(log, update((2, 4, [array_type(origin=(2, 3))])))
    assert log.state_vector == {1: 1, 2: 5}


def test_sections_that_need_each_other_by_turns_are_taken_in() -> None:
    one = [string("a", origin=(2, n)) for n in range(2000)]
    two = [string("b"), *(string("b", origin=(1, n)) for n in range(2000))]
    for sections in (((1, 0, one), (2, 0, two)), ((2, 0, two), (1, 0, one))):
        log = DocumentLog()
        data = update(*sections)
        assert _add(log, data).update is data
        assert log.state_vector == {1: 2000, 2: 2001}


def test_structs_that_need_each_other_in_a_circle_wait_for_ever() -> None:
    log = DocumentLog()
    _add(log, update((1, 0, [string("a", origin=(2, 0))]), (2, 0, [string("b", origin=(1, 0))])))
    assert log.state_vector == {}
    _add(log, update((3, 0, [string("c")])))
    assert log.state_vector == {3: 1}


def test_a_client_that_comes_twice_is_put_together() -> None:
    log = DocumentLog()
    novelty = _add(log, update((1, 1, [string("b", origin=(1, 0))]), (1, 0, [string("a")])))
    assert novelty.update is not None
    assert len(inspect(novelty.update).sections) == 1
    assert log.state_vector == {1: 2}


def test_skips_in_an_update_are_gaps() -> None:
    log = DocumentLog()
    _add(log, update((1, 0, [string("a"), skip(1), string("c", origin=(1, 1))])))
    assert log.state_vector == {1: 1}
    _add(log, update((1, 1, [string("b", origin=(1, 0))])))
    assert log.state_vector == {1: 3}


def test_what_waits_is_bounded_and_the_log_stays_as_it_was() -> None:
    log = DocumentLog(Bounds(pending_bytes_max=3000))
    for n in range(5):
        _add(log, update((n, 1, [string("x" * 300, origin=(n, 0))])))
    _unchanged(log, update((9, 1, [string("y" * 300, origin=(9, 0))])), TooBigError)
    _add(log, HELLO)


def test_many_tiny_waiting_runs_weigh_what_they_cost() -> None:
    log = DocumentLog(Bounds(pending_bytes_max=10_000))
    runs = [update((1, 3 * n + 1, [string("x", origin=(1, 0))])) for n in range(100)]
    for data in runs[:30]:
        _add(log, data)
    with pytest.raises(TooBigError):
        _add(log, splice(runs[30:]))


def test_what_is_typed_behind_a_gap_is_kept_as_one_run() -> None:
    log = DocumentLog(Bounds(pending_bytes_max=100_000))
    for n in range(5000):
        _add(log, update((1, n + 1, [string("x", origin=(1, n))])))
    assert log.state_vector == {}
    _add(log, update((1, 0, [string("x")])))
    assert log.state_vector == {1: 5001}
    assert log.pending_bytes == 0


def test_a_document_over_its_bound_takes_nothing_more() -> None:
    log = DocumentLog(Bounds(document_bytes_max=1000))
    _add(log, update((1, 0, [string("x" * 900)])))
    _unchanged(log, update((1, 900, [string("y" * 200, origin=(1, 899))])), TooBigError)
    assert _add(log, update((1, 0, [string("x" * 900)]))).update is None


def test_a_document_takes_edits_of_so_many_clients_and_no_more() -> None:
    log = DocumentLog(Bounds(state_vector_entries_max=3))
    for client in range(3):
        _add(log, update((client, 0, [string("x")])))
    _add(log, update((1, 1, [string("x", origin=(1, 0))])))
    _unchanged(log, update((9, 0, [string("x")])), TooBigError)


def test_a_large_first_update_is_kept_as_it_is_and_cut_anywhere() -> None:
    log = DocumentLog()
    structs = [string("x", origin=(2, n)) for n in range(3000)]
    _add(log, update((2, 0, [string("y" * 3000)])))
    _add(log, update((1, 0, structs)))
    _add(log, update((1, 3000, [string("z", origin=(1, 2999))])))
    for known in (1, 500, 2999, 3000):
        section = inspect(log.since({1: known, 2: 3000})).sections[0]
        assert (section.clock, section.end, section.count) == (known, 3001, 3001 - known)
    log.fold()
    assert inspect(log.since({1: 2998, 2: 3000})).sections[0].clock == 2998


def _nest(levels: int, start: int = 0) -> list[bytes]:
    """One update for each level: an array in the array before it."""
    return [
        update((1, n, [array_type(parent=(1, n - 1)) if n else array_type(root="array")]))
        for n in range(start, levels)
    ]


def test_types_may_be_nested_up_to_the_bound_and_no_further() -> None:
    log = DocumentLog(Bounds(nesting_depth_max=20))
    for data in _nest(20):
        _add(log, data)
    _unchanged(log, _nest(21, 20)[0], MalformedError)
    _add(log, update((1, 20, [string("x", parent=(1, 19))])))
    _unchanged(log, update((2, 0, [array_type(origin=(1, 20))])), MalformedError)
    _unchanged(log, update((2, 0, [array_type(right=(1, 20))])), MalformedError)
    _unchanged(
        log, update((1, 21, [string("y", origin=(1, 20)), array_type(origin=(1, 21))])), MalformedError
    )


def test_nesting_in_one_update_or_by_several_clients_is_bounded_alike() -> None:
    log = DocumentLog(Bounds(nesting_depth_max=20))
    one = [array_type(root="array"), *(array_type(parent=(1, n)) for n in range(30))]
    _unchanged(log, update((1, 0, one)), MalformedError)
    many = [
        (n, 0, [array_type(parent=(n - 1, 0)) if n > 1 else array_type(root="array")]) for n in range(1, 31)
    ]
    _unchanged(log, update(*many), MalformedError)
    _unchanged(log, update(*reversed(many)), MalformedError)
    _add(log, update(*many[:20]))


def test_what_waits_and_hangs_too_deep_does_not_blame_who_closes_the_gap() -> None:
    log = DocumentLog(Bounds(nesting_depth_max=3))
    deep = _nest(5)
    for data in deep[1:]:
        _add(log, data)
    _add(log, deep[0])
    assert log.state_vector == {1: 3}
    assert log.pending_bytes == 0


def test_depth_survives_storing_with_and_without_an_index() -> None:
    bounds = Bounds(nesting_depth_max=20)
    stored = compact(None, _nest(20), bounds)
    for index in (stored.index, b""):
        log = DocumentLog.open(stored.data, index, [], bounds)
        with pytest.raises(MalformedError):
            _add(log, _nest(21, 20)[0])


def test_typing_in_deep_text_costs_no_depth_entries() -> None:
    log = DocumentLog()
    for data in _nest(5):
        _add(log, data)
    _add(log, update((1, 5, [item(7, varints(2), parent=(1, 4))])))
    _add(log, update((1, 6, [string("a", parent=(1, 5))])))
    pieces = log._pieces[1]
    before = len(pieces.depths)
    for n in range(7, 200):
        _add(log, update((1, n, [string("a", origin=(1, n - 1))])))
        _add(log, update((2, n - 7, [string("b", origin=(1, n))])))
    assert len(pieces.depths) == before
    assert len(log._pieces[2].depths) == 1


def test_the_encoding_is_shared_until_something_changes() -> None:
    log = DocumentLog()
    _add(log, HELLO)
    whole = log.encode()
    assert log.encode() is whole
    assert log.since({}) is whole
    _add(log, HELLO)
    assert log.encode() is whole
    _add(log, update((1, 5, [string("!", origin=(1, 4))])))
    assert log.encode() != whole


def test_a_long_text_is_cut_and_a_short_one_sent_whole_where_a_difference_begins_inside() -> None:
    log = DocumentLog()
    _add(log, update((1, 0, [string("x" * 10_000)]), (2, 0, [string("short")])))
    log.fold()
    assert len(log.since({1: 9_990, 2: 5})) < 100
    assert log.since({1: 10_000, 2: 3}) == update((2, 0, [string("short")]))


def test_a_difference_never_cuts_a_surrogate_pair() -> None:
    log = DocumentLog()
    _add(log, update((1, 0, [string("😀" * 200)])))
    log.fold()
    assert inspect(log.since({1: 201})).sections[0].clock == 0
    cut = log.since({1: 200})
    assert inspect(cut).sections[0].clock == 200
    assert "\ufffd".encode() not in cut


def test_many_folds_keep_few_chunks() -> None:
    log = DocumentLog()
    updates = typed(1, 3000)
    for number, data in enumerate(updates):
        _add(log, data)
        if number % 10 == 0:
            log.fold()
    log.fold()
    assert log.tail_bytes == 0
    assert all(len(pieces.chunks) < 16 for pieces in log._pieces.values())
    assert content([log.encode()]) == content(updates)
    for pieces in log._pieces.values():
        assert pieces.bytes_total == sum(chunk.size for chunk in pieces.chunks)


def test_folding_nothing_changes_nothing() -> None:
    log = DocumentLog()
    _add(log, HELLO)
    log.fold()
    whole = log.encode()
    log.fold()
    assert log.encode() is whole


def test_an_index_for_something_else_is_ignored() -> None:
    one = compact(None, [HELLO])
    two = compact(None, [update((1, 0, [string("other text")]))])
    for index in (two.index, b"", b"\x00", b"\x01", one.index[:-1], one.index[:9] + b"\xff" + one.index[10:]):
        log = DocumentLog.open(one.data, index, [])
        assert log.state_vector == {1: 5}
        assert log.encode() == one.data


def test_opening_with_an_index_gives_back_the_stored_bytes() -> None:
    stored = compact(None, typed(2, 500))
    assert DocumentLog.open(stored.data, stored.index, []).encode() is stored.data


def test_adopting_a_base_tells_what_the_others_have_not_seen() -> None:
    log = DocumentLog()
    _add(log, HELLO)
    foreign = update((2, 0, [string("foreign")]))
    known = compact(None, [HELLO])
    assert log.adopt(known.data, known.index) is None
    vector = log.state_vector
    more = compact(None, [HELLO, foreign])
    assert log.adopt(more.data, more.index) == foreign
    assert log.state_vector is vector
    assert vector == {1: 5, 2: 7}


def test_adopting_keeps_what_waits() -> None:
    log = DocumentLog()
    _add(log, update((3, 2, [string("x", origin=(3, 1))])))
    stored = compact(None, [HELLO])
    log.adopt(stored.data, stored.index)
    assert log.pending_bytes > 0
    _add(log, update((3, 0, [string("ab")])))
    assert log.state_vector == {1: 5, 3: 3}


def test_a_new_struct_in_a_huge_known_update_does_not_keep_it_in_memory() -> None:
    log = DocumentLog()
    _add(log, update((1, 0, [string("x" * 100_000)])))
    _add(log, update((1, 0, [string("x" * 100_000), string("y" * 5000, right=(1, 3))])))
    assert all(len(chunk.data) < 110_000 for pieces in log._pieces.values() for chunk in pieces.chunks[1:])
    assert log.state_vector == {1: 105_000}


@pytest.mark.parametrize("name", ["clownschool", "friendsforever"])
def test_a_recorded_session_reads_the_same_and_stays_small(name: str) -> None:
    updates = recorded(name) or typed(3, 5000)
    log = DocumentLog()
    passed = 0
    for number, data in enumerate(updates):
        passed += _add(log, data).update is data
        if number % 997 == 0:
            log.fold()
    assert passed == len(updates)
    wanted = content(updates)
    assert content([log.encode()]) == wanted
    stored = compact(None, updates)
    assert content([stored.data]) == wanted
    assert len(stored.data) < len(b"".join(updates)) / 2
