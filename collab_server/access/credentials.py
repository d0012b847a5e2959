"""Where a request carries its token: in a header, in the query, or among the subprotocols that it offers.

Browsers can set no header on a WebSocket, so the query and ``Sec-WebSocket-Protocol`` are looked at too.
Nothing here is logged, and nothing here judges a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

QUERY_KEYS: Final = ("auth", "token")
"""Parameters of a URL that may hold a token; the first that is there counts."""
_MARKERS: Final = frozenset({"bearer", "token", "auth", "access_token", "authorization"})
_JWT: Final = re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*", re.ASCII)
"""A JSON object in base64url, twice, and a signature (RFC 7519 section 3.1)."""


def bearer(headers: Mapping[str, str], query: str) -> str | None:
    """The token of a request, or None.

    In this order: ``Authorization: Bearer`` (other schemes are for others), the parameters ``auth`` and
    ``token`` of ``query`` (as it came, percent-encoded), a pair of subprotocols. An empty one is none.

    Args:
        headers: By names in lower case.
        query: What follows the question mark of the URL.
    """
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    found: dict[str, str] = {}
    for part in query.split("&"):
        key, _, text = part.partition("=")
        if key in QUERY_KEYS and text:
            found.setdefault(key, text)
    for key in QUERY_KEYS:
        if key in found:
            # A plus stays one: no token has blanks, and one in plain base64 has pluses.
            return unquote(found[key])
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    at = _token_among(offered)
    return None if at is None else offered[at]


def subprotocol_for(offered: Sequence[str]) -> str | None:
    """Which of the offered subprotocols to choose: the first that is not the token; None if there is none.

    Browsers and Node's ``ws`` give up when they offered some and none was chosen, and a token must not be
    sent back.
    """
    at = _token_among(offered)
    return next((name for index, name in enumerate(offered) if index != at), None)


def _token_among(offered: Sequence[str]) -> int | None:
    """Where the token is: behind a name such as ``bearer``, or else where something looks like a JWT."""
    for index, name in enumerate(offered[:-1]):
        if name.lower() in _MARKERS and offered[index + 1]:
            return index + 1
    return next((index for index, name in enumerate(offered) if _JWT.fullmatch(name)), None)
