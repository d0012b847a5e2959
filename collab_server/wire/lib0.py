"""The lib0 encoding under every Yjs message: var-ints, var-bytes and var-strings, with bounds.

Plain functions over ``(data, at)`` that return ``(value, next_at)``: a reader object would cost an
allocation for each message, and these are called for every keystroke. The layout is lib0's (``encoding.js``,
``decoding.js``): little-endian groups of seven bits, the eighth bit says that another group follows.

What comes in is strange until proved otherwise, so every reader refuses what runs past the end of the data.
"""

from __future__ import annotations

from collab_server.errors import MalformedError

VAR_UINT_MAX = 2**53 - 1
"""The largest integer that JavaScript holds exactly; lib0 refuses more (``errorIntegerOutOfRange``)."""

VAR_UINT_BYTES_MAX = 10
"""Groups accepted for one integer. Eight hold ``VAR_UINT_MAX``; no encoder pads beyond this."""


def read_var_uint(data: bytes, at: int) -> tuple[int, int]:
    """Read an unsigned integer.

    Raises:
        MalformedError: The data ends inside it, it exceeds ``VAR_UINT_MAX`` or takes more than
            ``VAR_UINT_BYTES_MAX`` bytes.
    """
    try:
        byte = data[at]
        if byte < 0x80:
            return byte, at + 1
        value = byte & 0x7F
        shift = 7
        end = at + VAR_UINT_BYTES_MAX
        at += 1
        while at < end:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > VAR_UINT_MAX:
                    raise MalformedError("integer out of range")
                return value, at
            shift += 7
    except IndexError:
        raise MalformedError("truncated integer") from None
    raise MalformedError("over-long integer")


def read_var_bytes(data: bytes, at: int, max_bytes: int = VAR_UINT_MAX) -> tuple[bytes, int]:
    """Read bytes with their length in front.

    Raises:
        MalformedError: The data ends inside them, or they are longer than ``max_bytes``.
    """
    length, at = read_var_uint(data, at)
    end = at + length
    if end > len(data):
        raise MalformedError("truncated bytes")
    if length > max_bytes:
        raise MalformedError("over-long bytes")
    return data[at:end], end


def read_var_string(data: bytes, at: int, max_bytes: int = VAR_UINT_MAX) -> tuple[str, int]:
    """Read a string: UTF-8 with its length in bytes in front.

    Raises:
        MalformedError: The data ends inside it, it takes more than ``max_bytes``, or it is not UTF-8. lib0
            would put replacement characters there; text that changes on its way is worse than no text.
    """
    raw, at = read_var_bytes(data, at, max_bytes)
    try:
        return raw.decode(), at
    except UnicodeDecodeError:
        raise MalformedError("string is not UTF-8") from None


_SMALL = tuple(bytes((n,)) for n in range(0x80))


def encode_var_uint(value: int) -> bytes:
    """Encode an unsigned integer in its shortest form; ValueError outside 0 to ``VAR_UINT_MAX``."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    if not 0 <= value <= VAR_UINT_MAX:
        raise ValueError(f"not a var-uint: {value}")
    out = bytearray()
    while value >= 0x80:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_var_bytes(raw: bytes) -> bytes:
    """Encode bytes with their length in front."""
    return encode_var_uint(len(raw)) + raw


def encode_var_string(text: str) -> bytes:
    """Encode a string as UTF-8 with its length in bytes in front; ValueError if it holds a lone surrogate."""
    return encode_var_bytes(text.encode())
