"""Streams that are trimmed, deleted or none, entries that nobody can read, systems that share a Redis."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from collab_server.bus.base import BusMessage, NodeId
from collab_server.bus.envelope import pack_entry
from collab_server.errors import BusConfigError
from tests.adversity.test_bus_trouble import ROOM, they_hear_each_other
from tests.contract.buses import House, RedisWorld, Speaker, eventually, redis_world
from tests.support.valkey import shared_valkey

STRANGER = NodeId("stranger", 1)


def stream_of(world: RedisWorld, speaker: Speaker, room: str = ROOM) -> str:
    return f"{world.prefix}:shard:{speaker.bus.shard_of(room)}"


async def ask(*words: Any) -> Any:
    return await shared_valkey().ask(*words)


async def test_a_key_of_another_type_stops_only_its_own_shard(world: RedisWorld, house: House) -> None:
    rooms = [ROOM, "trip-2", "trip-3"]
    a, b = await house.enter("a", *rooms), await house.enter("b", *rooms)
    bad = stream_of(world, a)
    await ask("DEL", bad)
    await ask("SET", bad, "what a person typed")
    a.say(ROOM, b"lost")
    for speaker in (a, b):
        await eventually(lambda x=speaker: "shard" in (x.bus.trouble or ""), "it says which shard")  # type: ignore[misc]
    await they_hear_each_other(a, b, room="trip-2")
    await they_hear_each_other(a, b, room="trip-3")
    assert world.meter(a).links_lost == world.meter(b).links_lost == 0
    await ask("DEL", bad)
    for speaker in (a, b):
        await eventually(lambda x=speaker: x.ear.gaps[x.bus.shard_of(ROOM)] >= 1, "a gap")  # type: ignore[misc]
    await they_hear_each_other(a, b)
    await eventually(lambda: a.bus.trouble is None and b.bus.trouble is None, "all is well")


async def test_a_stream_at_the_end_of_its_numbers_stops_only_its_own_shard(
    world: RedisWorld, house: House
) -> None:
    a, b = await house.enter("a", ROOM, "trip-2"), await house.enter("b", ROOM, "trip-2")
    last = f"{2**64 - 1}-{2**64 - 1}"
    await ask("XADD", stream_of(world, a), last, "e", b"the last")
    a.say(ROOM, b"no room")
    await eventually(lambda: "shard" in (a.bus.trouble or ""), "a says which shard")
    await they_hear_each_other(a, b, room="trip-2")
    await ask("DEL", stream_of(world, a))
    await they_hear_each_other(a, b)


async def test_entries_that_were_trimmed_before_they_were_read_are_a_gap(
    world: RedisWorld, house: House
) -> None:
    world.changes["stream_entries_max_approx"] = 10
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    world.proxy(b).stalled = True
    before = world.meter(a).entries_sent
    said = 0
    while world.meter(a).entries_sent < before + 300:
        # Large ones, so that each is a node of the stream of its own, and trimming is exact.
        a.say(ROOM, b"%5d" % said + bytes(5000))
        said += 1
        sent = world.meter(a).entries_sent
        await eventually(lambda sent=sent: world.meter(a).entries_sent > sent, "a writes")  # type: ignore[misc]
    world.proxy(b).stalled = False
    await eventually(lambda: b.ear.gaps[b.bus.shard_of(ROOM)] >= 1, "b has seen that it missed some")
    assert len(b.ear.data(ROOM)) < said
    await they_hear_each_other(a, b)


async def test_the_last_words_in_a_deleted_stream_are_a_gap(world: RedisWorld, house: House) -> None:
    """Nobody speaks after them, so only the heartbeat tells of them."""
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    c = await house.enter("c", ROOM)
    await they_hear_each_other(a, b, c)
    world.proxy(b).stalled = True
    a.say(ROOM, b"the last words of a")
    await eventually(lambda: b"the last words of a" in c.ear.data(ROOM), "c hears a")
    await ask("DEL", stream_of(world, a))
    c.say(ROOM, b"a word of c")
    await eventually(lambda: b"a word of c" in a.ear.data(ROOM), "a hears c")
    world.proxy(b).stalled = False
    await eventually(lambda: b"a word of c" in b.ear.data(ROOM), "b hears c")
    await eventually(lambda: b.ear.gaps[b.bus.shard_of(ROOM)] >= 1, "b knows that it has missed a")
    assert b"the last words of a" not in b.ear.data(ROOM)


BAD_ENTRIES: dict[str, tuple[bytes, ...]] = {
    "noise": (b"e", b"\xc1\xff\x00 noise"),
    "nothing": (b"e", b""),
    "another field": (b"payload", b"x"),
    "more fields": (b"e", b"x", b"f", b"y"),
    "a number": (b"e", msgpack.packb(7)),
    "an empty list": (b"e", msgpack.packb([])),
    "too few parts": (b"e", msgpack.packb([1, "n", 1])),
    "parts of other types": (b"e", msgpack.packb([1, 7, "n", "x", None, {}, [], 0])),
    "a run that is none": (b"e", msgpack.packb([1, "n", 1, 1, 0, 0, 0, [7]])),
    "a run without data": (b"e", msgpack.packb([1, "n", 1, 1, 0, 0, 0, [["room", 1]]])),
    "text for data": (b"e", msgpack.packb([1, "n", 1, 1, 0, 0, 0, [["room", 1, "text"]]])),
    "a length beyond the end": (b"e", b"\x98\x01\xa1n\x01\x01\x00\x00\x00\xdd\xff\xff\xff\xff"),
    "deep nesting": (b"e", b"\x91" * 5000 + b"\x01"),
    "another version": (b"e", msgpack.packb([2, "who", "knows"])),
}


@pytest.mark.parametrize("fields", BAD_ENTRIES.values(), ids=list(BAD_ENTRIES))
async def test_an_entry_that_nobody_can_read_is_skipped_and_is_a_gap(
    world: RedisWorld, house: House, fields: tuple[bytes, ...]
) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    shard = b.bus.shard_of(ROOM)
    a.say(ROOM, b"before")
    await eventually(lambda: b.ear.data(ROOM) == [b"before"], "b hears a")
    await ask("XADD", stream_of(world, a), "*", *fields)
    await eventually(lambda: b.ear.gaps[shard] == 1, "b has a gap")
    a.say(ROOM, b"after")
    await eventually(lambda: b.ear.data(ROOM) == [b"before", b"after"], "b hears a again")
    assert world.meter(b).bad_entries == 1
    assert world.meter(b).links_lost == 0
    assert b.bus.trouble is None


async def test_a_kind_of_a_newer_version_is_skipped_without_noise(world: RedisWorld, house: House) -> None:
    b = await house.enter("b", ROOM)
    messages = [(ROOM, 1, b"known"), (ROOM, 99, b"new"), ("trip-x", 98, b"new"), (ROOM, 2, b"known too")]
    runs = [[room, kind, data] for room, kind, data in messages]
    await ask("XADD", stream_of(world, b), "*", "e", msgpack.packb([1, *("stranger", 1), 1, 0, 0, 0, runs]))
    await eventually(lambda: len(b.ear.messages) == 2, "what is known is heard")
    assert b.ear.data(ROOM) == [b"known", b"known too"]
    assert not b.ear.gaps
    assert world.meter(b).bad_entries == 0


async def test_a_jump_in_a_senders_numbers_is_one_gap_and_a_repetition_none(
    world: RedisWorld, house: House
) -> None:
    b = await house.enter("b", ROOM)
    shard = b.bus.shard_of(ROOM)
    for seq in (1, 2, 2, 1, 3, 7, 8):
        entry = pack_entry(STRANGER, seq, 0, (0, 0), [BusMessage(ROOM, 1, b"%d" % seq)])  # type: ignore[arg-type]
        await ask("XADD", stream_of(world, b), "*", "e", entry)
    await eventually(lambda: b.ear.data(ROOM)[-1:] == [b"8"], "all is read")
    assert b.ear.data(ROOM) == [b"1", b"2", b"3", b"7", b"8"]
    assert b.ear.gaps == {shard: 1}


async def test_two_systems_with_other_prefixes_share_a_redis(world: RedisWorld, house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    async with redis_world() as other:
        elsewhere = House(other)
        c, d = await elsewhere.enter("c", ROOM), await elsewhere.enter("d", ROOM)
        await they_hear_each_other(a, b)
        await they_hear_each_other(c, d)
        assert [node.name for node in a.bus.nodes()] == ["b"]
        assert [node.name for node in c.bus.nodes()] == ["d"]
        assert {sender.name for _, sender, _ in c.ear.told} == {"d"}
        await elsewhere.close()


async def test_another_number_of_shards_is_refused_in_the_operators_words(
    world: RedisWorld, house: House
) -> None:
    await house.enter("a", ROOM)
    world.changes["shards_count"] = 16
    with pytest.raises(BusConfigError, match=r"shards=32.*shards=16.*bus_shards"):
        await Speaker(world.bus("b")).start()


async def test_two_nodes_of_one_name_are_told_so(world: RedisWorld, house: House) -> None:
    first = Speaker(world.bus("twin"))
    await first.start()
    second = Speaker(world.bus("twin"))
    await second.start()
    await eventually(lambda: "node_name" in (first.bus.trouble or ""), "the first says what is wrong")
    await first.stop()
    await second.stop()


async def test_nothing_of_a_node_is_left_when_it_has_said_goodbye(world: RedisWorld, house: House) -> None:
    a = await house.enter("a", ROOM)
    a.say(ROOM, b"x")
    await a.stop()
    left = sorted(await ask("KEYS", f"{world.prefix}:*"))
    prefix = world.prefix.encode()
    assert left == [
        prefix + b":config",
        prefix + b":control",
        prefix + b":shard:%d" % a.bus.shard_of(ROOM),
    ]
