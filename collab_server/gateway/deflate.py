"""permessage-deflate (RFC 7692) without context takeover in either direction.

Without context takeover a compressed payload depends on nothing but itself. So one compressed form serves all
members of a room, and an idle connection holds no zlib state.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

from collab_server.errors import CloseCode, PeerError
from collab_server.wire.frame import Frame

_NAME: Final = "permessage-deflate"
_TAIL: Final = b"\x00\x00\xff\xff"  # section 7.2.1: the sync marker that the sender strips
# A block marked as final may be followed by one empty block (section 7.2.3.5), then by the marker added here.
_AFTER_FINAL: Final = (_TAIL, b"\x00" + _TAIL)
_INCOMPRESSIBLE: Final = b""
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_WINDOW_BITS: Final = re.compile(r"(?:[89]|1[0-5])\Z")
_OFFERS_MAX: Final = 16  # offers beyond are not looked at; a browser makes one
WINDOW_BITS_MAX: Final = 15


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides agreed on.

    ``server_window_bits`` bounds how far back our compressed payloads may refer. A payload that is not
    longer than the window cannot refer further, so the bound is kept by sending longer ones uncompressed.
    """

    server_window_bits: int = WINDOW_BITS_MAX
    names_window: bool = False

    @property
    def header(self) -> str:
        """The value of ``Sec-WebSocket-Extensions`` in the response."""
        text = f"{_NAME}; server_no_context_takeover; client_no_context_takeover"
        return f"{text}; server_max_window_bits={self.server_window_bits}" if self.names_window else text


def negotiate(offers: str) -> Agreement | None:
    """The first acceptable offer of a ``Sec-WebSocket-Extensions`` header; None to go on without one."""
    for offer in offers.split(",")[:_OFFERS_MAX]:
        agreement = _judge(offer)
        if agreement is not None:
            return agreement
    return None


def _judge(offer: str) -> Agreement | None:
    """Accept one offer, or decline it: unknown, repeated or ill-valued parameters decline (section 7.1)."""
    name, *parameters = (part.strip() for part in offer.split(";"))
    if name.lower() != _NAME:
        return None
    seen: dict[str, str | None] = {}
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        key = key.strip().lower()
        if key in seen:
            return None
        seen[key] = value.strip().removeprefix('"').removesuffix('"') if equals else None
    for key, given in seen.items():
        if not _is_valid(key, given):
            return None
    bits = seen.get("server_max_window_bits")
    return Agreement() if bits is None else Agreement(int(bits), names_window=True)


def _is_valid(key: str, value: str | None) -> bool:
    match key:
        case "server_no_context_takeover" | "client_no_context_takeover":
            return value is None
        case "server_max_window_bits":
            return value is not None and _WINDOW_BITS.match(value) is not None
        case "client_max_window_bits":
            return value is None or _WINDOW_BITS.match(value) is not None
        case _:
            return False


def is_token(text: str) -> bool:
    """Whether ``text`` is an HTTP token (RFC 9110 section 5.6.2)."""
    return _TOKEN.match(text) is not None


def deflated(frame: Frame, level: int) -> bytes:
    """The compressed payload of ``frame``, made once and kept on it; empty when compressing does not pay."""
    if frame.deflated is None:
        packer = zlib.compressobj(level, zlib.DEFLATED, -WINDOW_BITS_MAX)
        packed = packer.compress(frame.data) + packer.flush(zlib.Z_SYNC_FLUSH)
        packed = packed[: -len(_TAIL)]
        frame.deflated = packed if len(packed) < len(frame.data) else _INCOMPRESSIBLE
    return frame.deflated


def inflate(payload: bytes | bytearray, bytes_max: int) -> bytes:
    """Undo the compression of one message; never holds more than ``bytes_max`` + 1 bytes of it.

    Raises:
        PeerError: 1009 when it is longer than ``bytes_max``, 1007 when it is not a deflate stream.
    """
    unpacker = zlib.decompressobj(-WINDOW_BITS_MAX)
    try:
        data = unpacker.decompress(bytes(payload) + _TAIL, bytes_max + 1)
    except zlib.error:
        raise PeerError("not a deflate stream", CloseCode.INVALID_PAYLOAD) from None
    if len(data) > bytes_max:
        raise PeerError("message is too big", CloseCode.TOO_BIG)
    if unpacker.eof and unpacker.unused_data not in _AFTER_FINAL:
        raise PeerError("bytes after the final block", CloseCode.INVALID_PAYLOAD)
    return data
