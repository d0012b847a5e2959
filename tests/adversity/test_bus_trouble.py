"""A Redis that dies, stalls, fills up or forgets, and a network to it that fails, under nodes that talk.

Whatever happens: a node says what is wrong, goes on by itself, and once it is over each shard that may have
lost something has its gap told, and everybody is heard again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from collab_server.bus import reader
from tests.contract.buses import House, RedisWorld, Speaker, eventually, redis_world
from tests.support.valkey import Valkey, private_valkey, shared_valkey

ROOM = "trip-1"


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    server = private_valkey()
    yield server
    server.stop()


async def they_hear_each_other(*speakers: Speaker, room: str = ROOM, word: bytes = b"hello again") -> None:
    """Everybody says a word, until it is heard: what is said just now may still be lost."""
    for speaker in speakers:
        others = [other for other in speakers if other is not speaker]

        def all_heard(speaker: Speaker = speaker, others: list[Speaker] = others) -> bool:
            speaker.say(room, word + speaker.bus.node.name.encode())
            wanted = word + speaker.bus.node.name.encode()
            return all(wanted in other.ear.data(room) for other in others)

        await eventually(all_heard, f"{speaker.bus.node.name} is heard")


async def test_a_redis_killed_under_traffic_and_back_without_its_data(own_valkey: Valkey) -> None:
    async with redis_world(own_valkey) as world:
        house = House(world)
        rooms = [f"trip-{n}" for n in range(4)]
        a, b = await house.enter("a", *rooms), await house.enter("b", *rooms)
        shards = {a.bus.shard_of(room) for room in rooms}
        talking = True

        async def talk(speaker: Speaker) -> None:
            number = 0
            while talking:
                for room in rooms:
                    speaker.say(room, b"%d" % number)
                number += 1
                await asyncio.sleep(0.002)

        tasks = [asyncio.create_task(talk(speaker)) for speaker in (a, b)]
        await eventually(lambda: len(a.ear.told) > 50 and len(b.ear.told) > 50, "they talk")
        own_valkey.kill()
        for speaker in (a, b):
            await eventually(lambda x=speaker: x.bus.trouble is not None, "it says what is wrong")  # type: ignore[misc]
            assert "the bus is away" in (speaker.bus.trouble or "")
            assert not speaker.ear.gaps
        own_valkey.start_again()
        for speaker in (a, b):
            await eventually(lambda x=speaker: shards <= set(x.ear.gaps), "each shard has its gap")  # type: ignore[misc]
            assert not speaker.ear.gone, "nobody was gone: it was Redis"
        talking = False
        await asyncio.gather(*tasks)
        await they_hear_each_other(a, b)
        for speaker in (a, b):
            assert speaker.bus.trouble is None
        await eventually(lambda: len(a.bus.nodes()) == len(b.bus.nodes()) == 1, "they know each other again")
        await house.close()


async def test_a_short_break_loses_nothing_that_was_queued_or_in_the_streams(
    world: RedisWorld, house: House
) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    said = [b"%d" % n for n in range(300)]
    for n, word in enumerate(said):
        a.say(ROOM, word)
        if n in {60, 180}:
            world.proxy(a).cut()
        if n in {120, 240}:
            world.proxy(b).cut()
        await asyncio.sleep(0.001)
    await eventually(lambda: len(set(b.ear.data(ROOM))) == len(said), "all was heard")
    assert b.ear.data(ROOM) == said, "in order, each once"


async def test_a_connection_that_has_gone_silent_is_noticed(world: RedisWorld, house: House) -> None:
    world.changes["timeout_s"] = 0.5
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    world.proxy(b).stalled = True
    await eventually(lambda: b.bus.trouble is not None, "b has noticed")
    assert "no answer" in (b.bus.trouble or "") or "does not answer" in (b.bus.trouble or "")
    assert a.bus.trouble is None
    world.proxy(b).stalled = False
    world.proxy(b).cut()
    await eventually(lambda: b.ear.gaps[b.bus.shard_of(ROOM)] >= 1, "b has its gap")
    await they_hear_each_other(a, b)


async def test_a_half_open_connection_is_given_up(world: RedisWorld, house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    world.proxy(b).half_close(towards_server=True)
    await eventually(lambda: world.meter(b).links_lost >= 1, "b has noticed")
    await they_hear_each_other(a, b)


async def test_a_slow_connection_carries_what_is_large(world: RedisWorld, house: House) -> None:
    """Longer than the time that Redis may be silent; but it is not silent, bytes move."""
    world.changes["timeout_s"] = 0.5
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    world.proxy(a).bytes_per_s = 2 << 20
    big = bytes(4 << 20)
    a.say(ROOM, big)
    await eventually(lambda: b.ear.data(ROOM) == [big], "it has arrived")
    assert world.meter(a).links_lost == 0


async def test_a_full_redis_keeps_everybody_alive_and_takes_what_waited_when_it_can(
    own_valkey: Valkey,
) -> None:
    async with redis_world(own_valkey) as world:
        house = House(world)
        a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
        await own_valkey.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await own_valkey.ask("SET", "filler", bytes(1 << 20))
        await own_valkey.ask("CONFIG", "SET", "maxmemory", 1)
        a.say(ROOM, b"waits")
        await eventually(lambda: "OOM" in (a.bus.trouble or ""), "a says that Redis is full")
        # Longer than the heartbeat's life: who cannot write a word can still say that it lives.
        await asyncio.sleep(4.5)
        assert not a.ear.gone
        assert not b.ear.gone
        await own_valkey.ask("CONFIG", "SET", "maxmemory", 0)
        await eventually(lambda: b"waits" in b.ear.data(ROOM) or bool(b.ear.gaps), "what waited is heard")
        await they_hear_each_other(a, b)
        await eventually(lambda: a.bus.trouble is None and b.bus.trouble is None, "all is well")
        assert world.meter(a).links_lost == 0
        await house.close()


async def test_what_does_not_fit_the_queue_is_lost_with_a_gap_to_follow(
    world: RedisWorld, house: House
) -> None:
    world.changes["queue_bytes_max"] = 100_000
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    await world.cut(a)
    await eventually(lambda: a.bus.trouble is not None, "a is alone")
    for _ in range(500):
        a.say(ROOM, bytes(1000))
        assert a.bus.queue_bytes <= 100_000  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    assert world.meter(a).messages_dropped > 300
    await world.heal(a)
    shard = a.bus.shard_of(ROOM)
    await eventually(lambda: a.ear.gaps[shard] >= 1, "a has its gap")
    await they_hear_each_other(a, b)
    assert a.ear.gaps[shard] == 1


async def test_a_message_larger_than_the_queue_passes_when_nothing_waits(
    world: RedisWorld, house: House
) -> None:
    world.changes["queue_bytes_max"] = 100_000
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    big = bytes(300_000)
    await eventually(lambda: a.bus.queue_bytes == 0, "nothing waits")  # type: ignore[attr-defined]
    a.say(ROOM, big)
    await eventually(lambda: b.ear.data(ROOM) == [big], "it has arrived")


async def test_a_new_shard_wakes_the_reader(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK_S", 3600.0)
    a = await house.enter("a", *(f"trip-{n}" for n in range(8)))
    b = await house.enter("b")
    for n in range(8):
        b.watch(f"trip-{n}")
        await they_hear_each_other(a, b, room=f"trip-{n}")


async def test_a_node_that_was_late_with_its_heartbeat_says_hello_again(
    world: RedisWorld, house: House
) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    # What its end would look like to the others.
    await shared_valkey().ask("DEL", f"{world.prefix}:node:a/{a.bus.node.incarnation}")
    await eventually(lambda: a.ear.gaps[a.bus.shard_of(ROOM)] >= 1, "a knows that it was taken for dead")
    await eventually(lambda: a.bus.node in b.bus.nodes(), "b knows that it lives")
    await they_hear_each_other(a, b)


async def test_a_redis_that_was_flushed_is_noticed(own_valkey: Valkey) -> None:
    async with redis_world(own_valkey) as world:
        house = House(world)
        a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
        await own_valkey.ask("FLUSHALL")
        for speaker in (a, b):
            await eventually(lambda x=speaker: x.ear.gaps[x.bus.shard_of(ROOM)] >= 1, "a gap")  # type: ignore[misc]
        await they_hear_each_other(a, b)
        await eventually(lambda: len(a.bus.nodes()) == len(b.bus.nodes()) == 1, "they know each other again")
        await house.close()


async def test_a_redis_that_was_stopped_for_a_moment(own_valkey: Valkey) -> None:
    async with redis_world(own_valkey, timeout_s=1.0) as world:
        house = House(world)
        a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
        own_valkey.pause()
        try:
            a.say(ROOM, b"slow")
            await eventually(lambda: a.bus.trouble is not None and b.bus.trouble is not None, "they notice")
        finally:
            own_valkey.resume()
        await eventually(lambda: b"slow" in b.ear.data(ROOM), "what waited is heard")
        await they_hear_each_other(a, b)
        await house.close()
