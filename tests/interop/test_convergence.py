"""Replicas of one room become the same, whoever writes what when."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.interop.conftest import Place
from tests.interop.peers import KINDS, Peers

pytestmark = pytest.mark.node


@pytest.mark.parametrize(("clients", "steps", "pause_ms"), [(2, 150, 4), (10, 60, 10), (50, 12, 40)])
async def test_random_concurrent_edits_converge_and_a_late_joiner_sees_the_same(
    place: Place, peers: Peers, clients: int, steps: int, pause_ms: int
) -> None:
    room = place.room()
    names = await peers.open_many(clients, room)
    await peers.synced(*names)
    await peers.edit(names, seed=clients, steps=steps, pause_ms=pause_ms)
    shared = await peers.converge(*names)
    late = await peers.open("late", room, version=2)
    await peers.synced(late)
    assert await peers.converge(late, names[0]) == shared


@pytest.mark.parametrize("kind", KINDS)
async def test_a_burst_of_edits_of_one_type_without_a_pause_converges(
    place: Place, peers: Peers, kind: str
) -> None:
    names = await peers.open_many(4, place.room())
    await peers.synced(*names)
    await peers.edit(names, seed=7, steps=100, kinds=[kind])
    shared = await peers.converge(*names)
    assert shared["content"][kind]


async def test_edits_made_offline_by_several_arrive_when_they_come_back(place: Place, peers: Peers) -> None:
    names = await peers.open_many(4, place.room())
    await peers.synced(*names)
    await peers.edit(names, seed=1, steps=20)
    await peers.converge(*names)
    await peers.disconnect(names[0])
    await peers.cut(names[1])
    await peers.edit(names, seed=2, steps=40)
    for name in names[:2]:
        await peers.connect(name)
    await peers.edit(names, seed=3, steps=5)
    await peers.converge(*names)


async def test_a_client_with_a_document_of_its_own_merges_it_into_the_room(
    place: Place, peers: Peers
) -> None:
    room = place.room()
    await peers.open("first", room)
    await peers.synced("first")
    await peers.edit(["first"], seed=4, steps=30)
    await peers.open("second", room, connect=False)
    await peers.edit(["second"], seed=5, steps=30)
    await peers.connect("second")
    await peers.converge("first", "second")


async def test_joiners_arriving_and_leaving_during_edits_miss_nothing(place: Place, peers: Peers) -> None:
    room = place.room()
    writers = await peers.open_many(3, room, prefix="writer")
    await peers.synced(*writers)
    for wave in range(6):
        joiners = await peers.open_many(3, room, prefix=f"wave{wave}-")
        await peers.edit(writers, seed=wave, steps=15, pause_ms=5)
        await peers.synced(*joiners)
        await peers.edit(joiners, seed=100 + wave, steps=3)
        await peers.converge(*writers, *joiners)
        for joiner in joiners:
            await peers.close(joiner)


async def test_forty_clients_that_join_a_new_room_in_the_same_instant_all_sync(
    place: Place, peers: Peers
) -> None:
    names = await peers.open_many(40, place.room())
    await peers.synced(*names)
    await peers.edit(names, seed=40, steps=1)
    await peers.converge(*names)


async def test_a_paste_of_eight_megabytes_arrives_whole(place: Place, peers: Peers) -> None:
    room = place.room()
    names = await peers.open_many(2, room)
    await peers.synced(*names)
    paste = "doc.getText('notes').insert(0, 'Grüße aus Rom. '.repeat(8 * 1024 * 1024 / 16))"
    await peers.run(names[0], paste)
    await peers.run(names[1], "doc.getText('notes').insert(0, 'meanwhile')")
    shared = await peers.converge(*names, seconds=60)
    assert len(shared["content"]["text"]["text"][0]["insert"]) >= 15 * 8 * 1024 * 1024 // 16
    await peers.open("late", room)
    await peers.synced("late", seconds=30)
    await peers.converge("late", names[0])


async def test_ten_thousand_small_updates_in_a_burst_all_arrive(place: Place, peers: Peers) -> None:
    names = await peers.open_many(3, place.room())
    await peers.synced(*names)
    await peers.run(
        names[0], "for (let n = 0; n < 10000; n++) doc.getArray('itinerary').push([n]); return null"
    )
    shared = await peers.converge(*names, seconds=60)
    assert shared["content"]["array"] == list(range(10_000))


async def test_bursts_from_several_clients_at_once_all_arrive(place: Place, peers: Peers) -> None:
    names = await peers.open_many(5, place.room())
    await peers.synced(*names)
    await peers.run(names[0], "doc.getText('notes').insert(0, 'x')")
    await peers.converge(*names)
    await peers.edit(names, seed=11, steps=400, kinds=["text", "map"])
    await peers.converge(*names, seconds=60)


async def test_twenty_rooms_in_one_process_keep_to_themselves(place: Place, peers: Peers) -> None:
    rooms = {place.room("of-twenty"): f"room{number}-" for number in range(20)}
    pairs = {room: await peers.open_many(2, room, prefix=prefix) for room, prefix in rooms.items()}
    everyone = [name for pair in pairs.values() for name in pair]
    await peers.synced(*everyone)
    await peers.edit(everyone, seed=20, steps=10, pause_ms=3)
    for room, pair in pairs.items():
        await peers.run(pair[0], "doc.getMap('budget').set('room', args.room)", room=room)
    for room, pair in pairs.items():
        shared = await peers.converge(*pair)
        assert shared["content"]["map"]["room"] == room


@pytest.mark.parametrize(
    "name",
    [
        "trip with spaces",
        "Zürich·東京-🏔️",
        "team/7/trips/Rome",
        "100% sure %41 %2F",
        "a?b#c&d=e",
        "dots/../and//slashes/",
        "ü" * 250,
    ],
)
async def test_a_room_may_have_any_unicode_name(place: Place, peers: Peers, name: str) -> None:
    # y-websocket puts the name into the URL as it is; an application escapes what a URL cannot carry.
    room = quote(place.room(name[:250]), safe="/")
    other = quote(place.room(name[:250]), safe="/")
    names = await peers.open_many(2, room)
    await peers.open("elsewhere", other)
    await peers.synced(*names, "elsewhere")
    await peers.edit(names, seed=9, steps=5)
    shared = await peers.converge(*names)
    assert (await peers.converge("elsewhere"))["snapshot"] != shared["snapshot"]


async def test_a_name_escaped_or_not_is_the_same_room(own_place: Place, peers: Peers) -> None:
    name = own_place.room("Zürich-東京")
    await peers.open("escaped", quote(name))
    await peers.open("plain", name)
    await peers.synced("escaped", "plain")
    await peers.run("plain", "doc.getText('notes').insert(0, 'x')")
    await peers.converge("escaped", "plain")
    await peers.wait("escaped", "doc.getText('notes').toString() === 'x'")


async def test_undo_and_redo_reach_the_others_and_leave_their_edits_alone(place: Place, peers: Peers) -> None:
    names = await peers.open_many(2, place.room())
    await peers.synced(*names)
    await peers.run(
        names[0],
        "memory.undo = new Y.UndoManager(doc.getText('notes'), { captureTimeout: 0 });"
        "doc.getText('notes').insert(0, 'mine ')",
    )
    await peers.converge(*names)
    await peers.run(names[1], "doc.getText('notes').insert(5, 'yours ')")
    await peers.converge(*names)
    await peers.run(names[0], "memory.undo.undo()")
    await peers.wait(names[1], "doc.getText('notes').toString() === 'yours '")
    await peers.run(names[0], "memory.undo.redo()")
    await peers.wait(names[1], "doc.getText('notes').toString() === 'mine yours '")
    await peers.converge(*names)


async def test_a_subdocument_is_a_room_named_by_its_guid(place: Place, peers: Peers) -> None:
    names = await peers.open_many(2, place.room())
    await peers.synced(*names)
    await peers.run(
        names[0],
        "doc.getMap('subdocs').set('day 1', new Y.Doc({ meta: { colour: 'red' }, autoLoad: false }))",
    )
    await peers.wait(names[1], "doc.getMap('subdocs').has('day 1')")
    guids = {await peers.open_subdocument(f"sub{name}", name, "day 1") for name in names}
    assert len(guids) == 1
    inner = [f"sub{name}" for name in names]
    await peers.synced(*inner)
    await peers.run(inner[0], "doc.getText('notes').insert(0, 'breakfast')")
    await peers.wait(inner[1], "doc.getText('notes').toString() === 'breakfast'")
    await peers.wait(names[1], "doc.getMap('subdocs').get('day 1').meta.colour === 'red'")


async def test_values_that_other_servers_change_arrive_as_they_were(place: Place, peers: Peers) -> None:
    room = place.room()
    names = await peers.open_many(2, room)
    await peers.synced(*names)
    # A server that decodes documents tends to change a split surrogate pair, -0, BigInt and undefined.
    await peers.run(
        names[0],
        "const t = doc.getText('notes'); t.insert(0, 'a🏔b'); t.insert(2, '-');"
        "doc.getMap('budget').set('zero', -0); doc.getMap('budget').set('big', 9007199254740993n);"
        "doc.getMap('budget').set('none', undefined); return null",
    )
    await peers.open("late", room)
    await peers.synced("late")
    for name in (names[1], "late"):
        await peers.wait(name, "Object.is(doc.getMap('budget').get('zero'), -0)")
        await peers.wait(name, "doc.getMap('budget').get('big') === 9007199254740993n")
        await peers.wait(
            name, "doc.getMap('budget').has('none') && doc.getMap('budget').get('none') === undefined"
        )
        text = await peers.run(name, "return JSON.stringify(doc.getText('notes').toString())")
        assert text == await peers.run(names[0], "return JSON.stringify(doc.getText('notes').toString())")
