"""What a supervisor and one of its workers say to each other: lines of JSON on a pair of sockets.

    supervisor -> worker
        {"name", "index", "public", "operations"}   first: its place; the last two are the ports' file numbers
        {"order": "stop"}       leave: the whole server ends
        {"order": "replaced"}   leave: another worker has this place now, and both its ports
    worker -> supervisor
        {"started": {...}}      the addresses
        {"leaving": true}       it leaves, told or not

The end of the stream tells the worker that its supervisor is gone, and that it has to leave too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from collab_server.config import Addresses

_LINE_BYTES_MAX = 16 * 1024


class Order(StrEnum):
    """Why a worker has to leave."""

    STOP = "stop"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker serves: the worker's end."""

    name: str
    """The worker's name in logs; unique among those that live at the same time."""
    index: int
    """The number of the place, from 0."""
    public: socket.socket
    operations: socket.socket
    link: socket.socket

    @classmethod
    def take(cls, file_number: int) -> Place:
        """Read the first line, waiting for it. Raises OSError or ValueError when there is none."""
        link = socket.socket(fileno=file_number)
        line = b""
        # Byte by byte: what comes behind the line is for ``orders``.
        while not line.endswith(b"\n"):
            byte = link.recv(1)
            if not byte or len(line) >= _LINE_BYTES_MAX:
                raise ConnectionError("there is no supervisor")
            line += byte
        told = json.loads(line)
        return cls(
            str(told["name"]),
            int(told["index"]),
            socket.socket(fileno=int(told["public"])),
            socket.socket(fileno=int(told["operations"])),
            link,
        )

    async def orders(self) -> AsyncIterator[Order]:
        """What the supervisor says; the last one is ``REPLACED`` when it is gone.

        Whoever starts after it needs the ports, so they are to be let go at once.
        """
        reader, writer = await asyncio.open_connection(sock=self.link.dup(), limit=_LINE_BYTES_MAX)
        try:
            async for told in _messages(reader):
                yield Order(told["order"])
            yield Order.REPLACED
        finally:
            writer.close()

    def say_started(self, addresses: Addresses) -> None:
        """Tell the supervisor that this worker serves."""
        self._say({"started": asdict(addresses)})

    def say_leaving(self) -> None:
        """Tell the supervisor that this worker will end."""
        self._say({"leaving": True})

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a supervisor that is gone is heard of in ``orders``
            self.link.send(_line(message))


class WorkerLink:
    """The supervisor's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> WorkerLink:
        """Take one end of the pair."""
        return cls(*await asyncio.open_connection(sock=end, limit=_LINE_BYTES_MAX))

    def assign(self, name: str, index: int, public: socket.socket, operations: socket.socket) -> None:
        """Give the worker its place."""
        self._say(
            {"name": name, "index": index, "public": public.fileno(), "operations": operations.fileno()}
        )

    def order(self, order: Order) -> None:
        """Tell the worker to leave; no effect on one that is gone."""
        self._say({"order": order.value})

    async def told(self) -> AsyncIterator[Addresses | None]:
        """What the worker says: where it serves, or None when it leaves. Ends with the worker."""
        try:
            async for message in _messages(self._reader):
                yield Addresses(**message["started"]) if "started" in message else None
        finally:
            self._writer.close()

    def _say(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(_line(message))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            yield json.loads(line)
