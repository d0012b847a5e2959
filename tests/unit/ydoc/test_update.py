"""Uniting, cutting and shrinking updates, byte for byte."""

from __future__ import annotations

import random

import pytest

from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.update import EMPTY, collect, since, splice, splice_inspected, squash
from tests.support.ydocs import array_type, gc, item, skip, string, update, varints

NULLS = b"\x7e\x7e\x7e"


def _any(count: int) -> bytes:
    return varints(count) + b"\x7e" * count


def test_nothing_spliced_is_an_empty_update() -> None:
    assert splice([]) == EMPTY


def test_one_update_is_spliced_as_it_is() -> None:
    data = update((1, 0, [string("a")]))
    assert splice([data]) is data


def test_updates_are_united_by_client_higher_ids_first_in_clock_order() -> None:
    one = update((1, 2, [string("b", origin=(1, 1))]), deletes=[(2, 0, 1)])
    two = update((1, 0, [string("aa")]), (2, 0, [string("z")]), deletes=[(2, 1, 2)])
    assert splice([one, two]) == update(
        (2, 0, [string("z")]), (1, 0, [string("aa"), string("b", origin=(1, 1))]), deletes=[(2, 0, 3)]
    )


def test_what_is_there_twice_is_written_once_and_overlaps_are_cut() -> None:
    one = update((1, 0, [string("abc")]))
    two = update((1, 1, [string("bcde", origin=(1, 0), right=(2, 7))]))
    assert splice([one, two, one]) == update(
        (1, 0, [string("abc"), string("de", origin=(1, 2), right=(2, 7))])
    )


def test_gaps_become_skips_and_close_again() -> None:
    one, two, three = (update((1, n, [string("x", origin=(1, 9))])) for n in (10, 12, 11))
    gap = splice([one, two])
    assert gap == update((1, 10, [string("x", origin=(1, 9)), skip(1), string("x", origin=(1, 9))]))
    assert splice([gap, three]) == splice([one, three, two])
    assert not inspect(splice([gap, three])).sections[0].gaps


def test_looked_through_updates_are_spliced_alike() -> None:
    data = [update((1, n, [string("x", origin=(1, n - 1))])) for n in range(1, 9)]
    assert splice_inspected(map(inspect, data)) == splice(data)


@pytest.mark.parametrize("seed", range(20))
def test_grouping_makes_no_difference(seed: int) -> None:
    dice = random.Random(seed)
    data = [
        update((c, n, [string("x", origin=(c, n - 1))]), deletes=[(c, n, 1)])
        for c in (1, 2)
        for n in range(1, 20)
        if dice.random() < 0.8
    ]
    wanted = splice(data)
    while len(data) > 1:
        dice.shuffle(data)
        data[:2] = [splice(data[:2])]
    assert data[0] == wanted


def test_cutting_through_a_surrogate_pair_gives_what_yjs_gives() -> None:
    one = update((1, 0, [string("a\ufffd")]))
    two = update((1, 0, [string("a😀b")]))
    assert splice([one, two]) == update((1, 0, [string("a\ufffd"), string("\ufffdb", origin=(1, 1))]))


def test_a_difference_leaves_out_what_is_known_and_keeps_deletions() -> None:
    data = update(
        (3, 0, [string("ccc")]), (2, 0, [string("b"), string("bb", right=(3, 0))]), deletes=[(3, 1, 1)]
    )
    assert since(data, {3: 3, 2: 2}) == update((2, 1, [string("bb", right=(3, 0))]), deletes=[(3, 1, 1)])
    assert since(data, {3: 9, 2: 9}) == update(deletes=[(3, 1, 1)])
    assert since(data, {}) == data


def test_a_difference_does_not_begin_with_a_gap() -> None:
    data = update((1, 0, [string("a"), skip(3), string("b", origin=(1, 3))]))
    assert since(data, {1: 2}) == update((1, 4, [string("b", origin=(1, 3))]))


JOINABLE = [
    (4, b"\x02ab", b"\x03\xc3\x9fc", b"\x05ab\xc3\x9fc"),
    (8, _any(2), _any(2), _any(4)),
    (2, b"\x02\x011\x012", b"\x02\x013\x014", b"\x04\x011\x012\x013\x014"),
    (1, b"\x02", b"\x02", b"\x04"),
]


@pytest.mark.parametrize(("ref", "left", "right", "joined"), JOINABLE)
def test_a_struct_that_continues_another_becomes_one_with_it(
    ref: int, left: bytes, right: bytes, joined: bytes
) -> None:
    data = update((1, 0, [item(ref, left), item(ref, right, origin=(1, 1))]))
    assert squash(data) == update((1, 0, [item(ref, joined)]))
    data = update(
        (1, 5, [item(ref, left, origin=(2, 2), right=(3, 1)), item(ref, right, origin=(1, 6), right=(3, 1))])
    )
    assert squash(data) == update((1, 5, [item(ref, joined, origin=(2, 2), right=(3, 1))]))


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(string("b", origin=(1, 0)), id="an origin that is not the last id"),
        pytest.param(string("b", origin=(2, 1)), id="an origin of somebody else"),
        pytest.param(string("b", origin=(1, 1), right=(2, 0)), id="another right origin"),
        pytest.param(string("b"), id="no origin"),
        pytest.param(item(8, b"\x01\x7e", origin=(1, 1)), id="another kind of content"),
    ],
)
def test_a_struct_that_does_not_continue_another_stays_apart(second: bytes) -> None:
    data = update((1, 0, [string("aa"), second]))
    assert squash(data) == data


@pytest.mark.parametrize(
    ("ref", "body"), [(7, b"\x00"), (3, b"\x01x"), (5, b"\x011"), (6, b"\x01b\x011"), (9, b"\x01g\x76\x00")]
)
def test_contents_of_one_piece_never_join(ref: int, body: bytes) -> None:
    data = update((1, 5, [item(ref, body, origin=(1, 4)), item(ref, body, origin=(1, 5))]))
    assert squash(data) == data


def test_gaps_are_not_joined_over() -> None:
    data = update((1, 0, [string("a"), skip(1), string("b", origin=(1, 0))]))
    assert squash(data) == data


def test_gcs_that_touch_become_one() -> None:
    assert squash(update((1, 0, [gc(2), gc(3)]))) == update((1, 0, [gc(5)]))


def test_deleted_content_is_dropped_and_keeps_its_place() -> None:
    data = update((1, 0, [string("hello", right=(2, 0))]), deletes=[(1, 1, 2)])
    assert collect(data) == update(
        (
            1,
            0,
            [
                string("h", right=(2, 0)),
                item(1, b"\x02", origin=(1, 0), right=(2, 0)),
                string("lo", origin=(1, 2), right=(2, 0)),
            ],
        ),
        deletes=[(1, 1, 2)],
    )


def test_the_key_of_a_deleted_map_entry_stays() -> None:
    data = update((1, 0, [item(8, b"\x01\x7e", root="map", key="k")]), deletes=[(1, 0, 1)])
    assert collect(data) == update((1, 0, [item(1, b"\x01", root="map", key="k")]), deletes=[(1, 0, 1)])


def test_what_hangs_in_a_deleted_type_loses_its_place_said_or_not() -> None:
    data = update(
        (2, 0, [string("b", origin=(1, 2))]),
        (
            1,
            0,
            [array_type(root="array"), array_type(parent=(1, 0)), string("a", parent=(1, 1)), string("c")],
        ),
        deletes=[(1, 0, 1)],
    )
    assert collect(data) == update(
        (2, 0, [gc(1)]),
        (1, 0, [item(1, b"\x01", root="array"), gc(2), string("c")]),
        deletes=[(2, 0, 1), (1, 0, 3)],
    )


def test_what_hangs_on_something_unknown_is_not_thrown_away() -> None:
    data = update((1, 5, [string("a", origin=(2, 3)), string("b", parent=(3, 3))]))
    assert collect(data) == data


def test_collecting_follows_a_long_chain_without_recursion() -> None:
    many = [
        array_type(root="array"),
        *(string("x", parent=(1, 0)) if n == 0 else string("x", right=(1, n)) for n in range(5000)),
    ]
    collected = collect(update((1, 0, many), deletes=[(1, 0, 1)]))
    assert collected == update((1, 0, [item(1, b"\x01", root="array"), gc(5000)]), deletes=[(1, 0, 5001)])


def test_a_right_origin_of_the_same_client_at_another_clock_keeps_structs_apart() -> None:
    data = update(
        (1, 5, [string("a", origin=(1, 4), right=(3, 1)), string("b", origin=(1, 5), right=(3, 2))])
    )
    assert squash(data) == data
