"""What one admission costs: a token that is checked with a key at hand, a kept answer, a forged token.

``python -m bench.access`` prints a table; it takes about ten seconds.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from collab_server.access.callback import Callback, CallbackSettings
from collab_server.access.gatekeeper import OpenGatekeeper, TokenGatekeeper
from collab_server.access.identity import Caller
from collab_server.access.keys import FixedKeys, Key, public_key, secret_key
from collab_server.access.tokens import TokenRules, Tokens
from collab_server.errors import NotAuthenticatedError
from collab_server.telemetry.metrics import Metrics

ROUNDS = 7
ADMISSIONS = 500
SECRET = "a secret for measuring, 32 bytes or more"  # noqa: S105 - guards nothing
HERE = Caller("192.0.2.1", is_loopback=False)
ROOMS = {"trip-*": "viewer", "trip-42": {"role": "editor", "roots": ["itinerary"]}, "notes-*": "editor"}


def wall_clock_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def of_keys(*keys: Key) -> TokenGatekeeper:
    """A gatekeeper with these keys."""
    return TokenGatekeeper(Tokens([FixedKeys(keys)], TokenRules(), wall_clock_ms=wall_clock_ms), None)


def of_callback() -> TokenGatekeeper:
    """A gatekeeper that asks an application, which answers at once."""

    async def post(_: Any) -> tuple[int, bytes]:
        return 200, b'{"role": "editor", "sub": "ada"}'

    settings = CallbackSettings(cache_s=3600, cache_max=100, concurrent_max=4, failures_max=3, pause_s=10)
    callback = Callback(post, settings, Metrics(), clock=time.monotonic, wall_clock_ms=wall_clock_ms)
    return TokenGatekeeper(None, callback)


def cases() -> list[tuple[str, TokenGatekeeper | OpenGatekeeper, str]]:
    """What is measured: a name, who is asked, the token."""
    now = int(time.time())
    claims = {"sub": "ada", "name": "Ada", "iat": now, "exp": now + 3600, "jti": "s", "rooms": ROOMS}
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    ed_key = ed25519.Ed25519PrivateKey.generate()
    hs_token = jwt.encode(claims, SECRET, "HS256")
    return [
        ("no keys: everybody is let in", OpenGatekeeper(), hs_token),
        ("HS256", of_keys(secret_key(SECRET.encode())), hs_token),
        ("RS256, 2048 bits", of_keys(public_key(rsa_key.public_key())), jwt.encode(claims, rsa_key, "RS256")),
        ("ES256", of_keys(public_key(ec_key.public_key())), jwt.encode(claims, ec_key, "ES256")),
        ("EdDSA", of_keys(public_key(ed_key.public_key())), jwt.encode(claims, ed_key, "EdDSA")),
        ("callback, answer kept", of_callback(), hs_token),
        ("HS256, forged", of_keys(secret_key(SECRET.encode())), hs_token[:-4] + "AAAA"),
    ]


async def admissions_us(gatekeeper: TokenGatekeeper | OpenGatekeeper, token: str) -> float:
    """CPU time of one admission, in microseconds."""
    started = time.process_time_ns()
    for _ in range(ADMISSIONS):
        try:
            await gatekeeper.admit(token, "trip-42", HERE)
        except NotAuthenticatedError:
            continue
    return (time.process_time_ns() - started) / ADMISSIONS / 1000


async def main(show: Callable[[str], None] = print) -> None:
    """Measure all cases, interleaved, and print the medians."""
    measured = cases()
    rounds: dict[str, list[float]] = {name: [] for name, _, _ in measured}
    for _ in range(ROUNDS):
        for name, gatekeeper, token in measured:
            rounds[name].append(await admissions_us(gatekeeper, token))
    show(f"Python {platform.python_version()}, medians of {ROUNDS} rounds of {ADMISSIONS} admissions.\n")
    show("| admission | us of CPU |\n|---|---|")
    for name, found in rounds.items():
        show(f"| {name} | {statistics.median(found):.1f} |")


if __name__ == "__main__":
    asyncio.run(main())
