"""What every bus promises: order, no echo, gaps, counting of watchers, who is here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from collab_server.bus.base import BusKind, BusMessage
from collab_server.bus.memory import MemoryBus
from tests.contract.buses import WORLDS, House, eventually

ROOM = "trip-1"


@pytest.fixture(params=sorted(WORLDS))
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    async with WORLDS[request.param]() as world:
        house = House(world)
        yield house
        await house.close()


def other_shard_room(house_bus_shard: int, shard_of: object) -> str:
    assert callable(shard_of)
    return next(name for i in range(10_000) if shard_of(name := f"trip-{i}") != house_bus_shard)


async def test_what_one_node_says_the_others_hear_in_order(house: House) -> None:
    a, b, c = await house.enter("a", ROOM), await house.enter("b", ROOM), await house.enter("c", ROOM)
    said = [b"%d" % n for n in range(500)]
    for n in range(0, 500, 7):
        a.say(ROOM, *said[n : n + 7])
        await eventually(lambda n=n: len(b.ear.data(ROOM)) >= n - 100, "b keeps up")  # type: ignore[misc]
    for listener in (b, c):
        await eventually(lambda x=listener: len(x.ear.data(ROOM)) >= 500, "all was heard")  # type: ignore[misc]
        assert listener.ear.data(ROOM) == said
        assert all(sender == a.bus.node for _, sender, _ in listener.ear.told)
        assert not listener.ear.gaps


async def test_every_kind_of_message_arrives_as_it_was_said(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    said = [BusMessage(ROOM, kind, bytes([kind]) * 3) for kind in BusKind]
    said.append(BusMessage(ROOM, BusKind.UPDATE, b""))
    said.append(BusMessage(ROOM, BusKind.UPDATE, bytes(range(256))))
    for message in said:
        a.bus.publish(message.room, message.kind, message.data)
    await eventually(lambda: len(b.ear.messages) >= len(said), "all was heard")
    assert b.ear.messages == said


async def test_room_names_of_any_script_travel_unchanged(house: House) -> None:
    names = ["reise-nach-köln", "旅行", "🏔️/Ω", "a b?c#d", "x" * 512]
    a, b = await house.enter("a"), await house.enter("b", *names)
    for name in names:
        a.say(name, name.encode())
    await eventually(lambda: len(b.ear.messages) >= len(names), "all was heard")
    assert {message.room: message.data for message in b.ear.messages} == {n: n.encode() for n in names}


async def test_a_node_never_hears_itself(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    a.say(ROOM, b"from a")
    b.say(ROOM, b"from b")
    await eventually(lambda: a.ear.data(ROOM) == [b"from b"], "a hears b")
    await eventually(lambda: b.ear.data(ROOM) == [b"from a"], "b hears a")
    assert {sender for _, sender, _ in a.ear.told} == {b.bus.node}


async def test_what_is_said_in_one_turn_is_heard_together(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    for _ in range(20):
        a.say(ROOM, *(b"%d" % n for n in range(10)))
        heard = len(b.ear.told)
        await eventually(lambda heard=heard: len(b.ear.told) > heard, "a turn was heard")  # type: ignore[misc]
    for _, _, messages in b.ear.told:
        assert len(messages) % 10 == 0, "a turn was torn"


async def test_a_turn_larger_than_any_entry_is_still_heard_together(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    a.say(ROOM, *(bytes([n]) * 400_000 for n in range(5)))
    a.say(ROOM, b"and the small one of the same turn")
    await eventually(lambda: len(b.ear.messages) >= 6, "the turn was heard")
    assert [len(messages) for _, _, messages in b.ear.told] == [6]


async def test_an_update_of_16_mib_passes_and_keeps_its_place(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    big = bytes(range(256)) * (16 * 4096)
    a.say(ROOM, b"before", big, b"after")
    await eventually(lambda: len(b.ear.messages) >= 3, "all was heard")
    assert b.ear.data(ROOM) == [b"before", big, b"after"]
    assert not b.ear.gaps


async def test_only_watched_shards_are_heard(house: House) -> None:
    a, b = await house.enter("a"), await house.enter("b", ROOM)
    elsewhere = other_shard_room(a.bus.shard_of(ROOM), a.bus.shard_of)
    a.say(elsewhere, b"not for b")
    a.say(ROOM, b"for b")
    await eventually(lambda: b.ear.data(ROOM) == [b"for b"], "b hears its room")
    assert b.ear.data(elsewhere) == []


async def test_watching_is_counted(house: House) -> None:
    a, b, c = await house.enter("a"), await house.enter("b", ROOM), await house.enter("c", ROOM)
    shard = b.bus.shard_of(ROOM)
    b.bus.watch(shard)
    b.bus.unwatch(shard)
    a.say(ROOM, b"still watched")
    await eventually(lambda: b.ear.data(ROOM) == [b"still watched"], "b listens as long as one watches")
    b.bus.unwatch(shard)
    a.say(ROOM, b"not any more")
    await eventually(lambda: len(c.ear.data(ROOM)) == 2, "c hears both")
    assert b.ear.data(ROOM) == [b"still watched"]
    assert shard not in b.bus.lag()
    assert shard in c.bus.lag()


async def test_watching_begins_now_and_not_with_the_past(house: House) -> None:
    a, b = await house.enter("a"), await house.enter("b", ROOM)
    a.say(ROOM, b"past")
    await eventually(lambda: b.ear.data(ROOM) == [b"past"], "b hears a")
    c = await house.enter("c", ROOM)
    a.say(ROOM, b"present")
    await eventually(lambda: c.ear.data(ROOM) == [b"present"], "c hears only what came after it")
    assert not c.ear.gaps, "who has just come has missed nothing that it was to hear"


async def test_what_answers_a_first_word_is_always_heard(house: House) -> None:
    """A node opens a room: it watches, asks, and must hear the answer, however quick it comes."""
    a = await house.enter("a", ROOM)
    a.ear.on_heard = lambda: a.say(ROOM, b"answer %d" % len(a.ear.told), kind=BusKind.SYNC_ANSWER)
    b = await house.enter("b")
    for n in range(30):
        b.watch(ROOM)
        b.say(ROOM, b"?", kind=BusKind.SYNC_REQUEST)
        await eventually(lambda n=n: len(b.ear.told) == n + 1, f"answer {n} was heard")  # type: ignore[misc]
        b.bus.unwatch(b.bus.shard_of(ROOM))
    assert not b.ear.gaps


async def test_a_node_that_was_cut_off_has_a_gap_in_every_watched_shard(house: House) -> None:
    rooms = [f"trip-{n}" for n in range(3)]
    a, b = await house.enter("a", *rooms), await house.enter("b", *rooms)
    shards = {b.bus.shard_of(room) for room in rooms}
    await house.world.cut(b)
    a.say(ROOM, b"unheard")
    b.say(ROOM, b"unsaid")
    await eventually(lambda: b.bus.trouble is not None, "b has seen that it is alone")
    assert a.bus.trouble is None
    assert not b.ear.gaps, "there is nothing to sync with before the link works again"
    await house.world.heal(b)
    await eventually(lambda: set(b.ear.gaps) == shards, "b knows of its gaps")
    await eventually(lambda: b.bus.trouble is None, "all is well again")
    a.say(ROOM, b"back")
    b.say(ROOM, b"back too")
    await eventually(lambda: b"back" in b.ear.data(ROOM), "b hears again")
    await eventually(lambda: b"back too" in a.ear.data(ROOM), "b is heard again")
    assert b.ear.gaps == dict.fromkeys(shards, 1), "one gap for one occasion"


async def test_a_goodbye_comes_after_the_last_word(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    said = [b"%d" % n for n in range(200)]
    a.say(ROOM, *said)
    heard_at_end: list[int] = []
    b.ear.on_gone = lambda: heard_at_end.append(len(b.ear.data(ROOM)))
    await a.stop()
    await eventually(lambda: b.ear.gone == [a.bus.node], "b hears the goodbye")
    assert heard_at_end == [200]
    assert b.ear.data(ROOM) == said
    assert list(b.bus.nodes()) == []


async def test_a_killed_node_is_gone_for_the_others_within_the_heartbeats_time(house: House) -> None:
    a, b, c = await house.enter("a", ROOM), await house.enter("b", ROOM), await house.enter("c")
    await house.world.kill(a)
    for listener in (b, c):
        await eventually(lambda x=listener: x.ear.gone == [a.bus.node], "the dead node is gone")  # type: ignore[misc]
        assert a.bus.node not in listener.bus.nodes()
    assert list(b.bus.nodes()) == [c.bus.node]


async def test_a_new_life_of_a_node_ends_the_old_one_at_once(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    first = a.bus.node
    await house.world.kill(a)
    again = await house.enter("a", ROOM)
    assert again.bus.node.name == first.name
    assert again.bus.node != first
    await eventually(lambda: b.ear.gone == [first], "the old life has ended")
    assert list(b.bus.nodes()) == [again.bus.node]
    again.say(ROOM, b"I am back")
    await eventually(lambda: b.ear.data(ROOM) == [b"I am back"], "the new life is heard")
    assert not b.ear.gaps


async def test_a_listener_that_fails_stops_nothing(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)

    def fail() -> None:
        if b.ear.data(ROOM)[-1] == b"bad":
            raise ValueError("a room is broken")

    b.ear.on_heard = fail
    a.say(ROOM, b"good")
    await eventually(lambda: b.ear.data(ROOM) == [b"good"], "the first was heard")
    a.say(ROOM, b"bad")
    await eventually(lambda: b.ear.gaps[b.bus.shard_of(ROOM)] == 1, "the failure counts as a gap")
    a.say(ROOM, b"good again")
    await eventually(lambda: b.ear.data(ROOM)[-1] == b"good again", "it goes on")


async def test_after_its_end_a_bus_is_silent(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    await a.stop()
    a.say(ROOM, b"too late")
    b.say(ROOM, b"nobody listens")
    c = await house.enter("c", ROOM)
    b.say(ROOM, b"to c")
    await eventually(lambda: c.ear.data(ROOM)[-1:] == [b"to c"], "c hears b")
    assert b"too late" not in c.ear.data(ROOM)
    assert a.ear.data(ROOM) == []
    assert b.ear.data(ROOM) == []


async def test_the_lag_speaks_of_the_watched_shards(house: House) -> None:
    a, b = await house.enter("a", ROOM), await house.enter("b", ROOM)
    a.say(ROOM, b"x")
    await eventually(lambda: b.ear.data(ROOM) == [b"x"], "b hears a")
    shard = b.bus.shard_of(ROOM)
    assert set(b.bus.lag()) == {shard}
    lag = b.bus.lag()[shard]
    assert lag.shard == shard
    assert lag.delay_ms >= 0
    await eventually(lambda: b.bus.lag()[shard].entries_behind == 0, "b is not behind")


async def test_a_node_without_a_hub_is_alone_and_publishes_for_nothing() -> None:
    bus = MemoryBus()
    assert not bus.is_shared
    assert bus.trouble is None
    bus.publish(ROOM, BusKind.UPDATE, b"x")
    bus.watch(0)
    bus.unwatch(0)
    assert bus.nodes() == ()
    await bus.close()
