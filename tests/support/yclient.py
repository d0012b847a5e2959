"""A Yjs client in Python: a pycrdt document and a ``websockets`` connection, simple enough to be trusted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import pycrdt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import frames


class YClient:
    """One document in one room. Use as a context manager; ``synced`` is awaited by entering it."""

    def __init__(self, url: str, room: str, *, client_id: int | None = None, **options: Any) -> None:
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=client_id) if client_id else pycrdt.Doc()
        self.text = self.doc.get("notes", type=pycrdt.Text)
        self.awareness: dict[int, tuple[int, object]] = {}
        self.received = 0
        """Bytes of updates that came from the server."""
        self.room = room
        self._address = f"{url}/{room}"
        self._options = {"max_size": None, "compression": None, "proxy": None, **options}
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._synced = False
        self._from_server = False
        self._outbox: list[bytes] = []
        self.saved_payloads: list[bytes] = []
        """What the server answered to sync status, in order."""
        self._clock = 0
        self._state: object = None
        self._marks = itertools.count(1)
        self.doc.observe(self._changed_here)

    # Connection

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect and wait until synced."""
        self._synced = False
        self._socket = await connect(self._address, **self._options)
        self._reader = asyncio.create_task(self._read(self._socket))
        await self._socket.send(frames.step1(self.doc.get_state()))
        await self.until(lambda: self._synced or not self.connected)
        if not self._synced:
            raise AssertionError(f"closed before it was synced: {self.close_code}")

    def move(self, url: str) -> None:
        """Connect to another server next time, with what this client holds.

        Others are forgotten, as by every provider whose connection ends. Providers keep their clocks and see
        them again when they renew; this client does not wait for that.
        """
        self._address = f"{url}/{self.room}"
        self.awareness.clear()

    async def close(self) -> None:
        """Say goodbye."""
        assert self._socket
        assert self._reader
        await self._socket.close()
        await self._reader

    def cut(self) -> None:
        """End the connection without a close frame."""
        assert self._socket
        self._socket.transport.abort()

    @property
    def socket(self) -> ClientConnection:
        """The connection itself."""
        assert self._socket
        return self._socket

    @property
    def connected(self) -> bool:
        """Whether the connection is open as far as is known."""
        return self._reader is not None and not self._reader.done()

    @property
    def close_code(self) -> int | None:
        """The code with which the server closed; None while it is open, 1006 when it just ended."""
        assert self._socket
        return self._socket.close_code

    # Document

    def _changed_here(self, event: pycrdt.TransactionEvent) -> None:
        if not self._from_server:
            self._outbox.append(event.update)

    async def write(self, text: str) -> None:
        """Add to the end of the text, and send it."""
        self.text += text
        await self.flush()

    async def flush(self) -> None:
        """Send what was changed here."""
        outbox, self._outbox = self._outbox, []
        for data in outbox:
            await self.send(frames.update(data))

    async def send(self, frame: bytes) -> None:
        """Send a frame as it is. Raises ConnectionError when the connection has ended."""
        assert self._socket
        try:
            await self._socket.send(frame)
        except ConnectionClosed as closed:
            raise ConnectionError(f"closed: {closed}") from closed

    async def saved(self, timeout_s: float = 20) -> None:
        """Ask whether all that was sent is committed, and wait for the answer."""
        mark = next(self._marks).to_bytes(4, "big")
        await self.send(frames.sync_status(mark))
        await self.until(lambda: mark in self.saved_payloads or not self.connected, timeout_s)
        if mark not in self.saved_payloads:
            raise ConnectionError(f"closed before it was acknowledged: {self.close_code}")

    async def announce(self, state: object) -> None:
        """Say who is here, with the next clock."""
        self._clock += 1
        self._state = state
        await self.send(frames.awareness([(self.doc.client_id, self._clock, state)]))

    async def _hear(self, entries: dict[int, tuple[int, object]]) -> None:
        for client, (clock, state) in entries.items():
            known = self.awareness.get(client)
            # y-protocols awareness.js: a higher clock wins, with an equal one null does.
            if known is None or clock > known[0] or (clock == known[0] and state is None):
                self.awareness[client] = (clock, state)
        own = entries.get(self.doc.client_id)
        if own is not None and own[1] is None and self._state is not None and own[0] >= self._clock:
            self._clock = own[0]  # somebody says that we are gone: say that we are not
            await self.announce(self._state)

    def sees_state(self, client: int) -> object:
        """The awareness state of a client; None when it is not here."""
        return self.awareness.get(client, (0, None))[1]

    async def until(self, check: Callable[[], bool], timeout_s: float = 20) -> None:
        """Wait until something holds; it is looked at after each message."""
        async with asyncio.timeout(timeout_s):
            while not check():
                self._changed.clear()
                await self._changed.wait()

    async def sees(self, text: str, timeout_s: float = 20) -> None:
        """Wait until the text contains this."""
        try:
            await self.until(lambda: text in str(self.text), timeout_s)
        except TimeoutError:
            raise AssertionError(
                f"does not see {text!r} after {timeout_s} s; open: {self.connected}"
            ) from None

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for frame in socket:
                assert isinstance(frame, bytes), f"a text frame from the server: {frame!r}"
                await self._receive(socket, frame)
                self._changed.set()
        except ConnectionClosed:
            pass
        finally:
            asyncio.get_running_loop().call_soon(self._changed.set)

    async def _receive(self, socket: ClientConnection, frame: bytes) -> None:
        kind, at = frames.read_var_uint(frame, 0)
        if kind == 0:
            step, at = frames.read_var_uint(frame, at)
            data, _ = frames.read_var_bytes(frame, at)
            if step == 0:
                await socket.send(frames.step2(self.doc.get_update(data)))
            else:
                self.received += len(data)
                self._from_server = True
                try:
                    self.doc.apply_update(data)
                finally:
                    self._from_server = False
                self._synced = self._synced or step == 1
        elif kind == 1:
            await self._hear(frames.read_awareness(frame))
        elif kind == 102:
            self.saved_payloads.append(frames.read_var_bytes(frame, at)[0])
