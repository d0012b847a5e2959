"""``python -m bench.transport``: this server's transport beside ``websockets``, on loopback.

For each of both, in a process of its own and in the same minute: server CPU per echoed message, server CPU
per delivery of a broadcast, and resident memory per idle connection. Trust the ratios, not the figures: the
client shares the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_peer
from websockets.exceptions import ConnectionClosed

from collab_server.gateway.handshake import Request
from collab_server.gateway.websocket import Socket
from collab_server.wire.frame import Frame
from tests.support.echo import EchoHandler, serve

_REQUEST: Final = (
    b"GET /%d HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def masked(payload: bytes) -> bytes:
    """A client's binary frame; a mask of zeros is a mask too."""
    return bytes((0x82, 0x80 | len(payload))) + bytes(4) + payload


class Client(asyncio.Protocol):
    """Opens a WebSocket, then counts bytes."""

    def __init__(self, number: int, on_bytes: Callable[[int], None]) -> None:
        self._number = number
        self._on_bytes = on_bytes
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(_REQUEST % self._number)

    def data_received(self, data: bytes) -> None:
        """The answer, then what is counted."""
        if self.opened.done():
            self._on_bytes(len(data))
        elif b"\r\n\r\n" in data:
            self.opened.set_result(None)


class Meter:
    """Bytes that came back to all clients."""

    def __init__(self) -> None:
        self.received_bytes = 0
        self._wanted_bytes = 0
        self._enough = asyncio.Event()

    def add(self, size: int) -> None:
        """Count, and wake who waits."""
        self.received_bytes += size
        if self.received_bytes >= self._wanted_bytes:
            self._enough.set()

    async def reach(self, more_bytes: int, act: Callable[[], None]) -> None:
        """Act, then wait until so many bytes more have come."""
        self._wanted_bytes = self.received_bytes + more_bytes
        self._enough.clear()
        act()
        await self._enough.wait()


async def connect(port: int, count: int, meter: Meter) -> list[Client]:
    """Open ``count`` WebSockets, some at a time."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for start in range(0, count, 50):
        group = [Client(number, meter.add) for number in range(start, min(start + 50, count))]
        for client in group:
            await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*(client.opened for client in group))
        clients += group
    return clients


def cpu_s(pid: int) -> float:
    """CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure(kind: str, mode: str, port: int, pid: int, seconds: float) -> str:
    """One row of the table."""
    meter = Meter()
    if mode == "idle":
        before = resident_bytes(pid)
        clients = await connect(port, 2000, meter)
        await asyncio.sleep(0.5)
        text = f"{(resident_bytes(pid) - before) / len(clients):8.0f} bytes per idle connection"
    else:
        clients = await connect(port, 100, meter)
        message = masked(bytes(100))
        fan_out = len(clients) if mode == "broadcast" else 1
        messages, started, cpu_before = 0, time.perf_counter(), cpu_s(pid)
        while time.perf_counter() - started < seconds:
            senders = clients if mode == "echo" else clients[:10]

            def act(senders: list[Client] = senders) -> None:
                for client in senders:
                    client.transport.write(message)

            await meter.reach(len(senders) * fan_out * 102, act)
            messages += len(senders) * fan_out
        elapsed, used = time.perf_counter() - started, cpu_s(pid) - cpu_before
        text = f"{messages / elapsed:8.0f} deliveries/s  {used / messages * 1e6:6.2f} us of server CPU each"
    for client in clients:
        client.transport.abort()
    return f"{mode:10} {kind:12} {text}"


# -- the two servers


async def serve_ours() -> None:
    """Echo, or to all when the path is even and the mode is broadcast."""
    everybody: set[Socket] = set()

    class Broadcast(EchoHandler):
        def on_open(self, socket: Socket) -> None:
            self.socket = socket
            everybody.add(socket)

        def on_binary(self, data: bytes) -> None:
            frame = Frame(data)
            for socket in everybody:
                socket.send(frame)

        def on_close(self, code: int, clean: bool) -> None:
            everybody.discard(self.socket)

    def factory(_: Request) -> EchoHandler:
        return Broadcast() if "broadcast" in sys.argv else EchoHandler()

    async with serve(factory) as running:
        sys.stdout.write(f"{running.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def serve_websockets() -> None:
    """The same on ``websockets``."""
    everybody: set[ServerConnection] = set()

    async def handler(socket: ServerConnection) -> None:
        everybody.add(socket)
        try:
            async for message in socket:
                if "broadcast" in sys.argv:
                    broadcast(everybody, message)
                else:
                    await socket.send(message)
        except ConnectionClosed:
            pass  # the bench cuts its connections
        finally:
            everybody.discard(socket)

    async with serve_peer(handler, "127.0.0.1", 0, compression=None) as server:
        sys.stdout.write(f"{next(iter(server.sockets)).getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Measure each mode on each server, one after the other."""
    parser = argparse.ArgumentParser(description="Measure the transport beside `websockets`.")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--serve", choices=["ours", "websockets"])
    parser.add_argument("mode", nargs="*", default=["echo", "broadcast", "idle"])
    chosen = parser.parse_args()
    if chosen.serve:
        uvloop.run(serve_ours() if chosen.serve == "ours" else serve_websockets())
        return
    for mode in chosen.mode:
        for kind in ("ours", "websockets"):
            command = [sys.executable, "-m", "bench.transport", "--serve", kind, mode]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
                assert server.stdout is not None  # noqa: S101
                try:
                    port = int(server.stdout.readline())
                    row = uvloop.run(measure(kind, mode, port, server.pid, chosen.seconds))
                    sys.stdout.write(row + "\n")
                finally:
                    server.kill()


if __name__ == "__main__":
    main()
