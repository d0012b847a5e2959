"""A quiet connection lets go of its parser, and nobody can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from websockets.asyncio.client import connect

from collab_server.gateway.settings import TransportSettings
from collab_server.gateway.websocket import Socket
from collab_server.wire.frame import Frame
from tests.integration.test_transport_flow import Recorder
from tests.support.echo import EchoHandler, Running, serve
from tests.support.loops import on_both_loops
from tests.support.rawsocket import RawSocket, close_frame, frame

LATER_S = 1e9


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def only_socket(running: Running) -> Socket:
    (socket,) = running.transport.sockets
    return socket


async def raw(running: Running) -> RawSocket:
    client = await asyncio.to_thread(RawSocket, running.port)
    await asyncio.to_thread(client.upgrade)
    return client


def nap(running: Running) -> bool:
    return only_socket(running).nap(LATER_S)


@on_both_loops
async def test_messages_of_every_size_wake_it_and_nothing_is_lost() -> None:
    async with serve() as running, connect(running.url, max_size=None) as client:
        for size in (0, 1, 125, 126, 2048, 16 * 1024 - 8, 16 * 1024, 65_536, 1_000_000):
            assert nap(running)
            for n in range(3):
                await client.send(bytes([n]) * size)
            for n in range(3):
                assert await client.recv() == bytes([n]) * size


@on_both_loops
async def test_it_does_not_nap_in_the_middle_of_a_frame() -> None:
    recorder = Recorder()
    async with serve(recorder) as running:
        client = await raw(running)
        whole = frame(2, b"abcdef")
        client.send(frame(2, b"first") + whole[:5])
        await asyncio.wait_for(recorder.heard.wait(), 20)
        await asyncio.sleep(0)
        assert not nap(running)
        client.send(whole[5:])
        await until(lambda: b"abcdef" in recorder.events)
        assert nap(running)
        client.socket.close()


@on_both_loops
async def test_a_fragmented_message_goes_on_after_a_nap_between_its_fragments() -> None:
    recorder = Recorder()
    async with serve(recorder) as running:
        client = await raw(running)
        client.send(frame(2, b"ab", fin=False))
        socket = recorder.socket
        await until(lambda: socket._joiner is not None)
        assert nap(running)
        client.send(frame(0, b"cd"))
        await until(lambda: recorder.events == [b"abcd"])
        client.socket.close()


@on_both_loops
async def test_an_answer_to_a_ping_is_heard_and_does_not_end_the_nap() -> None:
    async with serve() as running:
        client = await raw(running)
        socket = only_socket(running)
        socket.take_heard(0.0)
        client.send(frame(10))
        await until(lambda: socket.take_heard(0.0))
        assert socket._parser is None
        client.send(frame(10, b"x"))
        await until(lambda: socket.take_heard(0.0))
        client.socket.close()


@on_both_loops
async def test_who_only_answers_pings_does_not_look_busy_through_its_naps() -> None:
    async with serve() as running:
        client = await raw(running)
        socket = only_socket(running)
        spoke_at = socket._data_at
        for _ in range(3):
            client.send(frame(10, b"not empty"))
            await until(lambda: socket._parser is not None)
            assert nap(running)
            socket.take_heard(LATER_S)
            assert socket._data_at == spoke_at
        client.socket.close()


@on_both_loops
async def test_it_is_full_and_drains_while_it_naps() -> None:
    recorder = Recorder()
    settings = TransportSettings(send_buffer_bytes_max=64 << 20)
    async with serve(recorder, settings) as running, connect(running.url, max_size=None) as client:
        await asyncio.wait_for(recorder.opened.wait(), 20)
        assert nap(running)
        transport = client.transport
        transport.pause_reading()
        while not recorder.full.is_set():
            recorder.socket.send(Frame(bytes(1 << 20)))
        transport.resume_reading()
        await asyncio.wait_for(recorder.drained.wait(), 20)
        assert nap(running)


@pytest.mark.parametrize("goodbye", [True, False])
@on_both_loops
async def test_it_ends_while_it_naps(goodbye: bool) -> None:
    recorder = Recorder()
    async with serve(recorder) as running:
        client = await raw(running)
        await asyncio.wait_for(recorder.opened.wait(), 20)
        assert nap(running)
        if goodbye:
            client.send(close_frame(1000))
        else:
            client.socket.close()
        await asyncio.wait_for(recorder.closed.wait(), 20)
        assert recorder.events[-1] == ((1000, True) if goodbye else (1006, False))
        await asyncio.wait_for(running.transport.wait_closed(), 20)
        client.socket.close()


@on_both_loops
async def test_the_server_closes_one_that_naps() -> None:
    async with serve(lambda _request: EchoHandler()) as running, connect(running.url) as client:
        await until(lambda: len(running.transport) == 1)
        assert nap(running)
        running.transport.close_all(4205, "again")
        await asyncio.wait_for(client.wait_closed(), 20)
        assert client.close_code == 4205


@on_both_loops
async def test_a_broken_frame_after_a_nap_is_answered_as_always() -> None:
    async with serve() as running, connect(running.url) as client:
        await until(lambda: len(running.transport) == 1)
        assert nap(running)
        client.transport.write(b"\x83\x80abcd")
        await asyncio.wait_for(client.wait_closed(), 20)
        assert client.close_code == 1002
