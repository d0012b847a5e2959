"""What a connection costs and how it ends: back-pressure, silence, closing, faults of the handler."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from collab_server.errors import CloseCode, FloodError
from collab_server.gateway.handshake import Request
from collab_server.gateway.settings import TransportSettings
from collab_server.gateway.websocket import Socket
from collab_server.wire.frame import Frame
from tests.support.echo import serve
from tests.support.loops import on_both_loops
from tests.support.rawsocket import RawSocket, close_frame, frame

T = TypeVar("T")
BIG = Frame(bytes(1 << 20))


@dataclass
class Recorder:
    """A handler that writes down what happens, and does what it is told to."""

    events: list[object] = field(default_factory=list)
    on_message: Callable[[Recorder, bytes], None] | None = None
    on_opened: Callable[[Recorder], None] | None = None
    fails_on_close: bool = False
    socket: Socket = field(init=False)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, request: Request) -> Recorder:
        """It is its own factory."""
        return self

    def on_open(self, socket: Socket) -> None:
        self.socket = socket
        self.opened.set()
        if self.on_opened is not None:
            self.on_opened(self)

    def on_binary(self, data: bytes) -> None:
        self.events.append(data)
        self.heard.set()
        if self.on_message is not None:
            self.on_message(self, data)

    def on_text(self, text: str) -> None:
        self.events.append(text)

    def on_full(self) -> None:
        self.full.set()

    def on_drained(self) -> None:
        self.drained.set()

    def on_close(self, code: int, clean: bool) -> None:
        self.events.append((code, clean))
        self.closed.set()
        if self.fails_on_close:
            raise ValueError("in on_close")


async def in_thread(call: Callable[[], T]) -> T:
    """A blocking step of a raw client, while the server runs in this loop."""
    return await asyncio.to_thread(call)


# -- the end comes exactly once


@on_both_loops
async def test_a_peer_that_says_goodbye_closes_cleanly() -> None:
    owner = Recorder()
    async with serve(owner) as running, connect(running.url) as client:
        await client.close(1001, "bye")
        await owner.closed.wait()
        assert client.close_code == 1001
        await running.transport.wait_closed()
    assert owner.events == [(1001, True)]


@on_both_loops
async def test_a_peer_that_vanishes_does_not() -> None:
    owner = Recorder()
    async with serve(owner) as running, connect(running.url) as client:
        client.transport.abort()
        await owner.closed.wait()
    assert owner.events == [(1006, False)]


@on_both_loops
async def test_our_close_is_clean_when_it_is_answered() -> None:
    owner = Recorder()
    async with serve(owner) as running, connect(running.url) as client:
        await owner.opened.wait()
        owner.socket.close(4205, "again")
        owner.socket.close(1000)
        owner.socket.send(Frame(b"too late"))
        assert not owner.socket.is_open
        with pytest.raises(ConnectionClosed):
            await client.recv()
        await owner.closed.wait()
        assert (client.close_code, client.close_reason) == (4205, "again")
    assert owner.events == [(4205, True)]


@on_both_loops
async def test_a_close_that_is_never_answered_ends_after_the_timeout() -> None:
    owner = Recorder()
    async with serve(owner, TransportSettings(close_timeout_s=0.05)) as running:
        raw = await in_thread(lambda: RawSocket(running.port))
        await in_thread(raw.upgrade)
        owner.socket.close(1012)
        await owner.closed.wait()
        await running.transport.wait_closed()
        raw.socket.close()
    assert owner.events == [(1012, False)]


@on_both_loops
async def test_a_peer_that_lingers_after_a_failure_is_cut() -> None:
    owner = Recorder()
    async with serve(owner, TransportSettings(close_timeout_s=0.05)) as running:
        raw = await in_thread(lambda: RawSocket(running.port))
        await in_thread(raw.upgrade)
        raw.send(frame(3) + frame(2, b"never read"))
        await owner.closed.wait()
        await running.transport.wait_closed()
        raw.socket.close()
    assert owner.events == [(1002, False)]


@on_both_loops
async def test_a_long_reason_is_cut_at_a_character() -> None:
    owner = Recorder()
    async with serve(owner) as running, connect(running.url) as client:
        await owner.opened.wait()
        owner.socket.close(1000, "ä" * 100)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_reason == "ä" * 61


@on_both_loops
async def test_abort_ends_at_once() -> None:
    owner = Recorder(on_message=lambda me, _: me.socket.abort())
    async with serve(owner) as running, connect(running.url) as client:
        await client.send(b"one")
        await owner.closed.wait()
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert owner.events == [b"one", (1006, False)]


# -- faults of the handler


def flooded(_: Recorder, __: bytes) -> None:
    raise FloodError("too fast")


@on_both_loops
async def test_an_error_for_the_peer_closes_with_its_code_and_reason() -> None:
    owner = Recorder(on_message=flooded)
    async with serve(owner) as running, connect(running.url) as client:
        await client.send(b"one")
        await client.send(b"two")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4429, "too fast")
    assert owner.events == [b"one", (4429, False)]


@on_both_loops
async def test_a_fault_of_the_handler_is_logged_and_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: Recorder, __: bytes) -> None:
        raise ValueError("a fault of ours")

    owner = Recorder(on_message=broken, fails_on_close=True)
    with caplog.at_level(logging.ERROR):
        async with serve(owner) as running, connect(running.url) as client:
            await client.send(b"one")
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1011
            assert client.close_reason == "internal error"
    assert owner.events == [b"one", (1011, False)]
    assert "a fault of ours" in caplog.text
    assert "in on_close" in caplog.text


@on_both_loops
async def test_an_error_at_opening_closes_before_any_message() -> None:
    def refuse(_: Recorder) -> None:
        raise FloodError("not now")

    owner = Recorder(on_opened=refuse)
    async with serve(owner) as running:
        raw = await in_thread(lambda: RawSocket(running.port))
        await in_thread(lambda: raw.upgrade(pipelined=frame(2, b"eager")))
        assert await in_thread(raw.read_close) == 4429
        raw.socket.close()
        await owner.closed.wait()
    assert owner.events == [(4429, False)]


# -- back-pressure


SMALL_BUFFERS = TransportSettings(
    send_high_water_bytes=1 << 16,
    send_low_water_bytes=1 << 14,
    send_buffer_bytes_max=4 << 20,
    close_timeout_s=0.1,
)


async def silent_reader(port: int) -> RawSocket:
    """A client with a small receive buffer that has opened and reads nothing."""
    raw = await in_thread(lambda: RawSocket(port, receive_buffer_bytes=4096))
    await in_thread(raw.upgrade)
    return raw


@on_both_loops
async def test_a_peer_that_reads_nothing_fills_up_and_drains_when_it_reads() -> None:
    owner = Recorder()
    async with serve(owner, SMALL_BUFFERS) as running:
        raw = await silent_reader(running.port)
        sent = 0
        while not owner.full.is_set():
            owner.socket.send(Frame(bytes(1 << 16)))
            sent += 1
            await asyncio.sleep(0)
        assert owner.socket.buffered_bytes > SMALL_BUFFERS.send_high_water_bytes
        assert not owner.drained.is_set()
        for _ in range(sent):
            assert len((await in_thread(raw.read_frame)).payload) == 1 << 16
        await owner.drained.wait()
        assert owner.socket.buffered_bytes <= SMALL_BUFFERS.send_low_water_bytes
        raw.socket.close()


@on_both_loops
async def test_past_the_hard_limit_a_peer_is_told_to_come_back_later() -> None:
    owner = Recorder()
    most = 0

    async with serve(owner, SMALL_BUFFERS) as running:
        raw = await silent_reader(running.port)
        while owner.socket.is_open:
            owner.socket.send(BIG)
            most = max(most, owner.socket.buffered_bytes)
            assert owner.events == [], "the handler must not be called inside send"
        await owner.closed.wait()
        await running.transport.wait_closed()
        raw.socket.close()
    assert owner.events == [(CloseCode.OVERLOADED, False)]
    assert most <= SMALL_BUFFERS.send_buffer_bytes_max + 100


@on_both_loops
async def test_one_message_over_the_limit_may_still_be_sent_to_a_peer_that_reads() -> None:
    owner = Recorder()
    async with serve(owner, SMALL_BUFFERS) as running, connect(running.url, max_size=None) as client:
        await owner.opened.wait()
        owner.socket.send(Frame(bytes(10 << 20)))
        assert len(await client.recv()) == 10 << 20
        assert owner.socket.is_open


@on_both_loops
async def test_pings_of_a_peer_that_reads_nothing_cost_no_more_than_the_high_water_mark() -> None:
    owner = Recorder()
    async with serve(owner, SMALL_BUFFERS) as running:
        raw = await silent_reader(running.port)
        raw.socket.settimeout(0.2)

        def flood() -> None:
            pings = frame(9, bytes(125)) * 1000
            for _ in range(100):
                raw.send(pings)
            raw.send(frame(2, b"done"))

        await in_thread(flood)
        await owner.heard.wait()
        assert owner.events == [b"done"]
        assert owner.socket.buffered_bytes <= SMALL_BUFFERS.send_high_water_bytes + 1000
        raw.socket.close()


@on_both_loops
async def test_a_paused_socket_delivers_nothing_until_it_is_resumed() -> None:
    owner = Recorder(on_opened=lambda me: me.socket.pause_reading())
    async with serve(owner) as running, connect(running.url) as client:
        await client.send(b"waits")
        for _ in range(20):
            await asyncio.sleep(0)
        assert owner.events == []
        owner.on_message = lambda me, _: me.socket.close()
        owner.socket.resume_reading()
        await owner.closed.wait()
    assert owner.events == [b"waits", (1000, True)]


@on_both_loops
async def test_a_paused_socket_can_still_be_closed_cleanly() -> None:
    owner = Recorder(on_opened=lambda me: me.socket.pause_reading())
    async with serve(owner) as running, connect(running.url):
        await owner.opened.wait()
        owner.socket.close(1012)
        await owner.closed.wait()
    assert owner.events == [(1012, True)]


@on_both_loops
async def test_a_broadcast_is_compressed_once_and_only_for_those_who_agreed() -> None:
    owners = [Recorder() for _ in range(3)]
    ways = iter(owners)
    shared = Frame(b"the same again " * 1000)
    async with (
        serve(lambda _: next(ways)) as running,
        connect(running.url) as first,
        connect(running.url) as second,
        connect(running.url, compression=None) as third,
    ):
        for owner in owners:
            await owner.opened.wait()
        owners[0].socket.send(shared)
        packed = shared.deflated
        assert packed
        assert len(packed) < 200
        owners[1].socket.send(shared)
        owners[2].socket.send(shared)
        assert shared.deflated is packed
        for client in (first, second, third):
            assert await client.recv() == shared.data


@on_both_loops
async def test_many_sends_of_one_turn_arrive_in_order_and_whole() -> None:
    owner = Recorder()
    payloads = [bytes([number % 256]) * (number * 37 % 20_000) for number in range(300)]
    async with serve(owner) as running, connect(running.url, compression=None) as client:
        await owner.opened.wait()
        for payload in payloads:
            owner.socket.send(Frame(payload))
        owner.socket.send_text("end")
        assert [await client.recv() for _ in payloads] == payloads
        assert await client.recv() == "end"


# -- silence


@on_both_loops
async def test_a_peer_that_answers_pings_stays_and_a_silent_one_is_closed() -> None:
    settings = TransportSettings(ping_interval_s=0.1, pong_timeout_s=1.0, close_timeout_s=0.1)
    owners = [Recorder(), Recorder()]
    ways = iter(owners)
    async with serve(lambda _: next(ways), settings) as running, connect(running.url):
        raw = await in_thread(lambda: RawSocket(running.port))
        await in_thread(raw.upgrade)
        await owners[1].closed.wait()
        assert owners[1].events == [(4408, False)]
        assert await in_thread(raw.read_close) == 4408
        raw.socket.close()
        assert owners[0].socket.is_open


@on_both_loops
async def test_a_peer_in_the_middle_of_a_long_frame_is_alive() -> None:
    settings = TransportSettings(ping_interval_s=0.2, pong_timeout_s=0.2)
    owner = Recorder()
    message = frame(2, bytes(40))
    async with serve(owner, settings) as running:
        raw = await in_thread(lambda: RawSocket(running.port))
        await in_thread(raw.upgrade)
        for byte in message:
            raw.send(bytes((byte,)))
            await asyncio.sleep(0.03)
        await owner.heard.wait()
        raw.socket.close()
    assert owner.events[0] == bytes(40)


@on_both_loops
async def test_a_peer_that_answers_pings_but_never_speaks_is_closed_as_idle() -> None:
    settings = TransportSettings(ping_interval_s=0.1, pong_timeout_s=2.0, idle_timeout_s=0.3)
    owner = Recorder()
    async with serve(owner, settings) as running, connect(running.url) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 4408
        await owner.closed.wait()


@on_both_loops
async def test_a_peer_that_never_drains_is_closed_in_the_end() -> None:
    settings = TransportSettings(
        send_high_water_bytes=1 << 16, stall_timeout_s=0.2, close_timeout_s=0.1, ping_interval_s=0
    )
    owner = Recorder()
    async with serve(owner, settings) as running:
        raw = await silent_reader(running.port)
        owner.socket.send(Frame(bytes(16 << 20)))
        await owner.closed.wait()
        await running.transport.wait_closed()
        raw.socket.close()
    assert owner.events == [(1013, False)]


# -- all sockets of a server


@on_both_loops
async def test_a_leaving_server_closes_all_and_takes_no_more() -> None:
    async with serve() as running, connect(running.url) as first, connect(running.url) as second:
        assert len(running.transport) == 2
        running.transport.drain()
        for client in (first, second):
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1012
        await running.transport.wait_closed()
        async with connect(running.url) as late:
            with pytest.raises(ConnectionClosed):
                await late.recv()
            assert late.close_code == 1012


@on_both_loops
async def test_what_happens_is_counted() -> None:
    class Counts:
        def __init__(self) -> None:
            self.seen: list[object] = []

        def opened(self) -> None:
            self.seen.append("opened")

        def closed(self, code: int, *, clean: bool, by_server: bool) -> None:
            self.seen.append((code, clean, by_server))

        def refused(self, status: int) -> None:
            self.seen.append(status)

    counts = Counts()
    async with serve(observer=counts) as running:
        async with connect(running.url) as client:
            await client.send(b"four")
            await client.recv()
        raw = await in_thread(lambda: RawSocket(running.port))
        await in_thread(lambda: raw.upgrade(Sec_WebSocket_Version="8"))
        raw.socket.close()
    assert counts.seen == ["opened", (1000, True, False), 426]


@on_both_loops
async def test_a_gone_connection_leaves_nothing_for_the_collector() -> None:
    owner = Recorder()
    async with serve(owner) as running:
        gc.collect()
        gc.disable()
        try:
            async with connect(running.url) as client:
                await owner.opened.wait()
                await client.send(bytes(200_000))
            await running.transport.wait_closed()
            gone = weakref.ref(owner.socket)
            del owner.socket
            for _ in range(3):
                await asyncio.sleep(0)
            assert gone() is None
        finally:
            gc.enable()


@on_both_loops
async def test_an_open_connection_keeps_nothing_of_the_http_protocol_alive() -> None:
    def http_protocols() -> int:
        return sum(issubclass(type(one), HttpToolsProtocol) for one in gc.get_objects())

    async with serve() as running:
        before = http_protocols()
        async with connect(running.url), connect(running.url) as client:
            await client.send(b"here")
            await client.recv()
            assert len(running.transport) == 2
            assert http_protocols() == before


@on_both_loops
async def test_joins_and_leaves_by_the_thousand_leave_nothing() -> None:
    async with serve() as running:

        def come_and_go() -> None:
            for number in range(300):
                with RawSocket(running.port) as raw:
                    raw.upgrade()
                    if number % 2:
                        raw.send(close_frame(1000))
                        raw.read_close()

        await asyncio.gather(*(in_thread(come_and_go) for _ in range(4)))
        await running.transport.wait_closed()
        assert len(running.transport) == 0
