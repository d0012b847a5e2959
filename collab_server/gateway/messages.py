"""From frames to messages: joins fragments, inflates, and checks what RFC 6455 sections 5.4 and 8.1 ask for.

Pure: takes the parts of data frames in order, returns whole messages. Control frames do not come here; they
may stand between the fragments of a message.
"""

from __future__ import annotations

from typing import Final

from collab_server.errors import CloseCode, PeerError
from collab_server.gateway import rfc6455
from collab_server.gateway.deflate import inflate

CONTINUATION: Final = 0


class MessageJoiner:
    """The message that a connection is in the middle of, if any.

    Bounded: the joined (and the inflated) bytes by ``bytes_max``, the number of frames by
    ``fragments_max``. After an error it must not be used again.
    """

    __slots__ = (
        "_bytes_max",
        "_check",
        "_count",
        "_fragments_max",
        "_inflates",
        "_opcode",
        "_packed",
        "_parts",
    )

    def __init__(self, bytes_max: int, fragments_max: int, *, inflates: bool) -> None:
        self._bytes_max = bytes_max
        self._fragments_max = fragments_max
        self._inflates = inflates
        self._opcode = CONTINUATION
        self._packed = False
        self._count = 0
        self._parts = bytearray()
        self._check: rfc6455.TextCheck | None = None

    @property
    def is_open(self) -> bool:
        """Whether the next data frame must be a continuation."""
        return self._opcode != CONTINUATION

    def feed(self, opcode: int, part: bytes, *, fin: bool, rsv1: bool) -> bytes | str | None:
        """Take one data frame; return the message that it completes (text as ``str``), or None.

        Raises:
            PeerError: 1002 for a wrong order or reserved bit, 1007 for bad text or compression, 1009 for
            too much.
        """
        if opcode == CONTINUATION:
            if not self.is_open:
                raise rfc6455.violation("continuation of nothing")
            if rsv1:
                raise rfc6455.violation("compression bit on a continuation")
        else:
            self._begin(opcode, rsv1=rsv1)
        if fin and not self._count:
            self._opcode = CONTINUATION
            return self._whole(opcode, part)
        self._append(part)
        return self._end() if fin else None

    def _begin(self, opcode: int, *, rsv1: bool) -> None:
        if self.is_open:
            raise rfc6455.violation("new message inside another")
        if rsv1 and not self._inflates:
            raise rfc6455.violation("reserved bit")
        self._opcode = opcode
        self._packed = rsv1
        self._count = 0

    def _append(self, part: bytes) -> None:
        self._count += 1
        if self._count > self._fragments_max:
            raise PeerError("too many fragments", CloseCode.TOO_BIG)
        if len(self._parts) + len(part) > self._bytes_max:
            raise PeerError("message is too big", CloseCode.TOO_BIG)
        self._parts += part
        if self._opcode == rfc6455.TEXT and not self._packed:
            if self._check is None:
                self._check = rfc6455.TextCheck()
            self._check.feed(part)

    def _end(self) -> bytes | str:
        opcode, joined = self._opcode, bytes(self._parts)
        self._opcode = CONTINUATION
        self._count = 0
        self._parts = bytearray()
        self._check = None
        return self._whole(opcode, joined)

    def _whole(self, opcode: int, data: bytes) -> bytes | str:
        if self._packed:
            data = inflate(data, self._bytes_max)
        return rfc6455.decode_text(data) if opcode == rfc6455.TEXT else data
