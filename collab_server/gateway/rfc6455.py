"""The rules of RFC 6455 that are pure: frame headers, close payloads, UTF-8 across fragments.

Knows no socket and no picows. A broken rule is a ``PeerError`` that carries the close code of section 7.4.1.
"""

from __future__ import annotations

import codecs
from typing import Final

from collab_server.errors import CloseCode, PeerError

FIN: Final = 0x80
RSV1: Final = 0x40
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

CONTROL_BYTES_MAX: Final = 125
"""Section 5.5: the longest payload of a control frame."""

NO_STATUS: Final = 1005
"""Section 7.4.1: stands for a close frame without a code; never on the wire."""

ABNORMAL: Final = 1006
"""Section 7.4.1: stands for a connection that ended without a close frame; never on the wire."""

# 1004, 1005, 1006 and 1015 are reserved and must not be sent; 1012-1014 are in the IANA registry.
_CODES_ON_THE_WIRE: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

_SHORT_BINARY: Final = tuple(bytes((FIN | BINARY, size)) for size in range(126))


def violation(reason: str) -> PeerError:
    """A broken framing rule: 1002."""
    return PeerError(reason, CloseCode.PROTOCOL_ERROR)


def header(first_byte: int, size: int) -> bytes:
    """The header of an unmasked frame (section 5.2), with the length in its shortest form."""
    if size < 126:
        return bytes((first_byte, size))
    if size < 0x10000:
        return bytes((first_byte, 126, size >> 8, size & 0xFF))
    return bytes((first_byte, 127)) + size.to_bytes(8, "big")


def binary_header(size: int) -> bytes:
    """The header of an unfragmented binary message; from a table where it is short."""
    return _SHORT_BINARY[size] if size < 126 else header(FIN | BINARY, size)


def is_close_code(code: int) -> bool:
    """Whether ``code`` may be on the wire (section 7.4 and the IANA registry)."""
    return code in _CODES_ON_THE_WIRE or 3000 <= code <= 4999


def encode_close(code: int, reason: str) -> bytes:
    """The payload of a close frame; the reason is cut at a character so that it fits a control frame."""
    if code == NO_STATUS:
        return b""
    text = reason.encode("utf-8", "replace")
    if len(text) > CONTROL_BYTES_MAX - 2:
        text = text[: CONTROL_BYTES_MAX - 2].decode("utf-8", "ignore").encode()
    return code.to_bytes(2, "big") + text


def decode_close(payload: bytes) -> tuple[int, str]:
    """The code and reason of a peer's close frame.

    Raises:
        PeerError: 1002 for a half or forbidden code, 1007 for a reason that is not UTF-8.
    """
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise violation("half a close code")
    code = int.from_bytes(payload[:2], "big")
    if not is_close_code(code):
        raise violation("forbidden close code")
    return code, decode_text(payload[2:])


def decode_text(payload: bytes) -> str:
    """Strict UTF-8 (section 8.1). Raises ``PeerError`` 1007."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise bad_text() from None


def bad_text() -> PeerError:
    """Text that is not UTF-8: 1007."""
    return PeerError("text is not UTF-8", CloseCode.INVALID_PAYLOAD)


class TextCheck:
    """UTF-8 of a fragmented text, judged as it comes: it fails at its first bad fragment."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")

    def feed(self, part: bytes) -> None:
        """Take the next part. Raises ``PeerError`` 1007 as soon as no continuation can be valid."""
        try:
            self._decoder.decode(part)
        except UnicodeDecodeError:
            raise bad_text() from None
