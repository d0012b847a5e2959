"""One WebSocket connection on picows: RFC 6455 in full, back-pressure, and a close that always ends.

The only file that imports picows. picows parses and unmasks frames in C; everything else is done here:

- picows joins no fragments, checks no text and has no compression: ``messages`` does that.
- What picows writes itself is only its answer to a broken frame. ``ParserEnd`` turns it into our own close,
  after the frames that came before the broken one.
- Frames are written by us and not through picows. Its ``send`` of over 8 KiB hands uvloop a view of a buffer
  that the next ``send`` overwrites, and it would make the bytes of a broadcast once for each member.

It knows no room and no dialect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, Protocol

from picows import WSAutoPingStrategy, WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # missing in its stub

from collab_server.errors import CloseCode, PeerError
from collab_server.gateway import rfc6455
from collab_server.gateway.deflate import WINDOW_BITS_MAX, Agreement, deflated
from collab_server.gateway.handshake import Request
from collab_server.gateway.keepalive import Keepalive
from collab_server.gateway.linger import Linger
from collab_server.gateway.messages import MessageJoiner
from collab_server.gateway.nap import Nap
from collab_server.gateway.observer import TransportObserver
from collab_server.gateway.parserend import SILENT, ParserEnd, feed, open_parser
from collab_server.gateway.settings import TransportSettings
from collab_server.wire.frame import Frame

__all__ = ["Request", "Socket", "SocketHandler"]

log = logging.getLogger(__name__)

_BINARY: Final = WSMsgType.BINARY
_TEXT: Final = WSMsgType.TEXT
_CONTINUATION: Final = WSMsgType.CONTINUATION
_CLOSE: Final = WSMsgType.CLOSE
_PING: Final = WSMsgType.PING
_OPCODES: Final = {_TEXT: rfc6455.TEXT, _BINARY: rfc6455.BINARY, _CONTINUATION: 0}

_PING_FRAME: Final = rfc6455.header(rfc6455.FIN | rfc6455.PING, 0)
_EMPTY_PONG: Final = bytes((rfc6455.FIN | rfc6455.PONG, 0x80))  # masked, no payload; the mask follows
_EMPTY_PONG_BYTES: Final = 6
_NAP_AFTER_S: Final = 2.0  # who types never naps
_COPY_BYTES_MAX: Final = 4096  # up to here one copied buffer is cheaper for the loop than two


class _Nobody(asyncio.Protocol):
    """Hears nothing. uvloop keeps a protocol's method: this one is the same object for all transports."""

    __slots__ = ()

    @staticmethod
    def data_received(_data: bytes) -> None:
        """Nothing."""


_NOBODY: Final = _Nobody()


class SocketHandler(Protocol):
    """What a connection's owner is told. All calls come from the event loop, one at a time and in order.

    A ``PeerError`` raised by any of them closes the connection with its code and reason; any other
    exception is logged and closes it with 1011. ``on_open`` comes first; nothing comes after ``on_close``.
    """

    def on_open(self, socket: Socket) -> None:
        """The handshake is done; the socket may be used."""

    def on_binary(self, data: bytes) -> None:
        """A whole binary message."""

    def on_text(self, text: str) -> None:
        """A whole text message."""

    def on_full(self) -> None:
        """More than the high-water mark waits to be sent. May be called from inside ``send``."""

    def on_drained(self) -> None:
        """After ``on_full``: less than the low-water mark waits now."""

    def on_close(self, code: int, clean: bool) -> None:
        """The end; exactly once for each ``on_open``, never from inside the handler's own calls.

        ``code`` is the peer's code if it closed first (1005: it gave none), ours if we did, and 1006 if the
        connection was lost. ``clean``: a close frame came from the peer.
        """


class Home(Protocol):
    """What all sockets of a server share."""

    settings: TransportSettings
    observer: TransportObserver
    keepalive: Keepalive[Socket]
    loop: asyncio.AbstractEventLoop

    def forget(self, socket: Socket) -> None:
        """The TCP connection is gone."""


class _State(IntEnum):
    OPEN = 0
    CLOSING = 1  # our close frame is out, the peer's is awaited
    ENDED = 2  # frames are not read any more; what is left is the end of the TCP connection


class Socket(WSListener, Nap):
    """One open connection.

    All methods are to be called in the event loop. Sending to a socket that is closing or closed does
    nothing.
    """

    __slots__ = (
        "_close_timer",
        "_code",
        "_data_at",
        "_deflate_max",
        "_empty_room",
        "_full_since",
        "_grown",
        "_handler",
        "_has_failed",
        "_heard",
        "_home",
        "_inflates",
        "_is_paused",
        "_joiner",
        "_parser",
        "_parser_end",
        "_parser_room",
        "_state",
        "_transport",
        "request",
    )

    def __init__(
        self, home: Home, transport: asyncio.Transport, request: Request, agreement: Agreement | None
    ) -> None:
        self.request = request
        self._home = home
        self._transport = transport
        self._handler: SocketHandler | None = None
        self._state = _State.OPEN
        self._code = rfc6455.ABNORMAL
        self._heard = True
        self._data_at = home.loop.time()
        self._full_since: float | None = None
        self._is_paused = False
        self._grown = False
        self._has_failed = False
        self._close_timer: asyncio.TimerHandle | None = None
        self._joiner: MessageJoiner | None = None
        self._inflates = agreement is not None
        self._deflate_max = deflate_bytes_max(agreement, home.settings)
        self._parser: asyncio.BufferedProtocol | None = None
        self._parser_end: ParserEnd | None = None
        self._parser_room = self._empty_room = 0
        transport.set_write_buffer_limits(
            home.settings.send_high_water_bytes, home.settings.send_low_water_bytes
        )

    # -- for the owner of the connection

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self._state is _State.OPEN

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait in this process to be sent (the kernel's buffer is not counted)."""
        return self._transport.get_write_buffer_size()

    def send(self, frame: Frame) -> None:
        """Send one binary message; the frame may be shared with other sockets.

        It is handed to the kernel at once, as far as that takes it. Past ``send_buffer_bytes_max`` the
        connection is closed with 1013 instead.
        """
        if self._state is not _State.OPEN:
            return
        data = frame.data
        size = len(data)
        if self._deflate_max >= size >= self._home.settings.deflate_from_bytes:
            packed = deflated(frame, self._home.settings.deflate_level)
            if packed:
                self._write(rfc6455.FIN | rfc6455.RSV1 | rfc6455.BINARY, packed)
                return
        if size > _COPY_BYTES_MAX or self._full_since is not None:
            self._write(rfc6455.FIN | rfc6455.BINARY, data)
            return
        wire = frame.wire
        if wire is None:
            wire = frame.wire = rfc6455.binary_header(size) + data
        self._transport.write(wire)

    def send_text(self, text: str) -> None:
        """Send one text message, never compressed."""
        if self._state is _State.OPEN:
            self._write(rfc6455.FIN | rfc6455.TEXT, text.encode())

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin the close handshake. ``on_close`` comes with the peer's answer, or after the timeout."""
        if self._state is not _State.OPEN:
            return
        self._state = _State.CLOSING
        self._write_close(code, reason)
        self.resume_reading()
        self._cut_later()

    def abort(self) -> None:
        """Cut the connection now, without a close frame; what waits to be sent is dropped."""
        self._state = _State.ENDED
        self._transport.abort()

    def pause_reading(self) -> None:
        """Take no more from the peer; what was received already may still be delivered."""
        if not self._is_paused and self._state is _State.OPEN and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo ``pause_reading``."""
        if self._is_paused:
            self._is_paused = False
            self._heard = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # -- for the keepalive wheel

    def take_heard(self, now: float) -> bool:
        """Whether anything was received since the last call, be it a part of a frame.

        A client in the middle of a long frame cannot answer a ping; what shows it is the parser's buffer.
        """
        room = self._unread_room()
        if room != self._parser_room:
            self._parser_room = room
            self._heard = True
            self._data_at = now
        heard, self._heard = self._heard, False
        return heard

    def nap(self, now: float) -> bool:
        """Let go of the parser if the connection has been quiet and is in the middle of nothing.

        True if there is no parser any more.
        """
        if self._parser is None or self._state is not _State.OPEN:
            return True
        if now - self._data_at < _NAP_AFTER_S or self._unread_room() != self._empty_room:
            return False
        self._drop_parser()
        self._parser_room = 0
        self._transport.set_protocol(self)
        return True

    def is_reading(self) -> bool:
        """Whether silence is the peer's fault."""
        return self._state is _State.OPEN and not self._is_paused

    def data_age_s(self, now: float) -> float:
        """Time since the last data message."""
        return now - self._data_at

    def stalled_s(self, now: float) -> float:
        """For how long more than the high-water mark has been waiting; 0 when it is not."""
        return 0.0 if self._full_since is None or self._state is not _State.OPEN else now - self._full_since

    def ping(self) -> None:
        """Send a ping without payload."""
        self._transport.write(_PING_FRAME)

    def give_up(self, error: PeerError) -> None:
        """Close for the peer's silence or slowness."""
        self._fail(error.close_code, error.reason)

    # -- the way in: called by picows, and by whoever accepted the connection

    def begin(self, handler: SocketHandler, pipelined: bytes) -> asyncio.BaseProtocol:
        """Start: the 101 answer is out. ``pipelined`` is what came behind the request head.

        Sets the protocol of the transport, and returns it for those who must set it again.
        """
        self._handler = handler
        self._home.observer.opened()
        # uvloop keeps the last unbuffered protocol of a transport for good: let that be nobody, and not a
        # whole HTTP protocol for each idle connection.
        self._transport.set_protocol(_NOBODY)
        self._transport.set_protocol(self)
        try:
            handler.on_open(self)
        except PeerError as error:
            self._fail(error.close_code, error.reason)
        except Exception:
            log.exception("a socket's handler failed")
            self._fail(CloseCode.INTERNAL_ERROR, "internal error")
        feed(self._transport, pipelined)
        return self._transport.get_protocol()

    def wake(self, data: bytes) -> None:
        """The first bytes after a nap. An answer to a ping does not end it."""
        if len(data) == _EMPTY_PONG_BYTES and data.startswith(_EMPTY_PONG):
            self._heard = True
            return
        self._set_parser()
        self._home.keepalive.awake(self)
        feed(self._transport, data)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One whole frame, unmasked; picows has checked opcode, masking, length form and frame size."""
        self._heard = True
        if self._state is not _State.OPEN:
            if self._state is _State.CLOSING and frame.msg_type is _CLOSE:
                self._end_reading()
                self._finish(self._code, clean=True, by_server=True)
            return
        try:
            self._receive(frame)
        except PeerError as error:
            self._fail(error.close_code, error.reason)
        except Exception:
            log.exception("a socket's handler failed")
            self._fail(CloseCode.INTERNAL_ERROR, "internal error")
        keep_bytes = self._home.settings.read_buffer_keep_bytes
        if frame.payload_size > keep_bytes or frame.tail_size > keep_bytes:
            self._grown = True
        if self._grown and frame.last_in_buffer and not frame.tail_size and self._state is _State.OPEN:
            self._grown = False
            self._set_parser()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The TCP connection is gone."""
        self.lost()

    def pause_writing(self) -> None:
        """The high-water mark was crossed."""
        if self._full_since is None:
            self._full_since = self._home.loop.time()
            if self._handler is not None and self._state is _State.OPEN:
                self._guard(self._handler.on_full)

    def resume_writing(self) -> None:
        """The low-water mark was reached."""
        if self._full_since is not None:
            self._full_since = None
            if self._handler is not None and self._state is _State.OPEN:
                self._guard(self._handler.on_drained)

    def parser_failed(self, code: int, reason: str) -> None:
        """A broken frame. picows still delivers the one before it, so this waits for the loop's next turn."""
        if not self._has_failed and self._state is not _State.ENDED:
            self._has_failed = True
            self._home.loop.call_soon(self._fail, code, reason)

    def lost(self) -> None:
        """The TCP connection is gone; called once."""
        by_server = self._state is not _State.OPEN
        self._state = _State.ENDED
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._drop_parser()
        self._joiner = None
        self._home.forget(self)
        self._finish(self._code, clean=False, by_server=by_server)

    def _receive(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if frame.rsv2 or frame.rsv3:
            raise rfc6455.violation("reserved bit")
        if kind is _BINARY or kind is _TEXT or kind is _CONTINUATION:
            self._data_at = self._home.loop.time()
            handler = self._handler
            if handler is None:
                return
            if kind is _BINARY and self._joiner is None and frame.fin and not frame.rsv1:
                handler.on_binary(frame.get_payload_as_bytes())
            else:
                self._receive_part(handler, kind, frame)
            return
        if frame.rsv1:
            raise rfc6455.violation("reserved bit")
        if kind is _PING:
            # A peer that sends pings and reads nothing must not fill the buffer with pongs (section 5.5.3
            # allows to answer only the latest).
            if self._full_since is None:
                payload = frame.get_payload_as_bytes()
                self._transport.write(rfc6455.header(rfc6455.FIN | rfc6455.PONG, len(payload)) + payload)
        elif kind is _CLOSE:
            self._receive_close(frame.get_payload_as_bytes())

    def _receive_part(self, handler: SocketHandler, kind: WSMsgType, frame: WSFrame) -> None:
        """Take what is not a whole binary message as it is: a fragment, text, or something compressed."""
        joiner = self._joiner
        if joiner is None:
            settings = self._home.settings
            joiner = self._joiner = MessageJoiner(
                settings.message_bytes_max, settings.fragments_max, inflates=self._inflates
            )
        payload = frame.get_payload_as_bytes()
        message = joiner.feed(_OPCODES[kind], payload, fin=bool(frame.fin), rsv1=bool(frame.rsv1))
        if message is None:
            return
        self._joiner = None
        if isinstance(message, bytes):
            handler.on_binary(message)
        else:
            handler.on_text(message)

    def _receive_close(self, payload: bytes) -> None:
        """The peer begins the close handshake: answer with its own code (section 5.5.1) and be done."""
        code, _ = rfc6455.decode_close(payload)
        self._write_close(code, "")
        self._end_reading()
        self._finish(code, clean=True, by_server=False)

    # -- the way out

    def _write(self, first_byte: int, payload: bytes) -> None:
        size = len(payload)
        transport = self._transport
        if (
            self._full_since is not None
            and transport.get_write_buffer_size() + size > self._home.settings.send_buffer_bytes_max
        ):
            self._overflow()
        elif size <= _COPY_BYTES_MAX:
            transport.write(rfc6455.header(first_byte, size) + payload)
        else:
            transport.writelines((rfc6455.header(first_byte, size), payload))

    def _write_close(self, code: int, reason: str) -> None:
        self._code = code
        payload = rfc6455.encode_close(code, reason)
        self._transport.write(rfc6455.header(rfc6455.FIN | rfc6455.CLOSE, len(payload)) + payload)

    # -- the end

    def _overflow(self) -> None:
        """The peer reads too slowly. This may be inside a broadcast, so the handler hears of it later."""
        self.close(CloseCode.OVERLOADED, "reads too slowly")
        self._home.loop.call_soon(self._finish, self._code, False, True)

    def _fail(self, code: int, reason: str) -> None:
        """Section 7.1.7: send a close frame, read no more frames, tell the handler."""
        if self._state is _State.ENDED:
            return
        if self._state is _State.OPEN:
            self._write_close(code, reason)
        self._end_reading()
        self._finish(self._code, clean=False, by_server=True)

    def _end_reading(self) -> None:
        """Read no more frames; see ``Linger`` for what follows."""
        self._state = _State.ENDED
        transport = self._transport
        if transport.is_closing():
            # The peer is gone, or takes nothing of what waits for it.
            self._cut_later()
            return
        self.resume_reading()
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._drop_parser()
        Linger(transport, self._home.settings.close_timeout_s, self.lost)

    def _cut_later(self) -> None:
        if self._close_timer is None:
            loop, timeout_s = self._home.loop, self._home.settings.close_timeout_s
            self._close_timer = loop.call_later(timeout_s, self._transport.abort)

    def _finish(self, code: int, clean: bool, by_server: bool) -> None:  # call_soon hands it by position
        handler, self._handler = self._handler, None
        if handler is None:
            return
        self._home.observer.closed(code, clean=clean, by_server=by_server)
        try:
            handler.on_close(code, clean)
        except Exception:
            log.exception("a socket's handler failed in on_close")

    def _guard(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call the handler; what it raises ends this connection, but later: this may be inside ``send``."""
        try:
            call(*arguments)
        except PeerError as error:
            self._home.loop.call_soon(self._fail, error.close_code, error.reason)
        except Exception:
            log.exception("a socket's handler failed")
            self._home.loop.call_soon(self._fail, CloseCode.INTERNAL_ERROR, "internal error")

    def _unread_room(self) -> int:
        """How much the parser's buffer takes; less than at first while it holds a part of a frame."""
        return 0 if self._parser is None else len(memoryview(self._parser.get_buffer(-1)))

    def _drop_parser(self) -> None:
        if self._parser_end is not None:
            self._parser_end.socket = None
        self._parser = self._parser_end = None

    def _set_parser(self) -> None:
        """Read through a new picows protocol, past its handshake, with a read buffer of the first size."""
        self._drop_parser()
        settings = self._home.settings
        protocol: asyncio.BufferedProtocol = WSProtocol(
            None,  # host and port: of a client
            None,  # path: of a client
            False,  # is_client_side
            lambda _request: self,
            SILENT,
            True,  # disconnect_on_exception
            None,  # handshake timeout: the handshake is done
            False,  # auto ping: the keepalive wheel does it
            0,
            0,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # auto pong: bounded here
            settings.message_bytes_max,
            None,  # extra headers
            settings.read_buffer_bytes,
        )
        end = ParserEnd()
        open_parser(protocol, end)
        end.socket = self
        self._parser, self._parser_end = protocol, end
        self._parser_room = self._empty_room = self._unread_room()
        self._transport.set_protocol(protocol)


def deflate_bytes_max(agreement: Agreement | None, settings: TransportSettings) -> int:
    """The longest payload that may be compressed for this peer; -1 if none."""
    if agreement is None:
        return -1
    if agreement.server_window_bits == WINDOW_BITS_MAX:
        return settings.deflate_up_to_bytes
    return min(settings.deflate_up_to_bytes, 1 << agreement.server_window_bits)
