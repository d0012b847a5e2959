"""Order of document names: by code point, which is also the order of their UTF-8 bytes."""

from __future__ import annotations

_CODE_POINT_MAX = 0x10FFFF
_SURROGATE_FIRST, _SURROGATE_LAST = 0xD800, 0xDFFF


def after_prefix(prefix: str) -> str | None:
    """The least name that is greater than every name which begins with ``prefix``; None if there is none."""
    kept = prefix.rstrip(chr(_CODE_POINT_MAX))
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    if _SURROGATE_FIRST <= following <= _SURROGATE_LAST:  # not characters, and not encodable
        following = _SURROGATE_LAST + 1
    return kept[:-1] + chr(following)


def without_nul(name: str) -> str:
    """``name`` for a store that cannot hold U+0000. Keeps the order, and that one name begins another.

    Raises UnicodeEncodeError for a lone surrogate, which no store takes.
    """
    name.encode()
    return name.replace("\1", "\1\2").replace("\0", "\1\1")


def with_nul(stored: str) -> str:
    """What ``without_nul`` made ``stored`` of."""
    return stored.replace("\1\1", "\0").replace("\1\2", "\1")
