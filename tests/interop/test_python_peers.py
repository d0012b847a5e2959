"""Python clients of other people in one room with the JavaScript ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pycrdt
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.interop.conftest import Place
from tests.interop.peers import Peers
from tests.support.yclient import YClient

pytestmark = pytest.mark.node


class _Channel:
    """What pycrdt's provider wants of a connection, on top of ``websockets``."""

    def __init__(self, socket: ClientConnection, room: str) -> None:
        self._socket = socket
        self.path = room

    def __aiter__(self) -> _Channel:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.recv()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def send(self, message: bytes) -> None:
        await self._socket.send(message)

    async def recv(self) -> bytes:
        message = await self._socket.recv()
        assert isinstance(message, bytes)
        return message


@contextlib.asynccontextmanager
async def provided(url: str, room: str, doc: pycrdt.Doc[Any]) -> AsyncIterator[None]:
    """Keep a pycrdt document in step with a room, through the provider of pycrdt itself."""
    async with (
        connect(f"{url}/{room}", proxy=None, max_size=None) as socket,
        pycrdt.Provider(doc, _Channel(socket, room)),
    ):
        yield


async def _until_equal(text: pycrdt.Text, wanted: str) -> None:
    seen = asyncio.Event()
    subscription = text.observe(lambda _: seen.set())
    async with asyncio.timeout(10):
        while str(text) != wanted:
            seen.clear()
            await seen.wait()
    text.unobserve(subscription)


async def test_the_provider_of_pycrdt_edits_together_with_javascript(place: Place, peers: Peers) -> None:
    room = place.room()
    names = await peers.open_many(2, room)
    await peers.synced(*names)
    await peers.run(names[0], "doc.getText('notes').insert(0, 'from JS ')")
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    text = doc.get("notes", type=pycrdt.Text)
    async with provided(place.url, room, doc):
        await _until_equal(text, "from JS ")
        text += "from Python"
        for name in names:
            await peers.wait(name, "doc.getText('notes').toString() === 'from JS from Python'")
        await peers.run(names[1], "doc.getText('notes').insert(0, 'again ')")
        await _until_equal(text, "again from JS from Python")


async def test_every_kind_of_client_in_one_room_converges(place: Place, peers: Peers) -> None:
    room = place.room()
    names = await peers.open_many(3, room)
    await peers.synced(*names)
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    text = doc.get("notes", type=pycrdt.Text)
    async with provided(place.url, room, doc), YClient(place.url, room) as plain:
        editing = asyncio.create_task(
            peers.edit(names, seed=5, steps=40, kinds=["map", "array"], pause_ms=10)
        )
        for number in range(20):
            await plain.write(f"[{number}]")
            text.insert(0, f"<{number}>")
            await asyncio.sleep(0.005)
        await editing
        wanted = "<19>"
        await plain.sees(wanted)
        final = str(plain.text)
        await _until_equal(text, final)
        for name in names:
            await peers.wait(name, "doc.getText('notes').toString() === args.text", text=final)
        await peers.converge(*names)
