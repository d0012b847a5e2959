"""Many sockets, documents and names that nobody honest has: bounded, and unnoticed in the next room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.adversity.conftest import Arena, healthy_in
from tests.support import frames, yupdate
from tests.support.rawpeer import RawPeer, frame
from tests.support.server import ServerProcess
from tests.support.yclient import YClient

Factory = Callable[..., ServerProcess]
MIB = 1024 * 1024


def addressed(document: str, message: bytes) -> bytes:
    """A frame of the multiplexed dialect, encoded by hand."""
    return frames.var_string(document) + message


def auth(document: str, token: str = "") -> bytes:
    return addressed(document, b"\x02\x00" + frames.var_string(token))


async def gone(server: ServerProcess, connections: float, timeout_s: float = 60) -> None:
    """Wait until no more than so many connections are left."""
    deadline = time.monotonic() + timeout_s
    while server.metric("collab_connections") > connections:
        assert time.monotonic() < deadline, server.metric("collab_connections")
        await asyncio.sleep(0.1)


def sockets_count() -> int:
    """2,000 where nothing is said; COLLAB_TEST_SOCKETS=10000 is the full number, where the limit allows."""
    wanted = int(os.environ.get("COLLAB_TEST_SOCKETS", "2000"))
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)


async def many(arena: Arena, count: int, begin: Callable[[RawPeer], object]) -> list[RawPeer]:
    """So many connections of the attacker, made a hundred at a time."""
    peers: list[RawPeer] = []

    async def one() -> RawPeer:
        peer = await RawPeer(arena.url).__aenter__()
        made = begin(peer)
        if asyncio.iscoroutine(made):
            await made
        return peer

    for at in range(0, count, 100):
        peers += await asyncio.gather(*(one() for _ in range(min(100, count - at))))
    return peers


async def test_thousands_of_sockets_that_never_authenticate_are_closed_in_time_whatever_they_say(
    server_factory: Factory,
) -> None:
    count = sockets_count()
    server = server_factory(auth_timeout_s=5, jwt_secret="x" * 32, allow_anonymous=True)
    async with healthy_in(server) as arena:
        began = server.rss_bytes

        async def babble(peer: RawPeer) -> None:
            await peer.upgrade("hocuspocus")
            # Pings and frames of a document without a token must not put the deadline off.
            peer.writer.write(frame(b"\x09") * 3)

        peers = await many(arena, count, babble)
        for writer, reader in (arena.near, arena.far):
            await writer.write("among them")
            await reader.sees("among them")
        assert (server.rss_bytes - began) / count < 64 * 1024
        codes = await asyncio.gather(*(peer.close_code(60) for peer in peers[:50]))
        assert set(codes) == {4408}
        for peer in peers:
            peer.writer.transport.abort()
        await gone(server, 4)
        await arena.unharmed()


async def test_requests_that_never_become_whole_are_cut_and_bounded(server_factory: Factory) -> None:
    server = server_factory(handshake_timeout_s=4, http_connections_max=300)
    async with healthy_in(server) as arena:
        peers = await many(arena, 400, lambda peer: peer.writer.write(b"GET /room HTTP/1.1\r\nHost: x\r\nX-"))

        async def drip(peer: RawPeer) -> None:
            with contextlib.suppress(ConnectionError):
                while await_more(peer):
                    peer.writer.write(b"a")
                    await asyncio.sleep(0.5)

        def await_more(peer: RawPeer) -> bool:
            return not peer.reader.at_eof() and not peer.writer.transport.is_closing()

        drips = [asyncio.create_task(drip(peer)) for peer in peers]
        await arena.unharmed()
        ends = await asyncio.gather(*(peer.head() for peer in peers))
        assert all(head == b"" or head.startswith(b"HTTP/1.1 408") for head in ends)
        assert sum(head == b"" for head in ends) >= 100, "those past the bound are cut at once"
        for task in drips:
            task.cancel()
        for peer in peers:
            peer.writer.transport.abort()
        await arena.unharmed()


async def test_a_flood_of_documents_on_one_socket_opens_no_more_than_its_share(
    server_factory: Factory,
) -> None:
    server = server_factory(documents_per_connection_max=50)
    async with healthy_in(server) as arena, arena.attacker() as attacker:
        await attacker.upgrade("")
        for number in range(2_000):
            attacker.writer.write(frame(auth(f"flood-{number}")))
        await attacker.receive_message(addressed("flood-1999", b"\x02\x01"))
        assert server.metrics()['collab_connections_refused_total{reason="documents_max"}'] == 1_950
        assert server.metric("collab_rooms") <= 52
        await attacker.send_message(addressed("flood-7", frames.step1()))
        await attacker.receive_message(addressed("flood-7", b"\x00\x01"))
        await arena.unharmed()


async def test_frames_for_documents_without_a_token_are_bounded(server_factory: Factory) -> None:
    server = server_factory(jwt_secret="x" * 32, unauthenticated_bytes_max="256KiB")
    rss_bytes = server.rss_bytes
    update = frames.update(yupdate.text_update(9, 0, "x" * 10_000))
    for names in (["one"], [f"doc-{n}" for n in range(1_000)]):
        async with RawPeer(server.ws_url) as attacker:
            await attacker.upgrade("")
            with contextlib.suppress(ConnectionError):
                for number in range(1_000):
                    await attacker.send_message(addressed(names[number % len(names)], update))
            assert await attacker.close_code() in {4413, 1006}
    assert server.rss_bytes - rss_bytes < 32 * MIB


async def test_giant_awareness_and_forged_client_ids_on_a_multiplexed_socket_change_nothing(
    server_factory: Factory,
) -> None:
    server = server_factory(awareness_bytes_max="64KiB", awareness_state_bytes_max="16KiB")
    async with healthy_in(server) as arena:
        victim = arena.near[0]
        await victim.announce({"user": {"name": "Ann"}})
        number = victim.doc.client_id
        async with arena.attacker() as attacker:
            await attacker.upgrade("")
            await attacker.send_message(auth(arena.room))
            forged = frames.awareness([(number, 10_000, {"user": {"name": "Mallory"}})])
            await attacker.send_message(addressed(arena.room, forged))
            await attacker.send_message(addressed(arena.room, frames.awareness([(number, 10_001, None)])))
            await attacker.send_message(
                addressed(arena.room, frames.awareness([(5, 1, {"x": "y" * 40_000})]))
            )
            await attacker.receive_message(addressed(arena.room, b"\x02\x01"))
        await arena.unharmed()
        async with YClient(arena.url, arena.room) as witness:
            await witness.until(lambda: number in witness.awareness)
            assert witness.awareness[number][1] == {"user": {"name": "Ann"}}
            assert 5 not in witness.awareness


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fetc%2fpasswd",
        "../../etc/passwd",
        "a/../b",
        "a//b",
        "%2e%2e",
        "con%3a",
        "..%5c..%5cwindows",
        "%20",
        "a%0d%0aSet-Cookie%3a%20x",
        "%E2%80%AE",
        "%F0%9F%92%A3" * 100,
        "'%3b%20drop%20table%20doc%3b--",
        "%25s%25n{}${x}",
        "_v1",
        "v1/documents/x",
    ],
)
async def test_a_room_is_its_name_and_nothing_else(arena: Arena, path: str) -> None:
    """Whatever the name looks like, it is one room of exactly that name, and nothing lies beside it."""
    server, before = arena.server, {file.name for file in arena.server.folder.iterdir()}
    async with arena.attacker() as one, arena.attacker() as other:
        for peer in (one, other):
            await peer.upgrade(path)
            await peer.send_message(frames.step1())
            await peer.receive_message(b"\x00\x01")
        update = yupdate.text_update(zlib.crc32(path.encode()), 0, "to be found")
        await one.send_message(frames.update(update))
        await one.send_message(frames.sync_status(b"x"))
        await one.receive_message(frames.sync_status(b"x"))
        await other.receive_message(b"\x00\x02")
    assert unquote(path) in _names(server.store_path)
    assert {file.name for file in server.folder.iterdir()} == before


async def test_a_flood_of_joins_and_leaves_on_one_multiplexed_socket_leaves_nothing_behind(
    arena: Arena,
) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade("")
        for number in range(1_500):
            name = arena.room if number % 2 else f"churn-mux-{number % 50}"
            for message in (auth(name), addressed(name, frames.step1()), addressed(name, b"\x07" + b"\x00")):
                attacker.writer.write(frame(message))
            if number % 100 == 0:
                await attacker.writer.drain()
        await attacker.send_message(auth("the-end"))
        await attacker.receive_message(addressed("the-end", b"\x02\x02"), timeout_s=60)
    deadline = time.monotonic() + 60
    while arena.server.metric("collab_members") > 4:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert _names(arena.server.store_path).isdisjoint(f"churn-mux-{n}" for n in range(50))


def _names(store: Path) -> set[str]:
    reader = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return {name for (name,) in reader.execute("select name from doc")}
    finally:
        reader.close()
