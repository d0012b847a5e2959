"""What it costs an edit that people are told apart and limited: ``python -m bench.way``.

Three servers, each a process of its own: one that lets everybody in and limits nothing, the same once more
(what the two differ by is noise), and one with tokens, the limits as they are by default, quotas of tenants,
stamped presence and the audit log. In rooms of four one client writes, the next edit follows when the other
three have the one before, and the CPU time of the server's whole process is divided by the edits. The rounds
are interleaved, because machines are noisy: trust the ratios. It takes about a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import jwt
import uvloop

from bench.room import keystrokes
from collab_server.wire.sync import PLAIN

ROOMS: Final = 25
MEMBERS: Final = 4
EDITS: Final = 100
"""Of one room in one round."""
ROUNDS: Final = 31
_READY_S: Final = 30.0
_SECRET: Final = secrets.token_hex(32)
_COMMON: Final[dict[str, object]] = {
    "store": "memory:",
    "trusted_proxies": "127.0.0.1",  # programs on the machine itself are not limited by address
    "ping_interval_s": 3600,  # bytes are counted, so nothing else may come
}
_OPEN: Final[dict[str, object]] = {
    "allow_anonymous": True,
    "connections_per_address_max": 0,
    "connection_rate_per_address_max_per_s": 0,
    "message_rate_per_address_max_per_s": 0,
    "message_rate_per_user_max_per_s": 0,
    "message_rate_per_room_max_per_s": 0,
    "shed_cpu_percent": 0,
    "shed_loop_lag_ms": 0,
    "shed_memory_percent": 0,
    "shed_connections_percent": 0,
}
_GUARDED: Final[dict[str, object]] = {
    "jwt_secret": _SECRET,
    "tenant_rooms_max": 10_000,
    "tenant_members_max": 10_000,
    "presence_identity": "stamp",
    "audit_log": "audit.jsonl",
}
KINDS: Final = (("open", _OPEN), ("open again", _OPEN), ("guarded", _GUARDED))


def masked(payload: bytes) -> bytes:
    """A client's binary frame of at most 125 bytes; a mask of zeros is a mask too."""
    return bytes((0x82, 0x80 | len(payload))) + bytes(4) + payload


class Client(asyncio.Protocol):
    """Enters a room, and counts the bytes that it gets."""

    def __init__(self, room: int, number: int) -> None:
        now = int(time.time())
        claims = {
            "sub": f"user {number}",
            "tenant": "bench",
            "rooms": {"*": "editor"},
            "iat": now,
            "exp": now + 3600,
        }
        self._request = (
            f"GET /room-{room} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"X-Forwarded-For: 192.0.2.{number}\r\n"
            f"Authorization: Bearer {jwt.encode(claims, _SECRET, 'HS256')}\r\n\r\n"
        ).encode()
        self.received_bytes = 0
        self._wanted_bytes = 0
        self._enough = asyncio.Event()
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade, and for the document."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(self._request + masked(b"\x00\x00\x01\x00"))

    def data_received(self, data: bytes) -> None:
        """Count, and wake who waits."""
        self.received_bytes += len(data)
        if self.received_bytes >= self._wanted_bytes:
            self._enough.set()

    async def reach(self, size_bytes: int) -> None:
        """Wait until so many bytes have come in all."""
        if self.received_bytes < size_bytes:
            self._wanted_bytes = size_bytes
            self._enough.clear()
            await self._enough.wait()


class Room:
    """One writer, and those who read."""

    def __init__(self, writer: Client, readers: list[Client], frames: Iterator[bytes]) -> None:
        self._writer = writer
        self._readers = readers
        self._frames = frames

    async def write(self, edits: int) -> None:
        """Write so many edits, each when everybody has the one before."""
        for _ in range(edits):
            frame = next(self._frames)
            due = [(reader, reader.received_bytes + 2 + len(frame)) for reader in self._readers]
            self._writer.transport.write(masked(frame))
            for reader, size_bytes in due:
                await reader.reach(size_bytes)


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process, as the scheduler counts it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(settings: dict[str, object]) -> Iterator[tuple[int, int]]:
    """A server that is ready: its port and process id."""
    port, ops_port = free_port(), free_port()
    own = _COMMON | {"port": port, "ops_port": ops_port} | settings
    env = os.environ | {f"COLLAB_{key.upper()}": str(value) for key, value in own.items()}
    command = [sys.executable, "-m", "collab_server", "serve"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(  # noqa: S603 - this very server
            command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
    ):
        try:
            wait_ready(f"http://127.0.0.1:{ops_port}/ready")
            yield port, process.pid
        finally:
            process.kill()


def wait_ready(url: str) -> None:
    """Wait until a server says that it is ready. Raises TimeoutError."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):  # noqa: S310 - on this machine
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing is ready at {url}")


async def enter(port: int, frames: list[bytes]) -> list[Room]:
    """Fill the rooms."""
    loop = asyncio.get_running_loop()

    async def client(room: int, number: int) -> Client:
        _, made = await loop.create_connection(lambda: Client(room, number), "127.0.0.1", port)
        return made

    rooms = []
    for room in range(ROOMS):
        writer, *readers = [await client(room, room * MEMBERS + number) for number in range(MEMBERS)]
        rooms.append(Room(writer, readers, iter(frames)))
    await asyncio.sleep(1.0)
    return rooms


async def measure(ports: list[tuple[int, int]], show: Callable[[str], None]) -> None:
    """All rounds, and what they say."""
    frames = [PLAIN.update(update).data for update in keystrokes(EDITS * (ROUNDS + 1))]
    filled = [await enter(port, frames) for port, _ in ports]
    took: list[list[float]] = []
    for turn in range(ROUNDS + 1):
        row = [0.0] * len(ports)
        for place in range(len(ports)):
            which = (turn + place) % len(ports)  # each comes first as often as the others
            rooms, (_, pid) = filled[which], ports[which]
            before = cpu_s(pid)
            async with asyncio.timeout(_READY_S):
                await asyncio.gather(*(room.write(EDITS) for room in rooms))
            row[which] = (cpu_s(pid) - before) / (EDITS * ROOMS) * 1e6
        took.append(row)
    del took[0]  # the first round warms up
    show(
        f"Python {platform.python_version()}, {ROUNDS} rounds of {EDITS * ROOMS} edits, "
        f"each of which goes to {MEMBERS - 1}.\n"
    )
    show("| server | us of CPU for an edit | beside the first |\n|---|---|---|")
    for number, (name, _) in enumerate(KINDS):
        median = statistics.median(row[number] for row in took)
        ratio = statistics.median(row[number] / row[0] for row in took)
        show(f"| {name} | {median:.1f} | {ratio - 1:+.1%} |")


def main() -> None:
    """Start the servers, measure, print."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(server(settings)) for _, settings in KINDS]
        uvloop.run(measure(ports, print))


if __name__ == "__main__":
    main()
