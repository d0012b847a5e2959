"""Sets of ids: normalised, cached, compared."""

from __future__ import annotations

import random

import pytest

from collab_server.errors import MalformedError
from collab_server.ydoc.idset import IdSet
from tests.support.ydocs import varints


def test_an_empty_set_is_one_byte() -> None:
    assert IdSet().encode() == b"\x00"
    assert IdSet().is_empty()
    assert not IdSet()
    assert IdSet.decode(b"\x00") == IdSet()


def test_ranges_that_touch_or_overlap_become_one() -> None:
    ids = IdSet()
    for start, end in ((10, 12), (14, 16), (12, 14), (11, 15), (9, 10)):
        ids.add(1, start, end)
    assert list(ids) == [(1, 9, 16)]
    assert ids.ranges_total == 1


def test_deleting_backwards_makes_one_range() -> None:
    ids = IdSet()
    for clock in range(100, 0, -1):
        ids.add(7, clock, clock + 1)
    assert list(ids) == [(7, 1, 101)]


def test_empty_ranges_are_no_ids() -> None:
    ids = IdSet()
    ids.add(1, 5, 5)
    assert ids.is_empty()
    assert IdSet.decode(varints(1, 1, 1, 5, 0)) == IdSet()


def test_what_comes_unsorted_and_overlapping_is_normalised() -> None:
    ids = IdSet.decode(varints(2, 3, 3, 9, 2, 0, 4, 2, 3, 5, 1, 1, 1))
    assert list(ids) == [(5, 1, 2), (3, 0, 5), (3, 9, 11)]
    assert ids.encode() == varints(2, 5, 1, 1, 1, 3, 2, 0, 5, 9, 2)


@pytest.mark.parametrize(
    "data", [b"", b"\x01", varints(1, 1, 1, 5), varints(0, 0), varints(2**29), varints(1, 1, 2**29)]
)
def test_what_is_no_set_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        IdSet.decode(data)


def test_the_encoding_follows_every_change() -> None:
    ids = IdSet()
    ids.add(1, 0, 1)
    first = ids.encode()
    assert ids.encode() is first
    ids.add(2, 0, 1)
    assert ids.encode() != first
    ids.remove_client(2)
    assert ids.encode() == first
    ids.add(1, 5, 6)
    assert IdSet.decode(ids.encode()) == ids


def test_digests_are_equal_for_equal_sets_however_they_came_about() -> None:
    spans = [(n % 3, n * 2, n * 2 + 1) for n in range(200)]
    one, two = IdSet(), IdSet()
    for span in spans:
        one.add(*span)
    random.Random(1).shuffle(spans)
    for client in range(3):
        two.add_all(client, [(start, end) for who, start, end in spans if who == client])
    assert one.digest() == two.digest()
    assert len(one.digest()) == 16
    two.add(1, 1000, 1001)
    assert one.digest() != two.digest()


def test_ranges_in_the_worst_order_are_sorted_at_once() -> None:
    data = varints(1, 1, 200_000) + b"".join(varints(2 * n, 1) for n in range(200_000, 0, -1))
    assert IdSet.decode(data).ranges_total == 200_000
