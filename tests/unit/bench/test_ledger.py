"""The books: what was lost, what came twice, and what a message's latency counts from."""

from __future__ import annotations

import random

import pycrdt
import pytest

from bench.generator.dialects import PlainDialect
from bench.generator.edits import Typist
from bench.generator.ledger import Author, Knowledge, RoomBooks, sent_so_far
from bench.generator.tally import STAGE_SHIFT, Tally
from bench.histogram import Histogram


class Room:
    """Two writers, and a reader who is a third."""

    def __init__(self) -> None:
        self.books = RoomBooks("r", PlainDialect("r"), is_checked=True)
        self.typists = [Typist(client, "notes", random.Random(client)) for client in (11, 12)]
        self.authors: list[Author] = [self.books.add_author(typist.client) for typist in self.typists]
        self.cursor = self.books.add_cursor(11)
        self.reader = Knowledge(self.books, None)
        self.tally = Tally()

    def write(self, due: float, who: int = 0, *, delete: bool = False, stage: int = 0) -> bytes:
        edit = self.typists[who].backspace() if delete else self.typists[who].insert(2)
        assert edit
        if edit.deleted:
            self.books.deleted(self.authors[who], edit.update, edit.deleted, due, stage)
        else:
            self.books.wrote(self.authors[who], edit.update, edit.end, due, stage)
        return edit.update

    def read(
        self, *updates: bytes, now: float = 10.0, live_from: float = 0.0, is_answer: bool = False
    ) -> None:
        for update in updates:
            self.reader.receive(self.books.parse(update), now, live_from, self.tally, is_answer=is_answer)

    def latencies_ms(self) -> list[float]:
        histogram = Histogram({key & (1 << STAGE_SHIFT) - 1: n for key, n in self.tally.edits.items()})
        return [histogram.percentile(p) / 1000 for p in (1, 100)]


@pytest.fixture
def room() -> Room:
    return Room()


def test_latency_counts_from_when_a_message_was_due(room: Room) -> None:
    room.read(room.write(due=9.99), now=10.0)
    room.read(room.write(due=9.0), now=10.0)
    assert room.tally.delivered == 2
    assert room.latencies_ms() == [pytest.approx(10, rel=0.01), pytest.approx(1000, rel=0.01)]
    assert room.reader.lacks() == 0


def test_a_message_belongs_to_the_stage_in_which_it_was_due(room: Room) -> None:
    room.read(room.write(due=9, stage=3))
    assert {key >> STAGE_SHIFT for key in room.tally.edits} == {3}


def test_what_has_not_come_is_lacking(room: Room) -> None:
    room.write(due=1)
    room.read(room.write(due=1, who=1))
    assert room.reader.lacks() == 1


def test_a_hole_is_lost_until_it_is_filled(room: Room) -> None:
    first, second, third = (room.write(due=1) for _ in range(3))
    room.read(first, third)
    assert (room.reader.lacks(), room.tally.delivered) == (1, 2)
    room.read(second)
    assert (room.reader.lacks(), room.tally.reordered, room.tally.duplicated) == (0, 1, 0)


def test_what_comes_again_is_a_duplicate(room: Room) -> None:
    first, second = room.write(due=1), room.write(due=1)
    room.read(first, second, first, first)
    assert (room.tally.duplicated, room.tally.delivered) == (2, 2)


def test_messages_are_found_in_what_a_server_merged(room: Room) -> None:
    updates = [room.write(due=1, who=n % 2) for n in range(10)]
    merged = pycrdt.merge_updates(*updates)
    room.read(merged)
    assert (room.tally.delivered, room.reader.lacks()) == (10, 0)
    room.read(merged)
    assert room.tally.duplicated == 10


def test_a_piece_that_was_known_in_part_is_no_duplicate(room: Room) -> None:
    first, second = room.write(due=1), room.write(due=1)
    room.read(first)
    room.read(pycrdt.merge_updates(first, second))
    assert (room.tally.duplicated, room.tally.delivered) == (0, 2)


def test_an_answer_brings_what_is_caught_up_with(room: Room) -> None:
    first, second = room.write(due=1), room.write(due=1)
    room.read(first, second, is_answer=True)
    room.read(first, is_answer=True)
    assert (room.tally.caught_up, room.tally.delivered, room.tally.duplicated) == (2, 0, 0)


def test_what_was_due_before_the_connection_has_no_latency(room: Room) -> None:
    room.read(room.write(due=4), live_from=5)
    assert (room.tally.caught_up, room.tally.delivered, room.tally.edits) == (1, 0, {})


def test_deletions_are_messages_too_and_may_be_repeated(room: Room) -> None:
    room.read(room.write(due=1))
    deletion = room.write(due=1, delete=True)
    assert room.reader.lacks() == 1
    room.read(deletion, deletion)
    assert (room.reader.lacks(), room.tally.delivered, room.tally.duplicated) == (0, 2, 0)


def test_deletions_are_found_in_a_delete_set_of_many(room: Room) -> None:
    updates = [room.write(due=1) for _ in range(5)] + [room.write(due=1, delete=True) for _ in range(6)]
    room.read(pycrdt.merge_updates(*updates))
    assert (room.reader.lacks(), room.tally.delivered) == (0, 11)


def test_ones_own_messages_are_an_echo(room: Room) -> None:
    room.reader = Knowledge(room.books, room.authors[0])
    room.read(room.write(due=1))
    assert (room.tally.echoes, room.tally.delivered, room.reader.lacks()) == (1, 0, 0)


def test_who_leaves_is_asked_only_for_what_was_sent_before(room: Room) -> None:
    room.read(room.write(due=1))
    mark = sent_so_far(room.books)
    room.write(due=1)
    assert (room.reader.lacks(mark), room.reader.lacks()) == (0, 1)


def test_a_large_answer_is_known_by_its_state_vector(room: Room) -> None:
    edit = room.typists[0].insert(100_000)
    room.books.wrote(room.authors[0], edit.update, edit.end, 1, 0)
    room.read(edit.update, is_answer=True)
    assert (room.reader.lacks(), room.tally.caught_up) == (0, 1)


def test_the_state_vector_names_authors_without_a_hole(room: Room) -> None:
    first, _, third = (room.write(due=1) for _ in range(3))
    room.read(room.write(due=1, who=1))
    room.read(first)
    assert room.reader.state_vector() == [(11, 2), (12, 2)]
    room.read(third)
    assert room.reader.state_vector() == [(12, 2)]


def test_a_newer_cursor_answers_for_those_before_it(room: Room) -> None:
    room.cursor.dues += [1.0, 2.0, 3.0]
    room.cursor.stages += [0, 0, 0]
    reader = Knowledge(room.books, None)
    assert reader.lacks_states(None, {11}) == 1
    reader.receive_awareness([(room.cursor, 3)], 4.0, 0.0, room.tally, None)
    assert (room.tally.awareness_delivered, room.tally.superseded) == (1, 2)
    assert sum(room.tally.cursors.values()) == 3
    assert reader.lacks_states(None, {11}) == 0
    reader.receive_awareness([(room.cursor, 2)], 5.0, 0.0, room.tally, None)
    assert sum(room.tally.cursors.values()) == 3


def test_an_awareness_payload_names_who_is_here(room: Room) -> None:
    payload = b"\x03" + b"\x0b\x07\x02{}" + b"\x0c\x01\x02{}" + b"\x0b\x09\x04null"
    assert room.books.parse_awareness(payload) == [(room.cursor, 7)]
