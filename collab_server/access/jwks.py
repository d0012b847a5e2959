"""JSON Web Key Sets (RFC 7517): read from a URL or a file, again and again, and never lost once read.

A set is read at the start, then at an interval, and at once when a token names a key that is not known; but
not more often than another interval allows, because anybody can name keys. While a set cannot be read, or
holds no key that can be used, the last good one holds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from jwt import InvalidKeyError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import base64url_decode

from collab_server.access.fetch import FetchError
from collab_server.access.keys import Key, KeyUnusableError, public_key, secret_key
from collab_server.telemetry.metrics import Metrics

_KEYS_MAX: Final = 100
_KID_CHARS_MAX: Final = 512
_MEMBER_CHARS_MAX: Final = 2731
"""Of a number in base64url: 16,384 bits, the largest RSA modulus that is taken."""
_EXPONENT_CHARS_MAX: Final = 11
"""64 bits: a larger one would only make verifying slow."""
_JITTER: Final = 0.1

log = structlog.get_logger(__name__)

Read = Callable[[], Awaitable[bytes]]
"""Reads a set, bounded in time and bytes. Raises FetchError."""


class JwksError(FetchError):
    """What was read is no key set, or none that can be used."""


def parse_jwks(data: bytes, *, secrets_allowed: bool) -> list[Key]:
    """The keys of a set that tokens can be verified with; others are passed over, as RFC 7517 section 5 says.

    ``secrets_allowed`` takes symmetric keys (``oct``) too: for a file, never for what a server publishes.

    Raises:
        JwksError: It is no key set, or no key in it can be used.
    """
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise JwksError("it is no JSON") from None
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise JwksError("it is no key set: there is no list of keys")
    if len(entries) > _KEYS_MAX:
        raise JwksError(f"it holds more than {_KEYS_MAX} keys")
    keys = [key for entry in entries if (key := _key(entry, secrets_allowed=secrets_allowed)) is not None]
    if not keys:
        raise JwksError(f"none of its {len(entries)} keys can be used")
    return keys


def _key(entry: Any, *, secrets_allowed: bool) -> Key | None:
    """The key that an entry holds, if tokens can be verified with it."""
    if not isinstance(entry, dict):
        return None
    kid = entry.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _KID_CHARS_MAX):
        return None
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = _read_key(entry, kid, secrets_allowed=secrets_allowed)
    except (KeyUnusableError, InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None
    if key is None or entry.get("alg", key.algorithm.value) != key.algorithm.value:
        return None
    return key


def _read_key(entry: Mapping[str, Any], kid: str | None, *, secrets_allowed: bool) -> Key | None:
    if "d" in entry:
        # Who publishes a private key has let everybody sign with it.
        return None
    match entry.get("kty"):
        case "RSA":
            members = _members(entry, "n", "e")
            if len(members["e"]) > _EXPONENT_CHARS_MAX:
                return None
            return public_key(RSAAlgorithm.from_jwk(members), kid)
        case "EC":
            return public_key(ECAlgorithm.from_jwk(_members(entry, "crv", "x", "y")), kid)
        case "OKP":
            return public_key(OKPAlgorithm.from_jwk(_members(entry, "crv", "x")), kid)
        case "oct" if secrets_allowed:
            return secret_key(base64url_decode(_members(entry, "k")["k"]), kid)
        case _:
            return None


def _members(entry: Mapping[str, Any], *names: str) -> dict[str, str]:
    """Only these, so that nothing else in an entry has a say."""
    members = {"kty": entry["kty"]} | {name: entry[name] for name in names}
    if not all(isinstance(value, str) and len(value) <= _MEMBER_CHARS_MAX for value in members.values()):
        raise ValueError
    return members


def file_reader(path: Path, bytes_max: int, timeout_s: float) -> Read:
    """Reads a file, away from the loop: it may lie on a disk that does not answer."""

    def read() -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(bytes_max + 1)
        except OSError as error:
            raise FetchError(error.strerror or str(error)) from error
        if len(data) > bytes_max:
            raise FetchError(f"it is larger than {bytes_max} bytes")
        return data

    async def read_in_time() -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(read)
        except TimeoutError:
            raise FetchError(f"it could not be read within {timeout_s:g} s") from None

    return read_in_time


class Jwks:
    """One key set that is kept fresh.

    ``await refresh()`` first, then ``run()`` for as long as it is needed, then ``close()``.

    Args:
        name: for the log; holds no secret.
        read: reads the set.
        is_file: whether it is a file of ours, which may hold secrets, and not what a server publishes.
        refresh_s: how often it is read again.
        unknown_refresh_s: the shortest time between two readings for the sake of unknown keys.
        clock: seconds that never fall.
        random: from 0 to 1, so that the nodes do not read all at once.
    """

    def __init__(
        self,
        name: str,
        read: Read,
        metrics: Metrics,
        *,
        is_file: bool,
        refresh_s: float,
        unknown_refresh_s: float,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.name = name
        self.is_file = is_file
        self.keys: Sequence[Key] = ()
        self.trouble: str | None = None
        """Why the last reading failed, in a few words; None if it did not."""
        self._read = read
        self._metrics = metrics
        self._refresh_s = refresh_s
        self._unknown_refresh_s = unknown_refresh_s
        self._clock = clock
        self._random = random
        self._tried_at: float | None = None
        self._trying: asyncio.Task[None] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it was ever read."""
        return bool(self.keys)

    async def look_again(self) -> bool:
        """Read the set because of a key that is not known. False if that was done only just now."""
        if self._trying is None and (
            self._tried_at is not None and self._clock() < self._tried_at + self._unknown_refresh_s
        ):
            return False
        await self.refresh()
        return True

    async def refresh(self) -> None:
        """Read the set now; all who ask meanwhile share one reading. ``trouble`` says how it went."""
        if self._trying is None:
            self._tried_at = self._clock()
            self._trying = asyncio.get_running_loop().create_task(self._try(), name=f"keys of {self.name}")
        # Shielded: who waits may go away, the others still wait.
        await asyncio.shield(self._trying)

    async def run(self) -> None:
        """Read the set again and again; sooner while that fails."""
        while True:
            pause_s = (
                self._refresh_s if self.trouble is None else min(self._refresh_s, self._unknown_refresh_s)
            )
            await asyncio.sleep(pause_s * (1 - _JITTER * self._random()))
            await self.refresh()

    async def close(self) -> None:
        """Give up a reading that is under way."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)

    async def _try(self) -> None:
        try:
            keys = parse_jwks(await self._read(), secrets_allowed=self.is_file)
        except FetchError as error:
            # A file that cannot be read at the start keeps the server from starting, which says so.
            if self.trouble is None and (self.is_complete or not self.is_file):
                log.warning("keys cannot be read", source=self.name, error=str(error), kept=len(self.keys))
            self.trouble = str(error)
            self._metrics.count_key_read(done=False)
        else:
            if self.trouble is not None or [key.kid for key in keys] != [key.kid for key in self.keys]:
                log.info("keys read", source=self.name, keys=len(keys))
            self.keys, self.trouble = keys, None
            self._metrics.count_key_read(done=True)
        finally:
            self._trying = None
