"""The multiplexed dialect through the real Hocuspocus providers of versions 2, 3 and 4."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from tests.interop.conftest import SECRET, Place, token
from tests.interop.peers import Peers
from tests.support.server import ServerProcess, external_url, start_server

pytestmark = pytest.mark.node

VERSIONS = pytest.mark.parametrize("version", [2, 3, 4])
_WRITE = "doc.getText('notes').insert(0, args.text)"
_READS = "doc.getText('notes').toString() === args.text"


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServerProcess]:
    """A server that wants tokens, for the tests of this file that leave it as it is."""
    if external_url():
        pytest.skip("needs a server process of its own")
    with start_server(jwt_secret=SECRET, jwt_clock_skew_s=0, token_expiry_notice_s=60) as server:
        yield server


@pytest_asyncio.fixture
async def clients(own_place: Place) -> AsyncIterator[Peers]:
    """Peers that connect to the shared server, for what only this server does."""
    async with Peers(own_place.url) as started:
        yield started


@VERSIONS
async def test_both_dialects_edit_a_room_together_and_see_each_other(
    own_place: Place, clients: Peers, version: int
) -> None:
    room = own_place.room()
    await clients.open_socket("s", version=version)
    await clients.open_document("ann", "s", room, client=101)
    await clients.open_socket("t", version=version, url=own_place.url + "/hocuspocus")
    await clients.open_document("cem", "t", room)
    await clients.open("ben", room, client=102)
    names = ("ann", "ben", "cem")
    await clients.synced(*names)
    await clients.run("ann", "awareness.setLocalStateField('user', { name: 'Ann' })")
    await clients.run("ben", "awareness.setLocalStateField('user', { name: 'Ben' })")
    for name in ("ben", "cem"):
        await clients.wait(name, "awareness.getStates().get(101)?.user.name === 'Ann'")
    for name in ("ann", "cem"):
        await clients.wait(name, "awareness.getStates().get(102)?.user.name === 'Ben'")
    await clients.edit(names, seed=version, steps=40, pause_ms=3)
    await clients.converge(*names)
    for name in ("ann", "cem"):
        await clients.wait(name, "!provider.hasUnsyncedChanges")
    await clients.close("ann")
    for name in ("ben", "cem"):
        await clients.wait(name, "!awareness.getStates().has(101)")


@VERSIONS
async def test_documents_of_one_socket_are_apart_and_come_back_together(
    own_place: Place, clients: Peers, version: int
) -> None:
    rooms = [own_place.room() for _ in range(5)]
    await clients.open_socket("s", version=version)
    for index, room in enumerate(rooms):
        await clients.open_document(f"d{index}", "s", room)
        await clients.open(f"p{index}", room)
    mine, others = [f"d{n}" for n in range(5)], [f"p{n}" for n in range(5)]
    await clients.synced(*mine, *others)
    for index, name in enumerate(mine):
        await clients.run(name, _WRITE, text=f"room {index}")
    for index, name in enumerate(others):
        await clients.wait(name, _READS, text=f"room {index}")
    await clients.run("d0", "provider.configuration.websocketProvider.disconnect()")
    await clients.wait("d0", "provider.configuration.websocketProvider.status === 'disconnected'")
    for name in (*mine, *others):
        await clients.run(name, _WRITE, text=f"{name} meanwhile, ")
    await clients.run("d0", "await provider.configuration.websocketProvider.connect()")
    for index in range(5):
        await clients.converge(f"d{index}", f"p{index}")
        await clients.wait(f"d{index}", "!provider.hasUnsyncedChanges")
    if version > 2:  # leaving one document disconnects the whole socket of version 2
        await clients.close("d0")
        await clients.run("d1", _WRITE, text="still here, ")
        await clients.converge("d1", "p1")


@VERSIONS
async def test_edits_outlive_a_server_that_is_killed(
    server_factory: Callable[..., ServerProcess], peers: Peers, version: int
) -> None:
    server = server_factory(presence_grace_s=1)
    await peers.open_socket("s", version=version, url=server.ws_url)
    for name in ("a", "b"):
        await peers.open_document(name, "s", name)
    await peers.synced("a", "b")
    for name in ("a", "b"):
        await peers.run(name, _WRITE, text=f"saved in {name}")
        await peers.wait(name, "!provider.hasUnsyncedChanges")
    server.kill()
    await peers.wait("a", "provider.configuration.websocketProvider.status !== 'connected'")
    await peers.run("a", _WRITE, text="offline, ")
    server.start()
    await peers.wait("a", "provider.synced && !provider.hasUnsyncedChanges", seconds=30)
    async with Peers(server.ws_url) as fresh:
        for name, text in (("a", "offline, saved in a"), ("b", "saved in b")):
            await fresh.open(name, name)
            await fresh.wait(name, _READS, text=text)


async def test_sessions_of_one_document_share_a_socket_in_version_4(own_place: Place, clients: Peers) -> None:
    room = own_place.room()
    await clients.open_socket("s", version=4)
    names = ("one", "two", "three")
    for number, name in enumerate(names):
        await clients.open_document(name, "s", room, client=100 + number, sessionAwareness=True)
    await clients.synced(*names)
    for name in names:
        await clients.run(name, "awareness.setLocalStateField('name', args.name)", name=name)
    for name in names:
        await clients.wait(
            name, "[...awareness.getStates().values()].filter(state => state.name).length === 3"
        )
    await clients.edit(names, seed=4, steps=30)
    await clients.converge(*names)
    await clients.close("two")
    await clients.wait("one", "!awareness.getStates().has(101)")
    await clients.run("one", _WRITE, text="without two, ")
    await clients.converge("one", "three")


@VERSIONS
async def test_messages_that_nobody_keeps_come_from_others_and_from_the_server(
    own_place: Place, clients: Peers, version: int
) -> None:
    room = own_place.room()
    for name in ("ann", "ben"):
        await clients.open_socket(name, version=version)
        await clients.open_document(name, name, room)
    await clients.open("plain", room)
    await clients.synced("ann", "ben", "plain")
    await clients.run("ann", "provider.sendStateless('hi 🌍')")
    await clients.wait("ben", "memory.stateless.length === 1")
    assert own_place.process is not None
    answer = await asyncio.to_thread(_post, own_place.process, room, {"payload": "from the server"})
    assert answer == {"members": 2}
    for name, expected in (
        ("ann", ["from the server"]),
        ("ben", ["hi 🌍", "from the server"]),
    ):
        await clients.wait(name, "memory.stateless.length === args.count", count=len(expected))
        assert await clients.run(name, "return memory.stateless") == expected
    await clients.run("plain", _WRITE, text="undisturbed")
    await clients.converge("ann", "ben", "plain")


@VERSIONS
async def test_each_document_has_its_own_rights(guarded: ServerProcess, peers: Peers, version: int) -> None:
    mine, theirs, closed = (f"{name}-{version}" for name in ("mine", "theirs", "closed"))
    grants = {mine: "editor", theirs: "viewer"}
    await peers.open_socket("s", version=version, url=guarded.ws_url)
    await peers.open_document("mine", "s", mine, token=token(grants))
    await peers.open_document("theirs", "s", theirs, token=token(grants))
    await peers.open("editor", theirs, url=guarded.ws_url, params={"auth": token({"*": "editor"}, "bob")})
    await peers.synced("mine", "theirs", "editor")
    assert await peers.run("mine", "return memory.scopes") == ["read-write"]
    assert await peers.run("theirs", "return memory.scopes") == ["readonly"]
    await peers.run("theirs", _WRITE, text="not mine to write")
    await peers.run("mine", _WRITE, text="mine")
    await peers.wait("mine", "!provider.hasUnsyncedChanges")
    await peers.run("editor", _WRITE, text="theirs ")
    await peers.wait("theirs", "doc.getText('notes').toString().includes('theirs ')")
    assert await peers.run("theirs", "return provider.unsyncedChanges") == 1
    assert await peers.run("editor", "return doc.getText('notes').toString()") == "theirs "
    if version > 2:  # version 2 disconnects its socket by itself when a document is denied
        await peers.open_document("closed", "s", closed, token=token(grants))
        await peers.wait("closed", "memory.denied.length === 1")
        await peers.run("closed", _WRITE, text="into the void")
        await peers.run("mine", _WRITE, text="still ")
        await peers.wait("mine", "!provider.hasUnsyncedChanges")
        assert await peers.run("closed", "return memory.scopes") == []
        assert await peers.run("mine", "return peer.closes") == []


@VERSIONS
async def test_a_socket_without_a_valid_token_is_denied(
    guarded: ServerProcess, peers: Peers, version: int
) -> None:
    await peers.open_socket("s", version=version, url=guarded.ws_url)
    await peers.open_document("eve", "s", "trip", token="not a token")
    await peers.wait("eve", "memory.denied.length >= 1")
    await peers.open_socket("t", version=version, url=f"{guarded.ws_url}?token={token({'trip': 'editor'})}")
    await peers.open_document("ann", "t", "trip")
    await peers.wait("ann", "memory.scopes[0] === 'read-write'")


@pytest.mark.parametrize("version", [3, 4])
async def test_a_token_is_asked_for_and_renewed_without_a_reconnect(
    guarded: ServerProcess, peers: Peers, version: int
) -> None:
    room = f"renewed-{version}"
    await peers.open_socket("s", version=version, url=guarded.ws_url)
    await peers.open_document("ann", "s", room, token=token({room: "editor"}, ttl_s=5))
    await peers.wait("ann", "memory.scopes.length === 1")
    ends = time.time() + 5
    await peers.run("ann", "memory.token = args.token", token=token({room: "editor"}))
    await peers.wait("ann", "memory.scopes.length === 2")
    await peers.wait("ann", "Date.now() / 1000 > args.ends + 1", ends=ends, seconds=30)
    await peers.run("ann", _WRITE, text="still in")
    await peers.wait("ann", "!provider.hasUnsyncedChanges")
    assert await peers.run("ann", "return [memory.asked, memory.denied, peer.closes]") == [2, [], []]


@VERSIONS
async def test_a_token_that_runs_out_ends_its_document(
    guarded: ServerProcess, peers: Peers, version: int
) -> None:
    short, long = f"short-{version}", f"long-{version}"
    await peers.open_socket("s", version=version, url=guarded.ws_url)
    await peers.open_document("short", "s", short, token=token({short: "editor"}, ttl_s=4))
    await peers.open_document("long", "s", long, token=token({long: "editor"}))
    await peers.synced("short", "long")
    await peers.wait("short", "memory.denied.length > 0", seconds=30)
    if version == 4:
        await peers.wait("short", "memory.closed.includes('the token has run out')")
    if version > 2:
        await peers.run("long", _WRITE, text="goes on")
        await peers.wait("long", "!provider.hasUnsyncedChanges")
        assert await peers.run("long", "return [memory.denied, peer.closes]") == [[], []]


def _post(server: ServerProcess, room: str, body: object) -> object:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{server.http_url}/v1/documents/{room}/stateless",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)
