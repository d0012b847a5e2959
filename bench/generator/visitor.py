"""One who comes for a moment: to fill a room before the run, and to read it after."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final

import pycrdt

from bench.errors import BenchError
from bench.generator import dialects
from bench.generator.dialects import RoomDialect
from bench.generator.ledger import read_state_vector
from bench.generator.sources import open_socket
from bench.generator.websocket import WebSocketClient, client_frame
from bench.target import address_of

_PATIENCE_S: Final = 60.0
_RETRY_S: Final = 0.1
_REACH_S: Final = 10.0
_REST_SHARE: Final = 9.0
_REST_MAX_S: Final = 2.0
"""Who fills a room rests nine times as long as the server took: a tenth of it is for one client at most."""


class Visitor(WebSocketClient):
    """A connection that gets the whole document."""

    __slots__ = ("_answer", "_dialect", "_query", "_url", "closed", "document")

    def __init__(self, url: str, query: str, dialect: RoomDialect) -> None:
        super().__init__()
        self._url = url
        self._query = query
        self._dialect = dialect
        loop = asyncio.get_running_loop()
        self.document: asyncio.Future[bytes] = loop.create_future()
        """The answer to step 1."""
        self.closed: asyncio.Future[int] = loop.create_future()
        self._answer: asyncio.Future[None] | None = None

    def request_target(self) -> tuple[str, str]:
        """Where the room is."""
        host, port, path = address_of(self._url)
        return f"{host}:{port}", self._dialect.target(path, self._query)

    def on_open(self) -> None:
        """Ask for the document."""
        if self._dialect.greets:
            self.send(self._dialect.hello())
        else:
            self.send(self._dialect.step1(dialects.EMPTY_STATE_VECTOR))

    def on_message(self, message: bytes) -> None:
        """Wait for the answer."""
        try:
            kind, payload = self._dialect.read(message)
        except IndexError:
            return
        if kind == dialects.STEP_2 and not self.document.done():
            self.document.set_result(payload)
        elif kind == dialects.STEP_2 and self._answer is not None and not self._answer.done():
            self._answer.set_result(None)
        elif kind == dialects.STEP_1:
            self.send(self._dialect.step2(dialects.EMPTY_UPDATE))
        elif kind == dialects.WELCOME:
            self.send(self._dialect.step1(dialects.EMPTY_STATE_VECTOR))

    def on_closed(self, code: int) -> None:
        """Nothing more will come."""
        if not self.document.done():
            self.document.set_exception(ConnectionError(f"closed with {code}"))
            self.document.exception()  # nobody may be waiting for it
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"closed with {code}"))
        if not self.closed.done():
            self.closed.set_result(code)

    async def taken(self, state_vector: bytes) -> None:
        """Wait until the server has taken all that was sent: until it answers a step 1 behind it.

        OSError (also TimeoutError) when it does not.
        """
        if self.closed.done():
            raise ConnectionError(f"closed with {self.closed.result()}")
        self._answer = asyncio.get_running_loop().create_future()
        self.send(self._dialect.step1(state_vector))
        async with asyncio.timeout(_PATIENCE_S):
            await self._answer


async def visit(url: str, query: str, dialect: RoomDialect) -> Visitor:
    """Connect, and wait for the document. OSError (also TimeoutError) when there is none."""
    host, port, _ = address_of(url)
    loop = asyncio.get_running_loop()
    sock = open_socket(None)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await loop.sock_connect(sock, (host, port))
            _, visitor = await loop.create_connection(lambda: Visitor(url, query, dialect), sock=sock)
            await asyncio.shield(visitor.document)
    except BaseException:
        sock.close()
        raise
    return visitor


async def reach(url: str) -> None:
    """See that somebody listens where the server should be. BenchError where nobody does."""
    host, port, _ = address_of(url)
    sock = open_socket(None)
    try:
        async with asyncio.timeout(_REACH_S):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except TimeoutError:
        raise BenchError(f"{url} does not answer for {_REACH_S:g} s") from None
    except OSError as error:
        # A failed look-up of the name has a negative number, and a text of its own.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise BenchError(f"{url} cannot be reached: {why or error}") from None
    finally:
        sock.close()


async def leave(visitor: Visitor) -> None:
    """Say goodbye, and wait until it is heard."""
    visitor.close()
    await visitor.closed


async def read_document(url: str, query: str, dialect: RoomDialect) -> bytes:
    """The whole document of a room, as a newcomer gets it. OSError when it does not come."""
    visitor = await visit(url, query, dialect)
    document = visitor.document.result()
    await leave(visitor)
    return document


async def fill(url: str, query: str, dialect: RoomDialect, updates: list[bytes]) -> Visitor:
    """Write updates into a room, and wait until a newcomer is given them. Who wrote them stays for now.

    One update after the other, and slowly enough for a server that bounds what one client may ask of it.

    Raises:
        BenchError: It does not come to that.
    """
    state_vector = pycrdt.get_state(pycrdt.merge_updates(*updates))  # of one alone it begins at clock 0
    wanted = dict(read_state_vector(state_vector))
    try:
        visitor = await visit(url, query, dialect)
        for number, update in enumerate(updates):
            began = time.monotonic()
            visitor.send_frame(client_frame(dialect.update(update)))
            await visitor.taken(state_vector)
            if number + 1 < len(updates):
                await asyncio.sleep(min(_REST_MAX_S, _REST_SHARE * (time.monotonic() - began)))
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            state = dict(read_state_vector(pycrdt.get_state(await read_document(url, query, dialect))))
            if all(state.get(client, 0) >= clock for client, clock in wanted.items()):
                break
            if visitor.closed.done():
                raise BenchError(
                    f"the server closed the connection that fills a room: {visitor.closed.result()}"
                )
            if time.monotonic() > deadline:
                raise BenchError(
                    f"the server does not show what a room was filled with for {_PATIENCE_S:g} s"
                )
            await asyncio.sleep(_RETRY_S)
        return visitor
    except OSError as error:
        raise BenchError(f"a room cannot be filled: {error}") from None
