"""One connection to a Redis: commands out, replies in, in order. A thin layer over hiredis.

A general client costs four times as much for a command as what is done here, and in a pipeline up to twenty
times (``python -m bench.bus`` shows it), and the bus sends thousands a second. What the bus needs is little:
pipelines of packed commands, replies as bytes, and to notice soon when the other side has gone silent.

Source: the Redis serialization protocol (RESP2), redis.io/docs/latest/develop/reference/protocol-spec.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import hiredis

_RATE_MIN_BYTES_PER_S = 256 * 1024
"""A connection that is slower than this may be taken for dead while much is sent."""


class LinkError(Exception):
    """The connection cannot be had, or was lost, or has gone silent. One line, without secrets."""


Reply = bytes | int | None | list["Reply"] | hiredis.ReplyError
"""What one command is answered with. An error is a value here: a pipeline has many answers."""


def command(*words: bytes | str | int) -> bytes:
    """One command as it goes over the wire."""
    datas = [word if type(word) is bytes else str(word).encode() for word in words]
    return b"*%d\r\n" % len(datas) + b"".join([b"$%d\r\n%b\r\n" % (len(data), data) for data in datas])


@dataclass(slots=True)
class _Call:
    """A pipeline that waits for its answers."""

    answers_left: int
    answered: asyncio.Future[list[Reply]]
    answers: list[Reply]
    quiet_max_s: float


class Link(asyncio.Protocol):
    """A connected link. Calls may overlap; they are answered in order. Made by ``connect``."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._calls: deque[_Call] = deque()
        self._lost: LinkError | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._moved_at = 0.0
        self._unsent = 0

    async def call(self, commands: Sequence[bytes], quiet_max_s: float) -> list[Reply]:
        """Send a pipeline of commands made by ``command``, and wait for all answers.

        The link is given up when nothing moves on it, in either direction, for ``quiet_max_s``; for longer,
        if much was sent, because what the kernel has taken moves unseen.

        Raises:
            LinkError: The connection was lost; nobody knows which of the commands were carried out.
        """
        if self._lost is not None or self._transport is None:
            raise LinkError(str(self._lost or "not connected"))
        data = b"".join(commands) if len(commands) > 1 else commands[0]
        quiet_max_s += len(data) / _RATE_MIN_BYTES_PER_S
        call = _Call(len(commands), self._loop.create_future(), [], quiet_max_s)
        if not self._calls:
            self._moved_at = self._loop.time()
        self._calls.append(call)
        self._transport.write(data)
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(quiet_max_s, self._look)
        return await call.answered

    def abort(self, reason: str = "the connection was closed") -> None:
        """Drop the connection; whoever waits on it gets a LinkError."""
        self._fail(LinkError(reason))
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Some answers, or parts of them."""
        self._moved_at = self._loop.time()
        reader = self._reader
        try:
            reader.feed(data)
            while self._calls:
                call = self._calls[0]
                answers = call.answers
                while call.answers_left:
                    answer = reader.gets()
                    if answer is False:
                        return
                    answers.append(answer)
                    call.answers_left -= 1
                self._calls.popleft()
                if not call.answered.done():
                    call.answered.set_result(answers)
        except hiredis.ProtocolError as error:
            self.abort(f"what answers is no Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has ended the connection, or the network has."""
        self._fail(LinkError(f"the connection was lost: {exc}" if exc else "the connection was closed"))

    # -- inside

    def _fail(self, error: LinkError) -> None:
        if self._lost is None:
            self._lost = error
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        calls, self._calls = self._calls, deque()
        for call in calls:
            if not call.answered.done():
                call.answered.set_exception(LinkError(str(self._lost)))

    def _look(self) -> None:
        """Give the link up when nothing has moved on it for as long as its first caller is ready to wait."""
        self._watchdog = None
        if not self._calls or self._transport is None:
            return
        now = self._loop.time()
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._moved_at = now
        self._unsent = unsent
        quiet_max_s = self._calls[0].quiet_max_s
        left_s = self._moved_at + quiet_max_s - now
        if left_s <= 0:
            self.abort(f"no answer for {quiet_max_s:.3g} s")
            return
        # While much is unsent, look more often: only a look sees that it becomes less.
        self._watchdog = self._loop.call_later(min(left_s, 1.0) if unsent else left_s, self._look)


async def connect(host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float, path: str = "") -> Link:
    """A link to a server, or, with ``path``, to a Unix socket. Nothing is said on it yet.

    Raises:
        LinkError: Nobody answers there, or not in time, or TLS is refused.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            if path:
                _, link = await loop.create_unix_connection(Link, path)
            else:
                _, link = await loop.create_connection(Link, host, port, ssl=tls)
    except TimeoutError:
        raise LinkError(f"{path or f'{host}:{port}'} does not answer") from None
    except OSError as error:
        # Only the first line: for several addresses of one name there is one sentence each.
        raise LinkError(f"{path or f'{host}:{port}'} cannot be reached: {error}") from error
    return link
