from __future__ import annotations

from contextlib import suppress

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_server.bus.base import BusKind, BusMessage, NodeId
from collab_server.bus.envelope import (
    BYE,
    BadEntryError,
    beginning_of,
    format_id,
    pack_entry,
    pack_tails,
    pack_word,
    parse_id,
    unpack_entry,
    unpack_tails,
    unpack_word,
)

ME = NodeId("me", 7)
rooms = st.sampled_from(["a", "b", "trip-ü", "\ud800"])
messages = st.lists(
    st.builds(BusMessage, rooms, st.sampled_from(BusKind), st.binary(max_size=20)), max_size=8
)
places = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@given(messages, st.integers(1, 2**60), places)
def test_an_entry_is_read_as_it_was_written(said: list[BusMessage], seq: int, prev: tuple[int, int]) -> None:
    entry = unpack_entry(pack_entry(ME, seq, seq - 1, prev, said))
    assert (entry.sender, entry.seq, entry.prev_seq, entry.prev_id) == (ME, seq, seq - 1, prev)
    assert entry.messages == said


nodes = st.builds(
    NodeId, st.sampled_from(["me", "m", "mee", "node-1", "n" * 40, "\ud800"]), st.integers(0, 2**63)
)


@given(nodes, nodes, messages, st.integers(1, 2**60), places)
def test_an_entry_begins_as_its_sender_does_and_nobody_else(
    one: NodeId, other: NodeId, said: list[BusMessage], seq: int, prev: tuple[int, int]
) -> None:
    entry = pack_entry(one, seq, seq - 1, prev, said)
    assert entry.startswith(beginning_of(one))
    assert entry.startswith(beginning_of(other)) == (one == other)


@given(st.dictionaries(st.integers(0, 31), st.tuples(st.integers(1, 2**60), places)))
def test_words_and_heartbeats_are_read_as_they_were_written(
    tails: dict[int, tuple[int, tuple[int, int]]],
) -> None:
    word = unpack_word(pack_word(BYE, ME, tails))
    assert (word.word, word.node, word.tails) == (BYE, ME, tails)
    assert unpack_tails(pack_tails(tails)) == tails


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_an_entry_or_a_clear_error(data: bytes) -> None:
    for unpack in (unpack_entry, unpack_word, unpack_tails):
        with suppress(BadEntryError):
            unpack(data)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=5)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=20,
)


@given(st.lists(values, max_size=9))
def test_parts_of_any_kind_are_an_entry_or_a_clear_error(parts: list[object]) -> None:
    for unpack in (unpack_entry, unpack_word, unpack_tails):
        with suppress(BadEntryError):
            unpack(msgpack.packb([1, *parts]))


def test_a_room_is_named_once_in_a_run_of_its_messages() -> None:
    name = "a-room-with-a-long-name"
    said = [BusMessage(name, BusKind.UPDATE, b"x")] * 10
    assert pack_entry(ME, 1, 0, (0, 0), said).count(name.encode()) == 1


def test_places_are_parsed_and_ordered_by_number() -> None:
    assert parse_id(b"1700000000000-10") > parse_id(b"1700000000000-9")
    assert format_id(parse_id(b"18446744073709551615-0")) == b"18446744073709551615-0"
    with pytest.raises(ValueError, match="invalid"):
        parse_id(b"x")
