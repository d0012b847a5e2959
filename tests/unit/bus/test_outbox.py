from __future__ import annotations

import random
from collections import defaultdict

import pytest

from collab_server.bus.base import BusKind, NodeId
from collab_server.bus.envelope import ENTRY_MESSAGES_MAX, unpack_entry
from collab_server.bus.outbox import Outbox, Packed

ME = NodeId("me", 7)


class Box:
    """An outbox, and what it told."""

    def __init__(self, entry_bytes_max: int = 1000, queue_bytes_max: int = 100_000) -> None:
        self.lost: list[int] = []
        self.dropped = 0
        self.box = Outbox(
            ME,
            4,
            entry_bytes_max=entry_bytes_max,
            queue_bytes_max=queue_bytes_max,
            on_lost=self.lost.append,
            on_dropped=self._on_dropped,
        )
        self._n = 0

    def _on_dropped(self, messages: int) -> None:
        self.dropped += messages

    def turn(self, shard: int, *datas: bytes, room: str = "r") -> None:
        for data in datas:
            self.box.add(shard, room, BusKind.UPDATE, data)
        self.box.next_turn()

    def say_all(self, bytes_max: int = 1 << 30) -> list[Packed]:
        entries = self.box.take(bytes_max)
        for entry in entries:
            self._n += 1
            self.box.said(entry, (self._n, 0))
        return entries


def datas(entry: Packed) -> list[bytes]:
    return [message.data for message in unpack_entry(entry.data).messages]


def test_small_turns_of_a_shard_share_an_entry_and_shards_do_not() -> None:
    box = Box()
    box.turn(0, b"a", b"b")
    box.turn(1, b"c")
    box.turn(0, b"d")
    found = {entry.shard: datas(entry) for entry in box.say_all()}
    assert found == {0: [b"a", b"b", b"d"], 1: [b"c"]}
    assert box.box.size == 0
    assert box.box.is_empty


def test_an_entry_holds_whole_turns_only() -> None:
    box = Box(entry_bytes_max=1000)
    for n in range(6):
        box.turn(0, b"%d" % n * 150, b"%d" % n * 150)
    entries = box.say_all()
    assert [len(datas(entry)) for entry in entries] == [4, 4, 4]
    assert [entry.seq for entry in entries] == [1, 2, 3]


def test_a_turn_larger_than_an_entry_goes_alone() -> None:
    box = Box(entry_bytes_max=1000)
    box.turn(0, b"small")
    box.turn(0, bytes(5000), b"x", bytes(5000))
    box.turn(0, b"small too")
    assert [len(datas(entry)) for entry in box.say_all()] == [1, 3, 1]


def test_a_turn_of_very_many_messages_is_parted() -> None:
    box = Box(entry_bytes_max=1 << 30, queue_bytes_max=1 << 30)
    box.turn(0, *(b"%d" % n for n in range(ENTRY_MESSAGES_MAX + 10)))
    entries = box.say_all()
    assert [len(datas(entry)) for entry in entries] == [ENTRY_MESSAGES_MAX, 10]
    assert box.box.size == 0


def test_entries_name_the_last_one_that_was_said() -> None:
    box = Box(entry_bytes_max=64)
    box.turn(0, b"1")
    box.turn(0, b"2")
    first, second = (unpack_entry(entry.data) for entry in box.say_all())
    assert (first.seq, first.prev_seq, first.prev_id) == (1, 0, (0, 0))
    assert (second.seq, second.prev_seq) == (2, 0)
    box.turn(0, b"3")
    third = unpack_entry(box.say_all()[0].data)
    assert (third.seq, third.prev_seq, third.prev_id) == (3, 2, (2, 0))
    assert box.box.tails() == {0: (3, (3, 0))}


def test_what_comes_back_goes_first_with_the_numbers_that_it_had() -> None:
    box = Box(entry_bytes_max=64)
    box.turn(0, b"1")
    box.turn(0, b"2")
    taken = box.box.take(1 << 30)
    box.turn(0, b"3")
    box.box.put_back(taken)
    entries = box.say_all()
    assert [(entry.seq, datas(entry)) for entry in entries] == [(1, [b"1"]), (2, [b"2"]), (3, [b"3"])]
    assert box.box.size == 0


def test_a_pipeline_is_bounded_and_every_shard_gets_its_turn() -> None:
    box = Box(entry_bytes_max=1000, queue_bytes_max=1 << 20)
    for _ in range(20):
        box.turn(0, bytes(900))
    box.turn(1, b"x")
    assert {entry.shard for entry in box.say_all(2000)} == {0}
    assert 1 in {entry.shard for entry in box.say_all(2000)}


def test_over_the_bound_the_fullest_shard_loses_all_and_takes_nothing_until_it_recovers() -> None:
    box = Box(queue_bytes_max=10_000)
    box.turn(0, *[bytes(800)] * 9)
    box.turn(1, *[bytes(800)] * 5)
    assert box.lost == [0]
    assert box.dropped == 9
    box.turn(0, b"not taken")
    assert box.dropped == 10
    assert {entry.shard for entry in box.say_all()} == {1}
    assert list(box.box.lost) == [0]
    box.box.recover(0)
    box.turn(0, b"taken")
    assert [datas(entry) for entry in box.say_all()] == [[b"taken"]]


def test_a_mark_is_an_entry_before_what_is_said_after_it() -> None:
    box = Box()
    box.box.mark(2)
    (mark,) = box.say_all()
    assert mark.is_mark
    assert datas(mark) == []
    box.box.mark(2)
    box.turn(2, b"question")
    (both,) = box.say_all()
    assert both.is_mark
    assert datas(both) == [b"question"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_numbers_are_in_order_and_bytes_are_counted(seed: int) -> None:
    rng = random.Random(seed)
    box = Box(entry_bytes_max=500, queue_bytes_max=5_000)
    seqs: dict[int, int] = defaultdict(int)
    words: dict[int, int] = defaultdict(lambda: -1)
    for n in range(2_000):
        match rng.randrange(6):
            case 0 | 1 | 2:
                box.turn(rng.randrange(4), *(b"%d" % n + bytes(rng.randrange(300)) for _ in range(3)))
            case 3:
                taken = box.box.take(rng.randrange(1, 3_000))
                if rng.random() < 0.3:
                    box.box.put_back(taken)
                    continue
                for entry in taken:
                    assert entry.seq > seqs[entry.shard]
                    seqs[entry.shard] = entry.seq
                    for data in datas(entry):
                        word = int(data.rstrip(b"\0") or b"0")
                        assert word >= words[entry.shard]
                        words[entry.shard] = word
                    box.box.said(entry, (n + 1, 0))
            case 4:
                box.box.mark(rng.randrange(4))
            case _:
                for shard in list(box.box.lost):
                    box.box.recover(shard)
        assert 0 <= box.box.size <= 5_000
    for shard in list(box.box.lost):
        box.box.recover(shard)
    box.say_all()
    assert box.box.size == 0
