"""The thin WebSocket client: frames in any pieces, control frames, and messages that are not kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from bench.generator.websocket import CLOSED_ABNORMALLY, HANDSHAKE_FAILED, WebSocketClient, client_frame


class Wire:
    """Stands in for a transport."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


class Client(WebSocketClient):
    def __init__(self, keep_bytes_max: int = 1 << 62) -> None:
        super().__init__(keep_bytes_max)
        self.messages: list[bytes] = []
        self.large: list[int] = []
        self.codes: list[int] = []
        self.wire = Wire()
        self.connection_made(self.wire)  # type: ignore[arg-type]

    def request_target(self) -> tuple[str, str]:
        return "h:1", "/room"

    def on_message(self, message: bytes) -> None:
        self.messages.append(message)

    def on_large(self, size: int) -> None:
        self.large.append(size)

    def on_closed(self, code: int) -> None:
        self.codes.append(code)

    def accept(self) -> bytes:
        key = next(
            line.partition(b": ")[2]
            for line in self.wire.sent.split(b"\r\n")
            if line.startswith(b"Sec-WebSocket-Key")
        )
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
        return b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(
            digest
        )


def server_frame(payload: bytes, first: int = 0x82) -> bytes:
    masked = client_frame(payload)
    head = len(masked) - len(payload) - 4
    return bytes((first, masked[1] & 0x7F)) + masked[2:head] + payload


def test_frames_are_read_in_any_pieces() -> None:
    payloads = [b"", b"a", bytes(125), bytes(126), bytes(300), bytes(65_535), bytes(70_000), b"end"]
    for size in (1, 2, 3, 7, 1000, 65_536, 1_000_000):
        client = Client()
        data = client.accept() + b"".join(server_frame(payload) for payload in payloads)
        if size == 1:
            data = client.accept() + b"".join(server_frame(payload) for payload in payloads[:5])
        for at in range(0, len(data), size):
            client.data_received(data[at : at + size])
        assert client.messages == (payloads[:5] if size == 1 else payloads)
        assert client.bytes_received == len(data)


@pytest.mark.parametrize("size", [1, 10, 333, 100_000])
def test_a_large_message_is_counted_and_not_kept(size: int) -> None:
    client = Client(keep_bytes_max=1000)
    client.data_received(client.accept())
    data = server_frame(b"small") + server_frame(b"\x00\x01" + bytes(5000)) + server_frame(b"next")
    for at in range(0, len(data), size):
        client.data_received(data[at : at + size])
    if size > 5000:  # it came whole, so there was nothing to save
        assert client.messages == [b"small", b"\x00\x01" + bytes(5000), b"next"]
        return
    assert client.messages == [b"small", b"next"]
    assert client.large == [5002]


def test_a_ping_is_answered_with_its_payload() -> None:
    client = Client()
    client.data_received(client.accept())
    client.wire.sent = b""
    client.data_received(server_frame(b"hi", 0x89))
    assert client.wire.sent == client_frame(b"hi", 10)


def test_a_close_frame_ends_it_with_its_code() -> None:
    client = Client()
    client.data_received(client.accept())
    client.data_received(server_frame((4403).to_bytes(2, "big") + b"no", 0x88) + server_frame(b"late"))
    assert client.wire.closed
    assert client.messages == []
    client.connection_lost(None)
    assert client.codes == [4403]


def test_an_end_without_a_close_frame_is_abnormal() -> None:
    client = Client()
    client.data_received(client.accept())
    client.connection_lost(ConnectionResetError())
    assert client.codes == [CLOSED_ABNORMALLY]
    assert client.send(b"x") == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 Unauthorized\r\n\r\n",
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"x" * 20_000,
    ],
)
def test_what_is_no_upgrade_is_no_connection(answer: bytes) -> None:
    client = Client()
    client.data_received(answer)
    assert client.wire.closed
    assert not client.is_open
    client.connection_lost(None)
    assert client.codes == [HANDSHAKE_FAILED]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_a_server_understands_what_a_client_sends(size: int) -> None:
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    class Echoed(WebSocketClient):
        def __init__(self) -> None:
            super().__init__()
            self.got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self.gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def request_target(self) -> tuple[str, str]:
            return "h", "/"

        def on_open(self) -> None:
            self.send(bytes(size))

        def on_message(self, message: bytes) -> None:
            self.got.set_result(message)

        def on_closed(self, code: int) -> None:
            self.gone.set_result(code)

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        _, client = await asyncio.get_running_loop().create_connection(Echoed, "127.0.0.1", port)
        assert await client.got == bytes(size)
        client.close()
        assert await client.gone == 1000
