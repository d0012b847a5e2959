"""What is left of clients that have gone: nothing, and without the garbage collector's help.

A full collection is put off while it would take long, so a cycle
that each client leaves behind would be a leak.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from collab_server.config import Settings
from collab_server.errors import CloseCode
from collab_server.gateway.connection import Connection
from collab_server.gateway.sessions import Session
from collab_server.gateway.websocket import Socket
from collab_server.hosting.host import Host
from collab_server.room.member import Member
from collab_server.room.room import Room
from collab_server.server import Node
from collab_server.telemetry.loop import unsettle_gc
from tests.support import muxframes
from tests.support.loops import on_both_loops
from tests.support.server import free_port
from tests.support.yclient import YClient


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


@contextmanager
def no_collector() -> Iterator[None]:
    """Nothing in a cycle is found in here."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        unsettle_gc()
        gc.set_threshold(*thresholds)
        gc.enable()


@asynccontextmanager
async def served() -> AsyncIterator[Settings]:
    settings = Settings(store="memory:", port=free_port(), ops_port=free_port(), room_quiet_evict_s=0.1)
    node = Node(settings)
    await node.start(lambda: None)
    try:
        yield settings
    finally:
        await node.stop()


OURS = (Connection, Session, Socket, Member, Host, Room)


def left() -> list[object]:
    """What there is of clients and their rooms, be it reachable or not."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), OURS)]


async def write_and_go(url: str) -> None:
    async with YClient(url, "room") as ada, YClient(url, "room") as ben:
        await ada.announce({"name": "Ada"})
        await ada.write("hello")
        await ben.sees("hello")
        ada.cut()


async def open_documents_and_go(url: str) -> None:
    async with connect(url, proxy=None) as client:
        for name in ("one", "two"):
            await client.send(muxframes.auth(name))
            await client.send(muxframes.step1(name))
        answered: set[str] = set()
        while len(answered) < 2:
            frame = await client.recv()
            assert isinstance(frame, bytes)
            said = muxframes.told(frame)
            if said.kind == "step2":
                answered.add(said.address)
        await client.send(muxframes.close("one"))


async def be_refused(url: str) -> None:
    async with connect(f"{url}/room", proxy=None) as client:
        await client.send(b"\x00\x02\x05junk")
        await client.wait_closed()
        assert client.close_code == CloseCode.MALFORMED
    with pytest.raises(InvalidStatus):
        await connect(f"{url}/room", proxy=None, additional_headers={"Host": "another"})


@pytest.mark.parametrize("visit", [write_and_go, open_documents_and_go, be_refused])
@on_both_loops
async def test_nothing_of_a_client_that_has_gone_waits_for_the_garbage_collector(
    visit: Callable[[str], object],
) -> None:
    with no_collector():
        async with served() as settings:
            result = visit(f"ws://127.0.0.1:{settings.port}")
            assert asyncio.iscoroutine(result)
            await result
            async with httpx.AsyncClient(trust_env=False) as http:
                (await http.get(f"http://127.0.0.1:{settings.ops_port}/metrics")).raise_for_status()
            await until(lambda: not left())
