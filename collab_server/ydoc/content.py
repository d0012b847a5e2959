"""Skip over the content of a struct, and refuse what a Yjs client would choke on.

Contents by reference number (yjs ``src/structs/Item.js``, ``contentRefs``): 1 Deleted, 2 JSON, 3 Binary, 4
String, 5 Embed, 6 Format, 7 Type, 8 Any, 9 Doc. Nothing is decoded into a value that outlives the check: what
one client wrote is passed on as it is. But it is checked, because a string that is not UTF-8 or text that is
not JSON throws in every client that reads it, on each load, for ever.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from collab_server.errors import MalformedError
from collab_server.wire.lib0 import read_var_uint
from collab_server.ydoc.bounds import Bounds

DELETED, JSON, BINARY, STRING, EMBED, FORMAT, TYPE, ANY, DOC = range(1, 10)
GC = 0
SKIP = 10

_TYPE_REFS_WITH_NAME = (3, 5)
"""XmlElement carries its node name, XmlHook its key (yjs ``src/structs/ContentType.js``)."""
_TYPE_REF_MAX = 6
_ANY_UNDEFINED, _ANY_NULL, _ANY_INTEGER, _ANY_FLOAT32, _ANY_FLOAT64, _ANY_BIGINT = (
    127,
    126,
    125,
    124,
    123,
    122,
)
_ANY_FALSE, _ANY_TRUE, _ANY_STRING, _ANY_OBJECT, _ANY_ARRAY, _ANY_BYTES = 121, 120, 119, 118, 117, 116

_COMMON_JSON = frozenset((b"null", b"true", b"false", b"{}", b'""', b"[]"))
_JSON_SHAPE = re.compile(r'"(?:[^"\\]+|\\.)*+"|[\[\]{},]', re.DOTALL)
"""Strings, so that what is inside of them is passed over, and the signs that give the value its shape."""

_TRUSTED_DEPTH_MAX = 2**31


def utf16_length(raw: bytes) -> int:
    """How many UTF-16 units a UTF-8 string has, which is what Yjs counts.

    Raises:
        MalformedError: It is not UTF-8.
    """
    if raw.isascii():
        return len(raw)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise MalformedError("string is not UTF-8") from None
    return len(text.encode("utf-16-le")) >> 1


def skip_string(data: bytes, at: int) -> int:
    """The position after a string; raises MalformedError when it is not UTF-8."""
    length, at = read_var_uint(data, at)
    end = at + length
    raw = data[at:end]
    if not raw.isascii():
        utf16_length(raw)
    return end


def _skip_json(data: bytes, at: int, bounds: Bounds | None, undefined_too: bool = False) -> int:
    length, at = read_var_uint(data, at)
    end = at + length
    if bounds is not None:
        raw = data[at:end]
        if raw not in _COMMON_JSON and not (undefined_too and raw == b"undefined"):
            check_json(raw, bounds)
    return end


def check_json(raw: bytes, bounds: Bounds) -> None:
    """Refuse what ``JSON.parse`` would throw on, and what is nested too deep or has too many values.

    Raises:
        MalformedError: One of these.
    """
    try:
        text = raw.decode()
        brackets = text.count("[") + text.count("{")
        if brackets > bounds.nesting_depth_max or brackets + text.count(",") >= bounds.json_values_max:
            _check_json_shape(text, bounds)
        # int() would refuse numbers of more than 4300 digits, which are JSON all the same
        json.loads(text, parse_int=float, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MalformedError("content is not JSON") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_json_shape(text: str, bounds: Bounds) -> None:
    depth = values = 0
    for match in _JSON_SHAPE.finditer(text):
        sign = match[0]
        if sign == "," or sign in "[{":
            values += 1
            if values >= bounds.json_values_max:
                raise MalformedError("content of too many values")
        if sign in "[{":
            depth += 1
            if depth > bounds.nesting_depth_max:
                raise MalformedError("content nested too deep")
        elif sign in "]}":
            depth -= 1


def skip_any(  # noqa: C901, PLR0912 - a table of tags
    data: bytes, at: int, depth_max: int
) -> int:
    """The position after one value of lib0's "any" encoding (lib0 ``decoding.js``, ``readAny``).

    Iterates with a stack of its own, so that depth costs no recursion. May run past the end of ``data`` when
    a length does; the caller notices when it has read everything.

    Raises:
        MalformedError: An unknown tag, a string that is not UTF-8, or nested deeper than ``depth_max``.
    """
    # One entry for each open array (values still to come, 1 or more) or object (the same, negative).
    stack: list[int] = []
    while True:
        tag = data[at]
        at += 1
        if tag == _ANY_STRING:
            at = skip_string(data, at)
        elif tag == _ANY_INTEGER:
            at = _skip_integer(data, at)
        elif tag in (_ANY_OBJECT, _ANY_ARRAY):
            count, at = read_var_uint(data, at)
            if count:
                if len(stack) >= depth_max:
                    raise MalformedError("content nested too deep")
                if tag == _ANY_ARRAY:
                    stack.append(count)
                else:
                    stack.append(-count)
                    at = skip_string(data, at)
                continue
            if depth_max < 1:
                raise MalformedError("content nested too deep")
        elif tag == _ANY_BYTES:
            length, at = read_var_uint(data, at)
            at += length
        elif tag in (_ANY_FLOAT64, _ANY_BIGINT):
            at += 8
        elif tag == _ANY_FLOAT32:
            at += 4
        elif tag not in (_ANY_UNDEFINED, _ANY_NULL, _ANY_TRUE, _ANY_FALSE):
            raise MalformedError("unknown kind of value")
        while stack:
            left = stack[-1]
            if left > 1:
                stack[-1] = left - 1
                break
            if left < -1:
                stack[-1] = left + 1
                at = skip_string(data, at)
                break
            stack.pop()
        if not stack:
            return at


def _skip_integer(data: bytes, at: int) -> int:
    """Skip a signed var-int: six bits in the first byte, seven in each further one."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return at
    rest, at = read_var_uint(data, at)
    if rest >> 47:
        raise MalformedError("integer out of range")
    return at


def read_content(data: bytes, at: int, ref: int, bounds: Bounds | None) -> tuple[int, int, int]:
    """Check one content: its length in clock ticks, where its body begins (after a count), and where it ends.

    Without bounds the content has been checked before, and is only measured.

    The end may lie past the end of ``data`` when a length does; the caller notices when it has read
    everything.

    Raises:
        MalformedError: Whatever a Yjs client could not read.
        IndexError: The data ends inside it.
    """
    depth_max = bounds.nesting_depth_max if bounds is not None else _TRUSTED_DEPTH_MAX
    if ref == STRING:
        size, at = read_var_uint(data, at)
        return utf16_length(data[at : at + size]), at, at + size
    if ref == ANY:
        count, at = read_var_uint(data, at)
        body = at
        for _ in range(count):
            at = skip_any(data, at, depth_max)
        return count, body, at
    if ref == DELETED:
        count, at = read_var_uint(data, at)
        return count, at, at
    if ref == FORMAT:
        body = at
        return 1, body, _skip_json(data, skip_string(data, at), bounds)
    if ref == TYPE:
        return 1, at, _skip_type(data, at)
    if ref == EMBED:
        return 1, at, _skip_json(data, at, bounds)
    if ref == BINARY:
        size, body = read_var_uint(data, at)
        return 1, at, body + size
    if ref == JSON:
        count, at = read_var_uint(data, at)
        body = at
        for _ in range(count):
            at = _skip_json(data, at, bounds, undefined_too=True)
        return count, body, at
    if ref == DOC:
        body = at
        at = skip_string(data, at)
        if data[at] in (_ANY_UNDEFINED, _ANY_NULL):
            # yjs reads a property of the options without looking (src/structs/ContentDoc.js)
            raise MalformedError("subdocument without options")
        return 1, body, skip_any(data, at, depth_max)
    raise MalformedError("unknown kind of content")


def _skip_type(data: bytes, at: int) -> int:
    ref, at = read_var_uint(data, at)
    if ref > _TYPE_REF_MAX:
        raise MalformedError("unknown kind of shared type")
    return skip_string(data, at) if ref in _TYPE_REFS_WITH_NAME else at
