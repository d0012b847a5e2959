"""Bytes that no client would write: refused, or taken in without harm; never another error, never for
long.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from collab_server.errors import MalformedError, TooBigError
from collab_server.ydoc.idset import IdSet
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.statevector import decode_state_vector
from collab_server.ydoc.update import collect, since, splice, squash
from tests.support.ydocs import Session


def _survive(data: bytes) -> None:
    """Put bytes through everything that a peer's bytes can reach."""
    try:
        inspected = inspect(data)
    except (MalformedError, TooBigError):
        return
    log = DocumentLog()
    try:
        novelty = log.add(inspected)
    except (MalformedError, TooBigError):
        assert log.encode() == b"\x00\x00"
        return
    if novelty.update is not None:
        inspect(novelty.update)
    log.fold()
    for made in (
        log.encode(),
        log.since({1: 1}),
        splice([data, data]),
        squash(data),
        collect(data),
        since(data, {1: 1}),
    ):
        inspect(made)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_no_part_of_an_update_is_an_update(seed: int) -> None:
    whole = splice(Session(seed).edit(12) or [b"\x00\x00"])
    for size in range(len(whole)):
        try:
            inspect(whole[:size])
        except MalformedError:
            continue
        raise AssertionError(f"{size} of {len(whole)} bytes were taken for an update")


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32))
def test_flipped_bytes_are_refused_or_do_no_harm(seed: int) -> None:
    dice = random.Random(seed)
    data = bytearray(splice(Session(seed).edit(10) or [b"\x00\x00"]))
    for _ in range(dice.randint(1, 6)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    _survive(bytes(data))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_do_no_harm(data: bytes) -> None:
    _survive(data)
    for read in (decode_state_vector, IdSet.decode):
        try:
            read(data)
        except MalformedError:
            continue


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(1, 20)),
        max_size=30,
    ),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(1, 20)),
        max_size=30,
    ),
)
def test_an_id_set_is_a_set(left: list[tuple[int, int, int]], right: list[tuple[int, int, int]]) -> None:
    def model(spans: list[tuple[int, int, int]]) -> set[tuple[int, int]]:
        return {(client, clock) for client, start, size in spans for clock in range(start, start + size)}

    def ids(made: IdSet) -> set[tuple[int, int]]:
        return {(client, clock) for client, start, end in made for clock in range(start, end)}

    one, two = IdSet(), IdSet()
    for client, start, size in left:
        one.add(client, start, start + size)
    for client in range(4):
        two.add_all(client, [(start, start + size) for who, start, size in right if who == client])
    assert ids(one) == model(left)
    assert ids(two) == model(right)
    assert one.ranges_total == len(list(one))
    assert ids(one.subtract(two)) == model(left) - model(right)
    assert IdSet.decode(one.encode()) == one
    for client, start, size in right:
        whole = {(client, clock) for clock in range(start, start + size)}
        assert one.covers(client, start, start + size) == (whole <= model(left))
        assert one.touches(client, start, start + size) == bool(whole & model(left))
        parts = {(client, c) for a, b in one.uncovered(client, start, start + size) for c in range(a, b)}
        assert parts == whole - model(left)
    one.union(two)
    assert ids(one) == model(left) | model(right)
    assert one.ranges_total == len(list(one))
    assert one.encode() == IdSet.decode(one.encode()).encode()
