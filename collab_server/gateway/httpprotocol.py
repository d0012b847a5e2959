"""HTTP on the public port: uvicorn's own protocol with the bounds that it lacks.

They are the length of a request's head, the time for it, and how fast its body comes and its answer is read.
Also, uvicorn drops bytes that come behind an upgrade request in the same segment, so that a client that does
not wait for the answer would lose its first frames; here it loses none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from collab_server.gateway.handshake import HandshakeError, http_error
from collab_server.gateway.observer import TransportObserver
from collab_server.gateway.progress import Progress
from collab_server.gateway.settings import TransportSettings


class Home(Protocol):
    """What the protocol needs of those who own the port (``gateway.upgrade``)."""

    settings: TransportSettings
    observer: TransportObserver

    def accept(self, transport: asyncio.Transport, head: bytes, pipelined: bytes) -> object:
        """Take over a connection whose request asks for a WebSocket."""
        ...

    def refuse(
        self, transport: asyncio.Transport, status: HTTPStatus, response: bytes, on_lost: Callable[[], None]
    ) -> object:
        """Answer, and end the connection."""
        ...


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds on what a request may cost, and an upgrade that loses no byte."""

    home: Home

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._is_in_head = False
        self._is_in_message = False
        self._heads_begun = 0
        self._refusal: tuple[HTTPStatus, str] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._cycles: deque[Any] = deque()
        """Requests that are being served, or wait for those before them."""
        self._progress: Progress | None = None
        self._look_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first head."""
        super().connection_made(transport)
        if len(self.connections) > self.home.settings.http_connections_max:
            self.home.observer.refused(HTTPStatus.SERVICE_UNAVAILABLE.value)
            transport.abort()
            return
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_clock()
        self._stop_looking()
        for cycle in self._cycles:
            # uvicorn tells the newest request only: others would go on to write to nobody.
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, and counts the bytes of a head that is not yet whole: its parser has no bound."""
        self._unset_keepalive_if_required()
        is_all_head = self._is_in_head or not self._is_in_message
        self._heads_begun = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (HTTPStatus.BAD_REQUEST, "Invalid HTTP request received.")))
            return
        if self._is_in_head and is_all_head and self._heads_begun <= 1:
            self._head_bytes += len(data)
            if self._head_bytes > self.home.settings.head_bytes_max:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too long")
        elif self._is_in_message and not self._is_in_head:
            self._watch()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._progress is not None:
            self._progress.received(len(body))
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The application has said all; the client may not have read it."""
        while self._cycles and self._cycles[0].response_complete:
            self._cycles.popleft()
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch()

    def pause_writing(self) -> None:
        """The client reads more slowly than the application speaks."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._progress is not None:
            self._progress.drained()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._is_in_head = self._is_in_message = True
        self._heads_begun += 1
        self._head_bytes = 0
        self._start_clock()

    def on_message_complete(self) -> None:
        """The body is whole too."""
        self._is_in_message = False
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        super().on_url(url)
        if len(self.url) > self.home.settings.request_line_bytes_max:
            self._stop_parser(HTTPStatus.REQUEST_URI_TOO_LONG, "the request target is too long")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_in_head = False
        self._stop_clock()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.home.settings.head_bytes_max:
            self._stop_parser(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too long")
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self._cycles.append(self.cycle)

    def _upgrade(self, pipelined: bytes) -> None:
        if not self._should_upgrade():
            self._unsupported_upgrade_warning()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._refuse(HTTPStatus.BAD_REQUEST, "an upgrade must wait for the answer before it")
            return
        self.connections.discard(self)
        self._stop_looking()
        version = self.scope["http_version"].encode()
        lines = [b"%b %b HTTP/%b" % (self.scope["method"].encode(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers]
        # The parser holds this protocol's methods: else the pair would live until the collector comes.
        self.parser = None  # type: ignore[assignment]  # as uvicorn does at the end
        self.home.accept(self.transport, b"\r\n".join(lines) + b"\r\n\r\n", pipelined)

    def _stop_parser(self, status: HTTPStatus, reason: str) -> None:
        """From inside a callback of the parser: an exception is what stops it."""
        self._refusal = (status, reason)
        raise HandshakeError(status, reason)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._stop_clock()
        self._stop_looking()
        self.home.refuse(
            self.transport, status, http_error(status, reason), lambda: self.connection_lost(None)
        )

    def _watch(self) -> None:
        """Look now and then whether bodies move, until there is none."""
        if self._progress is None:
            settings = self.home.settings
            self._progress = Progress(
                settings.http_body_bytes_min_per_s, settings.stall_timeout_s, self.loop.time()
            )
            self._look_again()

    def _look_again(self) -> None:
        settings = self.home.settings
        interval_s = min(settings.head_timeout_s, settings.stall_timeout_s or settings.head_timeout_s)
        self._look_timer = self.loop.call_later(interval_s, self._look)

    def _stop_looking(self) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None

    def _look(self) -> None:
        progress, self._look_timer = self._progress, None
        assert progress is not None  # noqa: S101 - it began with one
        in_body = self._is_in_message and not self._is_in_head
        wants_body = in_body and not self.flow.read_paused
        unsent_bytes = self.transport.get_write_buffer_size()
        if progress.stands_still(
            self.cycle, self.loop.time(), wants_body=wants_body, unsent_bytes=unsent_bytes
        ):
            self.home.observer.refused(HTTPStatus.REQUEST_TIMEOUT.value)
            self.transport.abort()
        elif in_body or unsent_bytes:
            self._look_again()
        else:
            self._progress = None

    def _start_clock(self) -> None:
        self._stop_clock()
        self._head_timer = self.loop.call_later(self.home.settings.head_timeout_s, self._head_is_late)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request head took too long")
