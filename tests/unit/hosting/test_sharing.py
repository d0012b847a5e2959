"""Two nodes that share a store and a bus: real registries, journals and rooms in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from collab_server.bus.base import BusKind
from collab_server.bus.memory import MemoryBus, MemoryHub
from collab_server.errors import CloseCode
from collab_server.hosting.host import Host
from collab_server.hosting.presences import Presences
from collab_server.hosting.settings import HostingSettings, SharingSettings
from collab_server.hosting.sharing import Sharing
from collab_server.room.settings import RoomSettings
from collab_server.wire import sync
from collab_server.wire.awareness import (
    AwarenessBounds,
    AwarenessEntry,
    decode_awareness,
    encode_awareness,
)
from collab_server.ydoc.bounds import DEFAULT_BOUNDS
from collab_server.ydoc.inspection import inspect
from persistence.memory import MemoryDatabase, MemoryStore
from tests.support.faulty_store import FaultyStore
from tests.unit.hosting.house import Client, House, eventually, house, stored_text, until

QUICK = SharingSettings(anti_entropy_interval_s=1.0, adopt_after_s=0.3, resync_rooms_max_per_s=10_000)


@dataclass
class Node:
    bus: MemoryBus
    home: House
    sharing: Sharing
    presences: Presences
    tasks: list[asyncio.Task[None]]

    def host(self, room: str = "r") -> Host:
        found = self.home.registry.get(room)
        assert found is not None
        return found


@dataclass
class World:
    hub: MemoryHub
    database: MemoryDatabase
    nodes: list[Node]


@asynccontextmanager
async def node(
    hub: MemoryHub,
    database: MemoryDatabase,
    name: str,
    settings: HostingSettings | None = None,
    sharing_settings: SharingSettings = QUICK,
) -> AsyncIterator[Node]:
    bus = MemoryBus(hub, name)
    store = FaultyStore(MemoryStore(database))
    known: list[House] = []
    presences = Presences(
        lambda room: known[0].registry.get(room) if known else None, bus, random=lambda: 0.5
    )
    async with house(settings, store=store, room_settings=RoomSettings(awareness_window_ms=1)) as home:
        known.append(home)
        sharing = Sharing(
            bus, store, presences, sharing_settings, DEFAULT_BOUNDS, home.metrics, random=lambda: 0.5
        )
        home.registry._neighbours = sharing
        home.documents.on_deleted = sharing.publish_deleted
        await bus.open(sharing)
        tasks = [asyncio.create_task(sharing.run()), asyncio.create_task(bus.run())]
        try:
            yield Node(bus, home, sharing, presences, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await presences.close()
            sharing.close()
            await bus.close()


@asynccontextmanager
async def two_nodes(settings: HostingSettings | None = None) -> AsyncIterator[tuple[Node, Node]]:
    hub, database = MemoryHub(), MemoryDatabase()
    async with node(hub, database, "a", settings) as a, node(hub, database, "b", settings) as b:
        yield a, b


def announce(client: Client, clock: int, state: str = '{"user":"ada"}') -> None:
    entry = AwarenessEntry(client.doc.client_id, clock, state)
    client.host.receive_awareness(client, encode_awareness([entry]))


def shown(host: Host) -> set[int]:
    payload = host.room.query_awareness()
    entries = decode_awareness(payload, AwarenessBounds()) if payload is not None else []
    return {entry.client for entry in entries}


def heard(client: Client) -> list[AwarenessEntry]:
    payloads = [m.payload for m in client.messages if isinstance(m, sync.Awareness)]
    return [entry for payload in payloads for entry in decode_awareness(payload, AwarenessBounds())]


async def has_stored(node: Node, text: str) -> bool:
    return await stored_text(node.home.store, "r") == text


async def test_what_is_written_on_one_node_is_read_on_the_other() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        ada.write("hello ")
        await until(lambda: str(bob.text) == "hello ")
        bob.write("world")
        await until(lambda: str(ada.text) == str(bob.text) == "hello world")


async def test_a_room_that_is_opened_has_what_another_node_could_not_commit() -> None:
    async with two_nodes() as (a, b):
        ada = await a.home.enter("r")
        a.home.store.fail_before("append")
        ada.write("only here")
        bob = await b.home.enter("r")
        await until(lambda: str(bob.text) == "only here")
        # An answer is stored by whoever takes it: its sender may never come to it.
        await until(lambda: b.host().is_saved)
        assert await stored_text(b.home.store, "r") == "only here"


async def test_what_is_said_while_a_room_is_read_from_the_store_is_not_lost() -> None:
    async with two_nodes() as (a, b):
        ada = await a.home.enter("r")
        stall = b.home.store.stall("load")
        opening = asyncio.create_task(b.home.enter("r"))
        await stall.reached.wait()
        a.home.store.fail_before("append")
        ada.write("meanwhile")
        await until(lambda: b.sharing.queues()["opening_bytes"])
        stall.clear()
        bob = await opening
        await until(lambda: str(bob.text) == "meanwhile")


async def test_an_edit_of_a_node_that_died_before_its_commit_is_stored_by_the_other() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        a.home.store.stall("append")
        ada.write("orphan")
        await until(lambda: str(bob.text) == "orphan")
        assert await stored_text(b.home.store, "r") == ""
        a.bus._hub.kill(a.bus)  # type: ignore[union-attr]
        await eventually(lambda: has_stored(b, "orphan"))


async def test_an_edit_is_stored_together_with_what_it_stands_upon() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        a.home.store.stall("append")
        ada.write("base")
        await until(lambda: str(bob.text) == "base")
        bob.write(" and more")
        bob.ask(b"?")
        await until(lambda: bob.answers == [b"?"])
        assert await stored_text(b.home.store, "r") == "base and more"


async def test_an_acknowledgement_on_another_node_covers_what_was_written_before() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        a.home.store.stall("append")
        ada.write("not committed")
        await until(lambda: str(bob.text) == "not committed")
        moved = Client(b.host())
        b.host().attach(moved)
        moved.catch_up()
        moved.ask(b"saved?")
        await until(lambda: moved.answers == [b"saved?"])
        assert await stored_text(b.home.store, "r") == "not committed"


async def test_what_the_author_has_stored_is_not_stored_again() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        for _ in range(5):
            ada.write("x")
            await until(lambda: str(bob.text) == str(ada.text))
        await until(lambda: not b.host().room.unproven)
        bob.write("y")
        await until(lambda: str(ada.text).endswith("y") and b.host().is_saved)
        stored = await b.home.store.load("r")
        assert stored is not None
        held = [section.client for row in stored.updates for section in inspect(row.data).sections]
        assert held.count(bob.doc.client_id) == 1
        assert all(section.end <= 6 for row in stored.updates for section in inspect(row.data).sections)
        assert sum(row.data.count(b"x") for row in stored.updates) == 5


async def test_after_a_cut_both_sides_are_equal_again_from_one_exchange() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        ada.write("both ")
        await until(lambda: str(bob.text) == "both ")
        hub = a.bus._hub
        assert hub is not None
        hub.cut(a.bus)
        ada.write("left ")
        bob.write("right ")
        del bob.text[0:2]
        bob.host.receive_update(bob, bob.doc.get_update())
        await asyncio.sleep(0.05)
        assert str(ada.text) != str(bob.text)
        hub.heal(a.bus)
        await until(lambda: str(ada.text) == str(bob.text) and "left" in str(bob.text))
        assert not str(bob.text).startswith("bo")


async def test_deletions_alone_are_healed_too() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        ada.write("abcdef")
        await until(lambda: str(bob.text) == "abcdef")
        hub = a.bus._hub
        assert hub is not None
        hub.cut(a.bus)
        before = bob.doc.get_state()
        del bob.text[1:3]
        bob.host.receive_update(bob, bob.doc.get_update(before))
        await asyncio.sleep(0.02)
        b.home.store.stall("load")
        a.home.store.stall("load")
        hub._cut.clear()  # the bus does not even say that something was lost: anti-entropy finds it
        await until(lambda: str(ada.text) == "adef")


async def test_presence_crosses_nodes_and_goes_with_a_goodbye() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        announce(ada, 1)
        await until(lambda: ada.doc.client_id in shown(b.host()))
        announce(bob, 1)
        await until(lambda: shown(a.host()) == {ada.doc.client_id, bob.doc.client_id})
        ada.host.detach(ada, goodbye=True)
        await until(lambda: shown(b.host()) == {bob.doc.client_id})


async def test_a_node_that_opens_a_room_learns_who_is_there() -> None:
    async with two_nodes() as (a, b):
        ada = await a.home.enter("r")
        announce(ada, 1)
        await until(lambda: shown(a.host()))
        await b.home.enter("r")
        await until(lambda: ada.doc.client_id in shown(b.host()))


async def test_the_users_of_a_node_that_died_disappear_with_it() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        announce(ada, 1)
        announce(bob, 1)
        await until(lambda: len(shown(b.host())) == 2)
        a.bus._hub.kill(a.bus)  # type: ignore[union-attr]
        await until(lambda: shown(b.host()) == {bob.doc.client_id})
        gone = AwarenessEntry(ada.doc.client_id, 1, None)
        await until(lambda: gone in heard(bob))


async def test_who_is_here_is_answered_for_a_room_that_is_open_elsewhere_only() -> None:
    async with two_nodes() as (a, b):
        ada = await a.home.enter("r")
        announce(ada, 1)
        await until(lambda: shown(a.host()))
        seen = await b.presences.here("r")
        assert [(one.client, one.node, one.state) for one in seen] == [
            (ada.doc.client_id, "a", '{"user":"ada"}')
        ]
        assert await b.presences.here("another") == []


async def test_a_document_that_is_deleted_on_one_node_is_closed_on_the_other_and_stays_deleted() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        ada.write("gone soon")
        await until(lambda: str(bob.text) == "gone soon" and a.host().is_saved)
        assert await a.home.documents.delete("r")
        await until(lambda: bob.closed)
        assert bob.closed[0].close_code == CloseCode.DELETED
        a.bus.publish("r", BusKind.UPDATE, b"\x01\x00" + ada.doc.get_update())
        await asyncio.sleep(0.05)
        assert b.home.registry.get("r") is None
        assert (await b.home.documents.read_update("other")) is None


async def test_a_bad_message_is_counted_and_the_room_goes_on() -> None:
    async with two_nodes() as (a, b):
        ada, bob = await a.home.enter("r"), await b.home.enter("r")
        for kind in set(BusKind) - {BusKind.DELETED}:
            a.bus.publish("r", kind, b"\xff\xff\xff")
        ada.write("still here")
        await until(lambda: str(bob.text) == "still here")
        assert not bob.closed


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_client_that_moves_to_another_node_is_no_ghost_and_not_gone(goodbye: bool) -> None:
    async with two_nodes() as (a, b):
        ada = await a.home.enter("r")
        announce(ada, 1)
        bob = await b.home.enter("r")
        await until(lambda: ada.doc.client_id in shown(b.host()))
        moved = Client(b.host())
        moved.doc = ada.doc
        b.host().attach(moved)
        announce(moved, 2)
        await until(lambda: b.host().room.presence.owner_of(ada.doc.client_id) is moved.member)
        ada.host.detach(ada, goodbye=goodbye)
        await asyncio.sleep(0.05)
        assert ada.doc.client_id in shown(b.host())
        await until(lambda: ada.doc.client_id in shown(a.host()))
        assert bob.host is b.host()
