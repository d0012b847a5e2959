"""Messages that no proper client sends: each ends in its close code, or is ignored, and harms nobody else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from tests.adversity.conftest import Arena
from tests.support import frames, yupdate
from tests.support.frames import var_bytes, var_uint
from tests.support.rawpeer import TEXT, frame
from tests.support.yclient import YClient

MALFORMED, OVER_LIMIT = 4400, 4413
DEPTH = 100_000

_BROKEN_FRAMES = {
    "empty": b"",
    "a type and nothing else": b"\x00",
    "a step and nothing else": b"\x00\x02",
    "a length and nothing else": b"\x00\x02\x05",
    "a truncated update": b"\x00\x02\x05ab",
    "a truncated step 1": b"\x00\x00\x02\x01",
    "a truncated step 2": b"\x00\x01\x09\x00",
    "an unknown sync step": b"\x00\x07\x00",
    "an awareness without length": b"\x01",
    "a truncated awareness": b"\x01\x05ab",
    "a truncated sync status": b"\x66\x09a",
    "an endless var-int as type": b"\x80" * 30,
    "an over-long var-int as length": b"\x00\x02" + b"\x80" * 20 + b"\x01",
    "a truncated var-int": b"\x00\x02\xff\xff",
    "a var-int over 2**53": b"\x00\x02" + var_uint(2**53) + b"a",
    "a length of 2**52": b"\x00\x02" + var_uint(2**52) + b"a",
}

_GOOD = yupdate.update(
    [(7, 0, [yupdate.string("x"), yupdate.any_item(b"\x77\x01a")])], yupdate.delete_set([(7, [(0, 1)])])
)

_BROKEN_UPDATES = {
    "nothing": b"",
    "bytes left over": _GOOD + b"\x00",
    "2**29 clients": var_uint(2**29),
    "2**29 structs": b"\x01" + var_uint(2**29) + b"\x07\x00",
    "2**29 deleting clients": b"\x00" + var_uint(2**29),
    "2**29 deletions": b"\x00\x01\x07" + var_uint(2**29),
    "a GC of 2**60": yupdate.update([(7, 0, [b"\x00" + var_uint(2**60)])]),
    "a clock at the end of numbers": yupdate.text_update(7, 2**53 - 1, "xx"),
    "an unknown content": yupdate.update([(7, 0, [yupdate.item(11, b"\x00", root="notes")])]),
    "an unknown type": yupdate.update([(7, 0, [yupdate.item(7, b"\x09", root="notes")])]),
    "a text that is not UTF-8": yupdate.update([(7, 0, [yupdate.item(4, b"\x02\xff\xfe", root="notes")])]),
    "an unknown any": yupdate.update([(7, 0, [yupdate.any_item(b"\x01")])]),
    "an any that announces 2**40 entries": yupdate.update(
        [(7, 0, [yupdate.any_item(b"\x75" + var_uint(2**40))])]
    ),
    "a string of 2**50": yupdate.update([(7, 0, [yupdate.item(4, var_uint(2**50) + b"a", root="notes")])]),
}

_DEEP_UPDATES: dict[str, Callable[[], list[bytes]]] = {
    "any arrays": lambda: [yupdate.any_item(yupdate.nested_any_arrays(DEPTH))],
    "any objects": lambda: [yupdate.any_item(yupdate.nested_any_objects(DEPTH))],
    "JSON arrays": lambda: [yupdate.json_item("[" * DEPTH + "]" * DEPTH)],
    "JSON objects": lambda: [yupdate.json_item('{"k":' * DEPTH + "1" + "}" * DEPTH)],
    "an embed": lambda: [yupdate.embed_item("[" * DEPTH + "]" * DEPTH)],
    "a format": lambda: [yupdate.format_item("[" * DEPTH + "]" * DEPTH)],
    "Y.Array": lambda: yupdate.nested_types(7, DEPTH, yupdate.ARRAY),
    "Y.Map": lambda: yupdate.nested_types(7, DEPTH, yupdate.MAP),
    "Y.XmlElement": lambda: yupdate.nested_types(7, DEPTH, yupdate.XML_ELEMENT),
}


def _awareness(payload: bytes) -> bytes:
    return b"\x01" + var_bytes(payload)


_BROKEN_AWARENESS = {
    "2**29 entries": _awareness(var_uint(2**29)),
    "a missing entry": _awareness(b"\x02\x01\x01\x02{}"),
    "no JSON": frames.raw_awareness([(7, 1, "{name: 'x'}")]),
    "half a JSON": frames.raw_awareness([(7, 1, '{"name":')]),
    "not UTF-8": _awareness(b"\x01\x07\x01\x02\xff\xfe"),
    "deep JSON arrays": frames.raw_awareness([(7, 1, "[" * 10_000 + "]" * 10_000)]),
    "deep JSON objects": frames.raw_awareness([(7, 1, '{"k":' * 10_000 + "1" + "}" * 10_000)]),
}

_IGNORED = {
    "an unknown type": b"\x09abc",
    "a large unknown type": var_uint(2**40) + b"abc",
    "an auth message of a client": b"\x02\x00\x02no",
    "an auth message that grants": b"\x02\x01",
    "a query with a payload": b"\x03\x05abcde",
    "an update of nothing": frames.update(b"\x00\x00"),
    "bytes after the message": frames.update(b"\x00\x00") + b"\x00\x02\x05ab",
}


@pytest.mark.parametrize("payload", _BROKEN_FRAMES.values(), ids=_BROKEN_FRAMES.keys())
async def test_a_broken_frame_closes_its_sender(arena: Arena, payload: bytes) -> None:
    assert await arena.close_code_for(payload) == MALFORMED
    arena.nobody_got_a_byte()


@pytest.mark.parametrize("update", _BROKEN_UPDATES.values(), ids=_BROKEN_UPDATES.keys())
@pytest.mark.parametrize("wrap", [frames.update, frames.step2], ids=["update", "step 2"])
async def test_a_broken_update_closes_its_sender_and_reaches_nobody(
    arena: Arena, update: bytes, wrap: Callable[[bytes], bytes]
) -> None:
    assert await arena.close_code_for(wrap(update)) == MALFORMED
    arena.nobody_got_a_byte()


async def test_every_truncation_of_a_good_update_closes_its_sender(arena: Arena) -> None:
    for size in range(len(_GOOD)):
        assert await arena.close_code_for(frames.update(_GOOD[:size])) == MALFORMED, _GOOD[:size]
    arena.nobody_got_a_byte()


@pytest.mark.parametrize("seed", range(4))
async def test_random_bytes_as_updates_and_awareness_close_their_sender(arena: Arena, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(60):
        noise = dice.randbytes(dice.randrange(12, 200))
        wrap = dice.choice([frames.update, frames.step2, _awareness])
        # A random length may also say that a state is too long, before it is seen to be nonsense.
        assert await arena.close_code_for(wrap(noise)) in {MALFORMED, OVER_LIMIT}, (wrap, noise)
    arena.nobody_got_a_byte()


async def test_random_messages_never_harm_others(arena: Arena) -> None:
    dice = random.Random(99)
    for _ in range(150):
        async with arena.attacker() as attacker:
            await attacker.upgrade(arena.room)
            for _ in range(3):
                await attacker.send_message(dice.randbytes(dice.randrange(60)))


@pytest.mark.parametrize("payload", _BROKEN_AWARENESS.values(), ids=_BROKEN_AWARENESS.keys())
async def test_broken_awareness_closes_its_sender(arena: Arena, payload: bytes) -> None:
    assert await arena.close_code_for(payload) == MALFORMED


async def test_an_awareness_state_of_a_megabyte_closes_its_sender(arena: Arena) -> None:
    assert await arena.close_code_for(frames.awareness([(7, 1, "x" * 1_000_000)])) == OVER_LIMIT


@pytest.mark.parametrize("payload", _IGNORED.values(), ids=_IGNORED.keys())
async def test_what_the_reference_ignores_is_ignored(arena: Arena, payload: bytes) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        await attacker.send_message(payload)
        await attacker.send(frame(b"just text", TEXT), frame(b'{"type":"ping"}', TEXT))
        await attacker.send_message(frames.update(yupdate.text_update(7, 0, "after that")))
        await arena.near[0].sees("after that")


@pytest.mark.parametrize("structs", _DEEP_UPDATES.values(), ids=_DEEP_UPDATES.keys())
async def test_a_hundred_thousand_levels_in_one_update_close_its_sender(
    arena: Arena, structs: object
) -> None:
    assert callable(structs)
    deep = yupdate.update([(7, 0, structs())])
    assert await arena.close_code_for(frames.update(deep)) == MALFORMED
    arena.nobody_got_a_byte()


def _one_level_each(client: int, kind: int, depth: int) -> Iterator[bytes]:
    for clock, level in enumerate(yupdate.nested_types(client, depth, kind)):
        yield frames.update(yupdate.update([(client, clock, [level])]))


@pytest.mark.parametrize("kind", [yupdate.ARRAY, yupdate.MAP], ids=["arrays", "maps"])
async def test_a_hundred_thousand_levels_one_per_update_close_their_sender(arena: Arena, kind: int) -> None:
    levels = [frame(level) for level in _one_level_each(7, kind, DEPTH)]
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        attacker.writer.write(b"".join(levels))
        assert await attacker.close_code() == MALFORMED
    # Another connection cannot go on where this one was stopped.
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        attacker.writer.write(b"".join(levels[400:700]))
        assert await attacker.close_code() == MALFORMED


async def test_levels_that_come_in_the_wrong_order_are_not_deeper_in_the_end(arena: Arena) -> None:
    levels = list(_one_level_each(7, yupdate.ARRAY, 2000))
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        for level in reversed(levels):
            await attacker.send_message(level)
        await attacker.send_message(frames.sync_status(b"all"))
        await attacker.receive_message(b"\x66")
    async with YClient(arena.url, arena.room) as late:
        clocks = frames.read_state_vector(late.doc.get_state())
        assert clocks.get(7, 0) <= 500


@pytest.mark.parametrize(
    "vector",
    [
        var_uint(2**29),
        var_uint(2**29) + b"\x01\x01",
        b"\x02\x01\x05",
        b"\x01" + b"\x80" * 20,
        b"",
        frames.state_vector((client, 1) for client in range(1, 150_000)),
    ],
    ids=["2**29 entries", "2**29 and one", "truncated", "endless", "nothing", "150,000 entries"],
)
async def test_a_broken_state_vector_closes_its_sender(arena: Arena, vector: bytes) -> None:
    assert await arena.close_code_for(frames.step1(vector)) == MALFORMED


async def test_a_state_vector_of_a_future_gets_an_answer(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        await attacker.send_message(frames.step1(frames.state_vector([(7, 2**52), (8, 1)])))
        await attacker.receive_message(b"\x00\x01")


async def test_nobody_speaks_for_another_client(arena: Arena) -> None:
    victim, witness = arena.near
    client = victim.doc.client_id
    await victim.announce({"name": "victim"})
    await witness.until(lambda: witness.sees_state(client) == {"name": "victim"})
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        await attacker.send_message(frames.awareness([(4711, 1, {"name": "attacker"})]))
        for clock in (1, 2, 1000, 2**31, 2**52):
            await attacker.send_message(frames.awareness([(client, clock, None)]))
            await attacker.send_message(frames.awareness([(client, clock, {"name": "fake"})]))
        await attacker.send_message(frames.awareness([(4711, 2, {"name": "done"})]))
        await witness.until(lambda: witness.sees_state(4711) == {"name": "done"})
        assert witness.sees_state(client) == {"name": "victim"}
    await victim.announce({"name": "still here"})
    await witness.until(lambda: witness.sees_state(client) == {"name": "still here"})


async def test_a_false_claim_of_a_living_client_does_not_outlive_its_answer(arena: Arena) -> None:
    victim, witness = arena.near
    client = victim.doc.client_id
    await victim.announce({"name": "victim"})
    await witness.until(lambda: witness.sees_state(client) == {"name": "victim"})
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        await attacker.send_message(frames.awareness([(client, 50, {"name": "fake"})]))
        await victim.until(lambda: victim._clock > 50)
        await victim.announce({"name": "still here"})
        await witness.until(lambda: witness.sees_state(client) == {"name": "still here"})
    await victim.announce({"name": "and now"})
    await witness.until(lambda: witness.sees_state(client) == {"name": "and now"})


async def test_updates_with_gaps_reach_nobody_until_the_gap_is_closed(arena: Arena) -> None:
    pieces = [yupdate.text_update(7, 0, "one")]
    pieces += [yupdate.text_update(7, 3 * n, f"n{n:02}", origin=(7, 3 * n - 1)) for n in range(1, 50)]
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        for piece in reversed(pieces[1:]):
            await attacker.send_message(frames.update(piece))
        await arena.near[0].write("live")
        await arena.near[1].sees("live")
        await attacker.send_message(frames.update(pieces[0]))
        for client in arena.near:
            await client.sees("one" + "".join(f"n{n:02}" for n in range(1, 50)))


async def test_a_new_client_is_not_slowed_by_updates_whose_beginning_never_comes(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        for n in range(1, 500):
            await attacker.send_message(frames.update(yupdate.text_update(1000 + n, 5, "x" * 50)))
        await attacker.send_message(frames.sync_status(b"all"))
        await attacker.receive_message(b"\x66")
    async with YClient(arena.url, arena.room) as late:
        assert late.received < 10_000
    arena.nobody_got_a_byte()
