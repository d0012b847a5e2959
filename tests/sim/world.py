"""A world with a seed: nodes, clients, a store and a bus; trouble for a minute, quiet, judgement."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

from pycrdt import Array, Doc, Map, Text

from collab_server.room.settings import RoomSettings
from collab_server.telemetry.metrics import Metrics
from collab_server.wire.awareness import AwarenessBounds, decode_awareness
from collab_server.ydoc.idset import IdSet
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.statevector import decode_state_vector
from persistence.memory import MemoryDatabase
from tests.sim.bus import SimHub, Weather
from tests.sim.client import LOOK_S, RENEW_S, SimClient
from tests.sim.node import SHARING, SimNode
from tests.sim.virtualtime import VirtualLoop

QUIET_S = 130.0
"""Three rounds of anti-entropy, and longer than any grace."""

GRACE_S = RoomSettings().presence_grace_s


class WrongError(AssertionError):
    """A promise was broken."""


@dataclass
class Told:
    """What happened, in numbers, so that a run that did nothing is noticed."""

    edits: int = 0
    saved: int = 0
    crashes: int = 0
    cuts: int = 0
    moves: int = 0


def simulate(seed: int) -> Told:
    """Live through one seed. Raises WrongError, or whatever else goes wrong."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        world = World(seed, loop)
        told = loop.run_until_complete(world.live())
        if loop.troubles:
            raise WrongError(f"the loop was told: {loop.troubles[:3]}")
        return told
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class World:
    """Everything that one seed makes."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.random = Random(seed)
        self.loop = loop
        self.told = Told()
        self.database = MemoryDatabase()
        random = self.random
        self.weather = Weather(
            delay_s=random.choice([0.001, 0.02, 0.3]),
            lost=random.choice([0.0, 0.02, 0.2]),
            repeated=random.choice([0.0, 0.05, 0.3]),
            slow=random.choice([0.0, 0.05]),
        )
        self.hub = SimHub(random, self.weather)
        self.metrics = Metrics()
        self.nodes: list[SimNode] = []
        self.rooms = ["r0", "r1"][: random.choice([1, 1, 2])]
        self.clients: list[SimClient] = []
        self.wrong: list[str] = []

    async def live(self) -> Told:
        random = self.random
        for number in range(random.randint(2, 3)):
            await self._start(f"n{number}")
        for number in range(random.randint(2, 5)):
            room = self.rooms[number % len(self.rooms)]
            self.clients.append(SimClient(number + 1, room, random, self._saved))
        habits = self.loop.create_task(self._habits())
        try:
            for _ in range(random.randint(20, 70)):
                await self._happen()
                await asyncio.sleep(random.choice([0.0, 0.005, 0.05, 0.3, 1.0]))
                if self.wrong:
                    raise WrongError(self.wrong[0])
            await self._calm()
            await self._part()
        finally:
            await self._end(habits)
        self._judge_store(whole=True)
        return self.told

    async def _end(self, habits: asyncio.Task[None]) -> None:
        habits.cancel()
        await asyncio.gather(habits, return_exceptions=True)
        for node in self.nodes:
            if node.is_alive:
                await node.crash()
        entering = [client.connecting for client in self.clients if client.connecting is not None]
        await asyncio.gather(*entering, return_exceptions=True)

    # -- what happens

    async def _happen(self) -> None:  # noqa: C901 - one case for each thing that may happen
        random, client = self.random, self.random.choice(self.clients)
        match random.choices(
            (
                "edit",
                "burst",
                "cut",
                "leave",
                "connect",
                "show",
                "crash",
                "drain",
                "start",
                "off",
                "on",
                "store",
            ),
            (30, 8, 5, 4, 12, 6, 2, 1, 4, 2, 4, 6),
        )[0]:
            case "edit":
                self._edit(client, 1)
            case "burst":
                for each in self.clients:
                    self._edit(each, random.randint(0, 3))
            case "cut":
                self.told.cuts += 1
                client.cut(random.choice([0.0, 1.0, 25.0]))
                if random.random() < 0.7:
                    self._connect(client)
            case "leave":
                client.leave()
                if random.random() < 0.5:
                    self._connect(client)
            case "connect":
                self._connect(client)
            case "show":
                client.show()
            case "crash":
                await self._crash(random.choice(self.nodes))
            case "drain":
                await self._drain(random.choice(self.nodes))
            case "start":
                await self._restart()
            case "off":
                node = random.choice(self.nodes)
                if node.is_alive:
                    self.hub.cut(node.bus)
            case "on":
                self._heal_bus()
            case "store":
                self._harm(random.choice(self.nodes))

    def _edit(self, client: SimClient, times: int) -> None:
        for _ in range(times):
            client.edit()
            self.told.edits += 1
        if self.random.random() < 0.6:
            client.ask()

    def _connect(self, client: SimClient) -> None:
        alive = [node for node in self.nodes if node.is_alive]
        if client.link is None and alive:
            self.told.moves += 1
            client.connect(self.random.choice(alive))

    async def _start(self, name: str) -> None:
        node = SimNode(name, self.hub, self.database, self.random, self.metrics)
        self.nodes = [other for other in self.nodes if other.name != name] + [node]
        await node.start()

    async def _restart(self) -> None:
        for node in list(self.nodes):
            if not node.is_alive:
                await self._start(node.name)

    async def _crash(self, node: SimNode) -> None:
        if not node.is_alive:
            return
        self.told.crashes += 1
        await node.crash()
        for client in self.clients:
            if client.link is not None and client.link.node is node:
                client.link = None

    async def _drain(self, node: SimNode) -> None:
        if node.is_alive and not self.hub.is_cut(node.bus.node):
            node.store.heal()
            await node.drain()
            for client in self.clients:
                if client.link is not None and client.link.node is node:
                    client.link = None

    def _heal_bus(self) -> None:
        for node in self.nodes:
            if node.is_alive and self.hub.is_cut(node.bus.node):
                self.hub.heal(node.bus)

    def _harm(self, node: SimNode) -> None:
        random, store = self.random, node.store
        call = random.choice(["append", "append", "load", "compact"])
        match random.randrange(4):
            case 0:
                fault = store.stall(call)
                self.loop.call_later(random.choice([0.1, 2.0, 15.0]), fault.clear)
            case 1:
                fault = store.stall(call, after=True)
                self.loop.call_later(random.choice([0.1, 2.0]), fault.clear)
            case 2:
                store.fail_before(call, times=random.randint(1, 4))
            case _:
                store.fail_after(call, times=random.randint(1, 2))

    async def _habits(self) -> None:
        """What clients do by themselves."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = self.loop.time()
            for client in self.clients:
                client.look(now)

    # -- judgement

    def _saved(self, client: SimClient, clock: int) -> None:
        """It was acknowledged: the store alone must have it, and all that it stands upon."""
        self.told.saved += 1
        stored = self._stored(client.room)
        if clock and (stored is None or stored.state_vector.get(client.id, 0) < clock):
            have = None if stored is None else stored.state_vector.get(client.id, 0)
            self.wrong.append(
                f"client {client.id} was told that {clock} is saved, and the store has {have} "
                f"at {self.loop.time():.3f}"
            )

    def _stored(self, room: str) -> DocumentLog | None:
        document = self.database.documents.get(room)
        if document is None:
            return None
        base = document.snapshot.data if document.snapshot is not None else b""
        return DocumentLog.open(base, b"", [row.data for row in document.rows.values()])

    async def _calm(self) -> None:
        """Everything works again, everybody is there, and nothing more happens."""
        self.weather.lost = self.weather.repeated = self.weather.slow = 0.0
        self._heal_bus()
        for node in self.nodes:
            node.store.heal()
        await self._restart()
        for _ in range(round(QUIET_S)):
            for client in self.clients:
                self._connect(client)
            await asyncio.sleep(1)
        if self.wrong:
            raise WrongError(self.wrong[0])
        for room in self.rooms:
            self._judge_room(room, {client.id for client in self.clients if client.room == room})
        self._judge_store(whole=True)
        for node in self.nodes:
            queues = node.sharing.queues()
            if node.journal.bytes_waiting or queues["resyncs"] or queues["opening_bytes"]:
                raise WrongError(f"{node.name} is quiet and has something waiting: {queues}")
            if queues["unproven_bytes"]:
                raise WrongError(f"{node.name} never learned that edits are stored: {queues}")

    async def _part(self) -> None:
        """Some go with a goodbye or with their node, others without a word: they are soon shown no more."""
        random = self.random
        gone = set(random.sample(range(len(self.clients)), len(self.clients) // 2))
        silent = {number for number in gone if random.random() < 0.4}
        doomed = random.choice(self.nodes)
        for number in sorted(gone - silent):
            client = self.clients[number]
            if client.link is not None and client.link.node is not doomed:
                client.leave()
        await self._crash(doomed)
        await self._judge_after(self.weather.node_timeout_s + 4.0, gone - silent)
        for number in sorted(silent):
            self.clients[number].cut(0.0)
        await self._judge_after(GRACE_S + 4.0, gone)

    async def _judge_after(self, pause_s: float, gone: set[int]) -> None:
        stay = [client for number, client in enumerate(self.clients) if number not in gone]
        for client in stay:
            self._connect(client)
        await asyncio.sleep(pause_s)
        for room in self.rooms:
            here = {client.id for client in stay if client.room == room}
            self._judge_presence(room, here, are_all_seen=pause_s > RENEW_S)

    def _judge_room(self, room: str, here: set[int]) -> None:
        replicas = [(f"client {c.id}", state_of(c.doc)) for c in self.clients if c.room == room]
        for name, state in replicas[1:]:
            if state != replicas[0][1]:
                raise WrongError(f"{room}: {name} and {replicas[0][0]} differ:\n{state}\n{replicas[0][1]}")
        logs = [(node.name, host.room.log) for node in self.nodes if (host := node.registry.get(room))]
        for name, log in logs:
            if replicas and log.state_vector != replicas[0][1].vector:
                raise WrongError(
                    f"{room}: node {name} has {log.state_vector}, clients {replicas[0][1].vector}"
                )
            if log.deletes != logs[0][1].deletes:
                raise WrongError(f"{room}: nodes {name} and {logs[0][0]} differ in what is deleted")
            if log.pending_bytes:
                raise WrongError(f"{room}: node {name} waits for edits that never came")
        self._judge_presence(room, here)

    def _judge_presence(self, room: str, here: set[int], *, are_all_seen: bool = True) -> None:
        """Who reconnects sees others again when they renew, at the latest: y-protocols keeps their clocks."""
        for node in self.nodes:
            host = node.registry.get(room)
            payload = host.room.query_awareness() if host is not None else None
            if host is None or not host.peers or not node.is_alive:
                continue
            seen = {e.client for e in decode_awareness(payload, AwarenessBounds())} if payload else set()
            if seen != here:
                raise WrongError(f"{room}: node {node.name} shows {sorted(seen)}, here are {sorted(here)}")
        for client in self.clients:
            if client.room != room or client.link is None:
                continue
            seen = set(client.states)
            if not seen <= here or (are_all_seen and seen != here):
                raise WrongError(f"{room}: client {client.id} sees {sorted(seen)}, here are {sorted(here)}")

    def _judge_store(self, *, whole: bool) -> None:
        """What is stored, alone: everything, and nothing that lacks what it stands upon."""
        for room in self.rooms:
            clients = [client for client in self.clients if client.room == room]
            stored = self._stored(room)
            vector = stored.state_vector if stored is not None else {}
            if stored is not None and stored.pending_bytes:
                raise WrongError(f"{room}: something that is stored lacks what it stands upon")
            for client in clients:
                if vector.get(client.id, 0) < client.saved:
                    raise WrongError(
                        f"{room}: client {client.id} was acknowledged {client.saved}, stored {vector}"
                    )
            if whole and clients and stored is not None:
                doc: Doc[Any] = Doc()
                doc.apply_update(stored.encode())
                if state_of(doc) != state_of(clients[0].doc):
                    raise WrongError(
                        f"{room}: the store has {state_of(doc)}, clients {state_of(clients[0].doc)}"
                    )


@dataclass
class State:
    """What a replica holds: equal for equal replicas, deletions included."""

    vector: dict[int, int]
    deletes: IdSet
    content: tuple[str, Any, Any]


def state_of(doc: Doc[Any]) -> State:
    """The state of a document."""
    text, items, keys = doc.get("text", type=Text), doc.get("list", type=Array), doc.get("map", type=Map)
    deletes = IdSet.of_spans(inspect(doc.get_update()).spans)
    return State(decode_state_vector(doc.get_state()), deletes, (str(text), items.to_py(), keys.to_py()))


assert SHARING.adopt_after_s < QUIET_S
