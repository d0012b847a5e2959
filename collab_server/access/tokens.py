"""Tokens: is this one genuine, and does it hold now? JSON Web Tokens (RFC 7519), by the advice of RFC 8725.

A token says of itself only which of our keys to try; the key says by which algorithm. Keys or addresses of
keys in a token's header (``jwk``, ``jku``, ``x5u``) are not looked at, and what a header calls critical we do
not know, so it is refused. Errors say what is wrong and hold nothing of the token.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from collab_server.access.keys import Algorithm, Key, KeySource
from collab_server.errors import BusyError, NotAuthenticatedError

_SHAPE: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_KID_CHARS_MAX: Final = 512
_TIME_MAX: Final = 10**12
"""Seconds since 1970 that a time may be; milliseconds given by mistake are beyond it."""
_ALGORITHMS: Final = {algorithm.value: algorithm for algorithm in Algorithm}


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say."""

    issuer: str | None = None
    audiences: frozenset[str] = frozenset()
    clock_skew_s: float = 0.0
    exp_required: bool = True


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that is genuine and holds now."""

    claims: Mapping[str, Any]
    issued_at_ms: int
    """When it was issued; 0 where it does not say so: older than any revocation."""
    expires_at_ms: int | None
    """When it has run out for us, clock skew included; None for never."""


class Tokens:
    """Verifies tokens with the keys of some sources."""

    def __init__(
        self, sources: Sequence[KeySource], rules: TokenRules, *, wall_clock_ms: Callable[[], int]
    ) -> None:
        self._sources = tuple(sources)
        self._rules = rules
        self._wall_clock_ms = wall_clock_ms

    async def verify(self, token: str) -> Verified:
        """The claims of a token. Waits only where a key is not known and the key server may be asked.

        Raises:
            NotAuthenticatedError: The token is not genuine, or does not hold now.
            BusyError: Its key may be one of a set that could not be read so far.
        """
        payload = await self._payload(token)
        return self._judge(_object(payload, "claims"))

    # -- is it genuine

    async def _payload(self, token: str) -> bytes:
        raw = token.encode("utf-8", "replace")
        if not _SHAPE.fullmatch(raw):
            raise NotAuthenticatedError("the token is no JWT")
        signed, _, signature = raw.rpartition(b".")
        header, _, payload = signed.partition(b".")
        algorithm, kid = _header(_object(_decoded(header), "header"))
        signature = _decoded(signature)
        known = [key for source in self._sources for key in source.keys]
        if _any_verifies(known, algorithm, kid, signed, signature):
            return _decoded(payload)
        # A key that we know by this id has spoken already: asking for it again would serve a forger only.
        if not any(kid is not None and key.kid == kid for key in known):
            for source in self._sources:
                if await source.look_again() and _any_verifies(
                    source.keys, algorithm, kid, signed, signature
                ):
                    return _decoded(payload)
            if not all(source.is_complete for source in self._sources):
                raise BusyError("the keys for tokens cannot be read now")
        raise NotAuthenticatedError("the token is not signed with a key of ours")

    # -- does it hold now

    def _judge(self, claims: Mapping[str, Any]) -> Verified:
        rules, now = self._rules, self._wall_clock_ms() / 1000
        expires, starts, issued = (
            time_of(claims, name, NotAuthenticatedError) for name in ("exp", "nbf", "iat")
        )
        if expires is None and rules.exp_required:
            raise NotAuthenticatedError("the token has no exp, so it would never run out")
        if expires is not None and expires + rules.clock_skew_s <= now:
            raise NotAuthenticatedError("the token has run out")
        if any(time is not None and time - rules.clock_skew_s > now for time in (starts, issued)):
            raise NotAuthenticatedError("the token is not valid yet")
        if rules.issuer is not None and claims.get("iss") != rules.issuer:
            raise NotAuthenticatedError("the token is of another issuer")
        if rules.audiences and rules.audiences.isdisjoint(_audiences(claims.get("aud"))):
            raise NotAuthenticatedError("the token is for another audience")
        return Verified(
            claims,
            issued_at_ms=0 if issued is None else round(issued * 1000),
            expires_at_ms=None if expires is None else round((expires + rules.clock_skew_s) * 1000),
        )


def _any_verifies(
    keys: Iterable[Key], algorithm: Algorithm, kid: str | None, signed: bytes, signature: bytes
) -> bool:
    """Whether one of the keys that may be meant has signed this. A key without id may always be meant."""
    return any(
        key.algorithm is algorithm
        and (kid is None or key.kid is None or key.kid == kid)
        and key.verifies(signed, signature)
        for key in keys
    )


def _header(header: Mapping[str, Any]) -> tuple[Algorithm, str | None]:
    """Which keys to try."""
    if "crit" in header or "b64" in header:
        raise NotAuthenticatedError("the token's header calls something critical that is not known here")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise NotAuthenticatedError("the token is not signed by " + ", ".join(_ALGORITHMS))
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _KID_CHARS_MAX):
        raise NotAuthenticatedError("the token's key id is none")
    return _ALGORITHMS[algorithm], kid


def _decoded(part: bytes) -> bytes:
    try:
        return b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise NotAuthenticatedError("the token is no JWT") from None


def read_json(data: bytes) -> Any:
    """A JSON value, in which no name comes twice in an object and no number is none. Raises ValueError."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = read_json(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise NotAuthenticatedError(f"the token's {what} cannot be read")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def time_of(claims: Mapping[str, Any], name: str, error: type[Exception]) -> float | None:
    """A NumericDate (RFC 7519 section 2): seconds since 1970. Raises ``error`` for what is none."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _TIME_MAX:
        raise error(f"{name} is no time in seconds")
    return value


def _audiences(value: Any) -> frozenset[str]:
    values = value if isinstance(value, list) else [value]
    return frozenset(one for one in values if isinstance(one, str))
