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
