"""What was sent is there after the server ended, however it ended; and "saved" is said only when it is."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peers import Peers
from tests.support import frames
from tests.support.server import ServerProcess
from tests.support.yclient import YClient


@contextlib.contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the write lock of a SQLite file, as another process that works on it does."""
    holder = sqlite3.connect(store, isolation_level=None)
    try:
        holder.execute("begin exclusive")
        yield
        holder.execute("rollback")
    finally:
        holder.close()


async def restart(server: ServerProcess, *, kill: bool = False) -> None:
    await asyncio.to_thread(server.restart, kill=kill)


@pytest.mark.node
@pytest.mark.parametrize("kill", [False, True])
async def test_a_restart_in_the_middle_of_editing_loses_nothing(
    server: ServerProcess, peers: Peers, kill: bool
) -> None:
    names = [await peers.open(f"p{n}", "trip", version=3 - n % 2, url=server.ws_url) for n in range(5)]
    await peers.synced(*names)
    for wave in range(3):
        editing = asyncio.create_task(peers.edit(names, seed=wave, steps=120, pause_ms=25))
        await peers.wait("p0", "Y.getState(doc.store, doc.clientID) > args.some", some=wave * 100 + 20)
        await restart(server, kill=kill)
        await editing
        # Clients that came back in the middle have to find each other again: all end with the same.
        await peers.synced(*names)
        shared = await peers.converge(*names)
    for name in names:
        await peers.disconnect(name)
    await restart(server)
    await peers.open("late", "trip", url=server.ws_url)
    await peers.synced("late")
    assert await peers.converge("late", names[0]) == shared


@pytest.mark.node
async def test_a_client_that_writes_and_closes_at_once_has_its_last_update_saved(
    server: ServerProcess, peers: Peers
) -> None:
    for number in range(10):
        peer = await peers.open(f"p{number}", f"room-{number % 2}", url=server.ws_url)
        await peers.synced(peer)
        await peers.run(peer, "doc.getArray('itinerary').push([args.n]); provider.disconnect()", n=number)
    # The close of the last one must have been seen before the server is asked to end.
    await peers.open("after", "room-1", url=server.ws_url)
    await peers.wait("after", "doc.getArray('itinerary').length === 5")
    await restart(server)
    for room in (0, 1):
        late = await peers.open(f"late{room}", f"room-{room}", url=server.ws_url)
        await peers.synced(late)
        found = await peers.run(late, "return doc.getArray('itinerary').toArray()")
        assert sorted(found) == [number for number in range(10) if number % 2 == room]


async def test_an_update_and_a_clean_close_in_one_breath_is_saved_before_a_kill_that_comes_later(
    server: ServerProcess,
) -> None:
    async with YClient(server.ws_url, "trip") as writer:
        await writer.write("last words")
    async with YClient(server.ws_url, "trip") as reader:
        await reader.sees("last words")
        await reader.saved()
    await restart(server, kill=True)
    async with YClient(server.ws_url, "trip") as reader:
        assert str(reader.text) == "last words"


async def test_saved_is_answered_with_the_very_payload_and_in_order(server: ServerProcess) -> None:
    async with YClient(server.ws_url, "trip") as client:
        payloads = [b"", b"\x00", b"second", bytes(range(256))]
        for payload in payloads:
            await client.write("x")
            await client.send(frames.sync_status(payload))
        await client.until(lambda: client.saved_payloads == payloads)


async def test_saved_is_said_only_after_the_commit(server: ServerProcess) -> None:
    async with YClient(server.ws_url, "trip") as client, YClient(server.ws_url, "trip") as other:
        await client.write("first ")
        await client.saved()
        with locked(server.store_path):
            await client.write("second ")
            asking = asyncio.create_task(client.saved())
            # Others see it at once, and the connection answers other questions; saved it is not.
            await other.sees("second")
            for _ in range(20):
                await client.write(".")
                await other.sees("second " + "." * (_ + 1))
            await asyncio.sleep(0.5)
            assert not asking.done()
        await asking
    await restart(server, kill=True)
    async with YClient(server.ws_url, "trip") as reader:
        assert str(reader.text) == "first second " + "." * 20


async def test_a_question_with_nothing_to_save_is_answered_even_when_the_store_is_busy(
    server: ServerProcess,
) -> None:
    async with YClient(server.ws_url, "trip") as client:
        await client.write("x")
        await client.saved()
        with locked(server.store_path):
            await client.saved(timeout_s=5)


async def test_the_echo_of_an_own_update_comes_where_it_was_asked_for_and_only_after_the_commit(
    server: ServerProcess,
) -> None:
    async with (
        YClient(server.ws_url, "trip?echo=true") as asking,
        YClient(server.ws_url, "trip") as other,
    ):
        empty = asking.received
        await asking.write("warm up ")
        await asking.until(lambda: asking.received > empty)
        before = asking.received
        with locked(server.store_path):
            await asking.write("echo?")
            await other.sees("echo?")
            assert asking.received == before
        await asking.until(lambda: asking.received > before)
    async with YClient(server.ws_url, "quiet") as writer, YClient(server.ws_url, "quiet") as other:
        await other.write("o")
        await writer.sees("o")
        before = writer.received
        await writer.write("mine")
        await other.sees("mine")
        await other.write("theirs")
        await writer.sees("theirs")
        assert writer.received - before < 40, "its own update came back to it"
