"""Three nodes on one PostgreSQL and one Valkey, and clients that go elsewhere when their node is gone."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pycrdt import Doc, Text
from websockets.exceptions import WebSocketException

from persistence.urls import open_store
from tests.support.postgres import PostgresServer, shared_server
from tests.support.server import ServerProcess
from tests.support.valkey import Valkey, fresh_prefix, private_valkey
from tests.support.yclient import YClient

NODES = 3
ROOMS = 20
CLIENTS = 60
PATIENCE_S = 60.0
"""For what the product promises within seconds: the machine may be busy."""
_PAUSE_S = 0.2
_BACK_OFF_S = 0.1
_SAVED_LIMIT_S = 60.0
_POLL_S = 0.02


class Roamer:
    """A client that writes marks, remembers which were acknowledged, and comes back through any node."""

    def __init__(
        self,
        urls: Sequence[str],
        at: int,
        room: str,
        name: str,
        dice: random.Random,
        *,
        backwards: bool = False,
    ) -> None:
        """``at`` is the number of the first node; ``backwards``: the next one is that before it."""
        self._urls = urls
        self._at = at
        self._step = -1 if backwards else 1
        self._dice = dice
        self.room = room
        self.name = name
        self.client = YClient(urls[at % len(urls)], room)
        self.acknowledged: list[str] = []
        self.rejections = 0
        """Attempts to connect in a row that have failed, until now."""
        self.rejections_max = 0
        self.writes = True
        self.length = 0
        """Of the next marks, in bytes, at least."""
        self._number = 0

    async def work(self) -> None:
        """Write until cancelled; with ``writes`` off, only stay connected."""
        while True:
            # What a connection that ends may raise; AssertionError: before it was synced.
            with contextlib.suppress(OSError, EOFError, WebSocketException, AssertionError, TimeoutError):
                try:
                    await self._stay()
                finally:
                    with contextlib.suppress(Exception):
                        await self.client.close()
            self.rejections += 1
            self.rejections_max = max(self.rejections_max, self.rejections)
            self._at += self._step
            self.client.move(self._urls[self._at % len(self._urls)])
            await asyncio.sleep(_BACK_OFF_S * (0.5 + self._dice.random()))

    async def _stay(self) -> None:
        client = self.client
        await client.open()
        self.rejections = 0
        await client.announce({"user": {"name": self.name}})
        while client.connected:
            if self.writes:
                mark = f"[{self.name}.{self._number}]".ljust(self.length, ".")
                self._number += 1
                await client.write(mark)
                await client.saved(_SAVED_LIMIT_S)
                self.acknowledged.append(mark)
            await asyncio.sleep(_PAUSE_S * (0.5 + self._dice.random()))


class Crowd:
    """Everybody who is at work in a test."""

    def __init__(self, roamers: Sequence[Roamer]) -> None:
        self.roamers = roamers
        self.by_room: Mapping[str, list[Roamer]] = defaultdict(list)
        for roamer in roamers:
            self.by_room[roamer.room].append(roamer)

    async def write_on(self, times: int = 2) -> None:
        """Wait until each client has got ``times`` more acknowledgements."""
        goals = [len(roamer.acknowledged) + times for roamer in self.roamers]
        await self._until(
            lambda: [
                f"{roamer.name} has {len(roamer.acknowledged)} of {goal} acknowledgements"
                for roamer, goal in zip(self.roamers, goals, strict=True)
                if len(roamer.acknowledged) < goal
            ]
        )

    async def write_at_length(self, mark_bytes: int) -> None:
        """Have each client write two marks of this size, and small ones again after them."""
        for roamer in self.roamers:
            roamer.length = mark_bytes
        await self.write_on()
        for roamer in self.roamers:
            roamer.length = 0

    async def converges(self, since: str) -> None:
        """Stop writing; wait until all replicas are equal, lack nothing acknowledged, and show no ghost."""
        started_at = time.monotonic()
        for roamer in self.roamers:
            roamer.writes = False
        await self._until(self._differences)
        print(f"converged {time.monotonic() - started_at:.1f} s after {since}")  # noqa: T201 - no verdict
        await self._until(self._ghosts)
        for roamer in self.roamers:
            roamer.writes = True

    @contextlib.asynccontextmanager
    async def visited(self, url: str) -> AsyncIterator[None]:
        """Have somebody new in each room through one node, seen by all others; who never comes back."""
        visitors = [YClient(url, room) for room in self.by_room]
        try:
            for visitor in visitors:
                await visitor.open()
                await visitor.announce({"user": {"name": "a visitor"}})
            await self._until(
                lambda: [
                    f"{roamer.name} does not see the visitor of {visitor.room}"
                    for visitor in visitors
                    for roamer in self.by_room[visitor.room]
                    if roamer.client.sees_state(visitor.doc.client_id) is None
                ]
            )
            yield
        finally:
            for visitor in visitors:
                with contextlib.suppress(Exception):
                    await visitor.close()

    def _differences(self) -> list[str]:
        found = []
        for room, roamers in self.by_room.items():
            if not all(roamer.client.connected for roamer in roamers):
                found.append(f"not everybody is in {room}")
                continue
            texts = {str(roamer.client.text) for roamer in roamers}
            if len(texts) > 1:
                found.append(f"{len(texts)} different texts in {room}")
            found += [
                f"{room} lacks {mark}"
                for mark in self.promised(room)
                if not all(mark in text for text in texts)
            ]
        return found

    def _ghosts(self) -> list[str]:
        found = []
        for room, roamers in self.by_room.items():
            here = {roamer.client.doc.client_id for roamer in roamers}
            for roamer in roamers:
                # y-protocols gives up by itself those who are not renewed; these clients do not.
                seen = {client for client, (_, state) in roamer.client.awareness.items() if state is not None}
                if seen | {roamer.client.doc.client_id} != here:
                    found.append(
                        f"{roamer.name} sees {len(seen - here)} ghosts in {room}, misses {len(here - seen)}"
                    )
        return found

    def promised(self, room: str) -> list[str]:
        """What was acknowledged in a room."""
        return [mark for roamer in self.by_room[room] for mark in roamer.acknowledged]

    async def _until(self, complaints: Callable[[], list[str]]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while complaints():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            left = complaints()
            raise AssertionError(f"after {PATIENCE_S} s still: {'; '.join(left[:5])} ({len(left)})") from None


class Cluster:
    """The nodes, and what they share."""

    def __init__(self, store: str, bus_urls: Sequence[str], **settings: Any) -> None:
        common: dict[str, object] = {
            "store": store,
            "bus_prefix": fresh_prefix(),
            "bus_heartbeat_s": 0.5,
            "bus_node_timeout_s": 3,
            "presence_grace_s": 1,
            "presence_timeout_s": 600,  # these clients do not renew what they have said
            "room_quiet_evict_s": 1,
            "compact_after_updates": 20,
            **settings,
        }
        self.store = store
        self.nodes = [
            ServerProcess({**common, "bus": url, "node_name": f"node-{number}"})
            for number, url in enumerate(bus_urls)
        ]

    async def __aenter__(self) -> Cluster:
        try:
            for node in self.nodes:
                node.start(wait=False)
            for node in self.nodes:
                await asyncio.to_thread(node.wait_ready)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.close()

    async def start_again(self, node: ServerProcess) -> None:
        """Start a node that has ended."""
        node.start(wait=False)
        await asyncio.to_thread(node.wait_ready)

    async def stop(self) -> None:
        """End all nodes in order; each must have saved everything."""
        codes = await asyncio.gather(*(asyncio.to_thread(node.terminate) for node in self.nodes))
        assert codes == [0] * len(self.nodes)

    async def store_holds(self, crowd: Crowd) -> None:
        """The store alone, without any node, has everything that was acknowledged."""
        store = open_store(self.store)
        await store.open(migrate=False)
        try:
            for room in crowd.by_room:
                stored = await store.load(room)
                doc: Doc[Any] = Doc()
                text = doc.get("notes", type=Text)
                if stored is not None:
                    for data in [
                        *([stored.snapshot.data] if stored.snapshot else []),
                        *(row.data for row in stored.updates),
                    ]:
                        doc.apply_update(data)
                lost = [mark for mark in crowd.promised(room) if mark not in str(text)]
                assert not lost, f"lost {lost[:5]} ({len(lost)}) in {room}"
                replicas = {str(roamer.client.text) for roamer in crowd.by_room[room]}
                assert replicas == {str(text)}, f"{room} is not stored as its clients have it"
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def at_work(urls: Sequence[str], seed: int = 4) -> AsyncIterator[Crowd]:
    """Sixty clients in twenty rooms, each room on every node, who write inside the block."""
    dice = random.Random(seed)
    roamers = [
        # In each room one who goes the other way round, so that no room comes to be on one node only.
        Roamer(
            urls,
            number // ROOMS,
            f"trip-{number % ROOMS}",
            f"c{number}",
            dice,
            backwards=number // ROOMS == number % NODES,
        )
        for number in range(CLIENTS)
    ]
    tasks = [asyncio.create_task(roamer.work()) for roamer in roamers]
    try:
        yield Crowd(roamers)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


@contextlib.asynccontextmanager
async def database(postgres: PostgresServer | None = None) -> AsyncIterator[str]:
    """An empty database; its address."""
    server = postgres or shared_server()
    name = await server.create_database()
    yield server.database_dsn(name)
    await server.drop_database(name)


def urls_of(nodes: Iterable[ServerProcess]) -> list[str]:
    """Where clients reach them."""
    return [node.ws_url for node in nodes]


@contextlib.contextmanager
def own_valkey() -> Iterator[Valkey]:
    """A Valkey of the test's own, which may be harmed."""
    server = private_valkey()
    try:
        yield server
    finally:
        server.stop()
