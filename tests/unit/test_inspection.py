"""What the operations port tells of a node that works."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest_asyncio

from collab_server.access.identity import Admission, Caller, Identity, Role
from collab_server.api.operations import operations_app
from collab_server.bus.base import BusMessage, NodeId
from collab_server.bus.memory import MemoryBus, MemoryHub
from collab_server.gateway.sessions import Dialect, Session, Sessions
from collab_server.gateway.upgrade import WebSocketServer
from collab_server.inspection import NodeInspection
from collab_server.room.member import Member
from collab_server.telemetry.metrics import Metrics
from collab_server.wire.sync import PLAIN
from tests.unit.api.test_operations import Standing
from tests.unit.hosting.house import Client, House, house


class Deaf:
    def on_messages(self, shard: int, sender: NodeId, messages: Sequence[BusMessage]) -> None: ...

    def on_gap(self, shard: int) -> None: ...

    def on_node_gone(self, node: NodeId) -> None: ...


class Stay(Session):
    __slots__ = ()
    dialect = Dialect.PLAIN


class Node:
    """A node without sockets, and its operations port."""

    def __init__(self, house: House, bus: MemoryBus) -> None:
        self.house = house
        self.bus = bus
        self.sessions = Sessions(node="n-", wall_clock_ms=lambda: 5_000)
        sockets = WebSocketServer(lambda _request: None)  # type: ignore[arg-type,return-value]
        inspection = NodeInspection(house.registry, self.sessions, sockets, bus)
        app = operations_app(Metrics(), Standing(), inspection)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://node")

    def come(self, room: str, number: int, **identity: Any) -> None:
        stay = Stay(room, Caller("192.0.2.7", is_loopback=False))
        stay.member = Member(number, PLAIN)
        self.sessions.add(stay, Admission(Identity(**identity), Role.EDITOR))

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    hub = MemoryHub()
    bus, other = MemoryBus(hub, "here"), MemoryBus(hub, "there")
    await bus.open(Deaf())
    await other.open(Deaf())
    async with house() as made:
        node = Node(made, bus)
        async with node.http:
            yield node


@contextlib.asynccontextmanager
async def opened(node: Node, *rooms: str) -> AsyncIterator[list[Client]]:
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for room in rooms:
            host = await stack.enter_async_context(node.house.registry.opened(room))
            clients.append(Client(host))
            host.attach(clients[-1])
        yield clients


async def test_a_node_tells_who_it_is_and_which_others_it_knows(node: Node) -> None:
    told = await node.get("/v1/node")
    assert (told["name"], told["rooms"], told["is_shared"], told["bus_trouble"]) == ("here", 0, True, None)
    told = await node.get("/v1/nodes")
    assert told["node"]["name"] == "here"
    assert [peer["name"] for peer in told["peers"]] == ["there"]


async def test_a_room_is_told_with_who_is_in_it_and_whether_it_is_saved(node: Node) -> None:
    async with opened(node, "trips/Lisboa 🌊") as (client,):
        client.write("hello")
        node.house.store.fail_before("append")
        told = await node.get("/v1/rooms/trips/Lisboa%20%F0%9F%8C%8A")
        assert told["room"] == "trips/Lisboa 🌊"
        assert told["members"] == 1
        assert told["bytes"] > 0
        assert not told["is_saved"]
        assert told["opened_at_ms"] == 1_000
        assert told["shard"] == node.bus.shard_of("trips/Lisboa 🌊")
        node.house.store.heal()
        await node.house.registry.save()
        assert (await node.get("/v1/rooms/trips%2FLisboa%20%F0%9F%8C%8A"))["is_saved"]


async def test_rooms_are_told_by_name_and_page_by_page(node: Node) -> None:
    async with opened(node, "b", "a2", "a1", "c"):
        page = await node.get("/v1/rooms?limit=3")
        assert ([room["room"] for room in page["rooms"]], page["next"]) == (["a1", "a2", "b"], "b")
        page = await node.get("/v1/rooms?limit=3&after=b")
        assert ([room["room"] for room in page["rooms"]], page["next"]) == (["c"], None)
        page = await node.get("/v1/rooms?prefix=a")
        assert [room["room"] for room in page["rooms"]] == ["a1", "a2"]


async def test_a_room_that_is_not_open_here_is_unknown(node: Node) -> None:
    answer = await node.http.get("/v1/rooms/nowhere")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_room")


async def test_a_page_is_bounded(node: Node) -> None:
    assert (await node.http.get("/v1/rooms?limit=100000")).status_code == 422
    assert (await node.http.get("/v1/sessions?limit=0")).status_code == 422


async def test_sessions_are_found_by_room_and_by_user(node: Node) -> None:
    node.come("trip", 1, user_id="ada", session_id="s1", tenant="acme")
    node.come("trip", 2, user_id="bob")
    node.come("other", 3, user_id="ada")
    node.come("other", 4)
    everybody = await node.get("/v1/sessions?limit=2")
    assert (len(everybody["sessions"]), everybody["total"]) == (2, 4)
    assert everybody["sessions"][0] == {
        "id": "n-1",
        "room": "trip",
        "user": "ada",
        "session": "s1",
        "tenant": "acme",
        "role": "editor",
        "address": "192.0.2.7",
        "dialect": "plain",
        "since_ms": 5_000,
    }

    async def ids(query: str) -> list[str]:
        return [one["id"] for one in (await node.get(f"/v1/sessions?{query}"))["sessions"]]

    assert await ids("room=trip") == ["n-1", "n-2"]
    assert await ids("user=ada") == ["n-1", "n-3"]
    assert await ids("user=ada&room=other") == ["n-3"]
    assert await ids("room=nowhere") == []


async def test_the_lag_of_each_shard_that_is_read_is_told(node: Node) -> None:
    node.bus.watch(7)
    assert [shard["shard"] for shard in (await node.get("/v1/lag"))["shards"]] == [7]
