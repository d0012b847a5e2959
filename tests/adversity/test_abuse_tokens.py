"""Tokens that are tricks, a key server that is one, bodies that grow: at the doors of a running server."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx

from collab_server.hosting.archive import ENTRIES, MANIFEST
from tests.adversity.conftest import healthy_in
from tests.support import muxframes as mux
from tests.support.rawpeer import RawPeer
from tests.support.server import ServerProcess
from tests.support.tokens import claims, ec_key, encoded, key_set, rsa_key
from tests.support.webstub import never, reply, web_stub
from tests.support.yclient import YClient

Factory = Callable[..., ServerProcess]
MIB = 1024 * 1024
_OPEN = {"rooms": {"*": "owner"}}


def by_hand(header: object, key: bytes | None = None) -> str:
    """A token for everything, signed by HMAC with a key that is none, or not at all."""
    signed = f"{encoded(header)}.{encoded(claims(**_OPEN))}"
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), hashlib.sha256)) if key else ''}"


def tricks() -> dict[str, str]:
    pem, now = rsa_key().pem, int(time.time())
    return {
        "alg none": by_hand({"alg": "none"}),
        "the public key as a secret": by_hand({"alg": "HS256"}, pem),
        "the public key as a secret, named": by_hand({"alg": "HS256", "kid": "r"}, pem),
        "a key of its own": rsa_key(7).sign(claims(**_OPEN), jwk=rsa_key(7).named("mine").jwk),
        "a path": rsa_key(7).sign(claims(**_OPEN), kid="../../../dev/null"),
        "run out": rsa_key().sign(claims(exp=now - 60, **_OPEN)),
        "not valid yet": rsa_key().sign(claims(nbf=now + 600, **_OPEN)),
    }


async def test_tokens_that_are_tricks_open_no_door_also_where_one_needs_none(
    server_factory: Factory, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_bytes(rsa_key().pem)
    server = server_factory(jwt_key=tmp_path / "key.pem", allow_anonymous=True, anonymous_role="viewer")
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        for name, token in tricks().items():
            async with RawPeer(server.ws_url) as peer:
                await peer.upgrade(f"room?token={token}")
                assert await peer.close_code() == 4401, name
            async with RawPeer(server.ws_url) as peer:
                await peer.upgrade("")
                await peer.send_message(mux.auth("room", token))
                await peer.receive_message(mux.message("room", 2, b"\x01"))
            for headers, query in (({"Authorization": f"Bearer {token}"}, ""), ({}, f"?token={token}")):
                answer = await client.get(f"/v1/documents/room{query}", headers=headers)
                assert answer.status_code == 401, name
            assert token not in server.log_text
        good = rsa_key().sign(claims(**_OPEN))
        async with YClient(server.ws_url, f"room?token={good}") as writer:
            await writer.write("let in")
            await writer.saved()
        assert (await client.get("/v1/documents/room")).status_code == 200


async def test_a_key_server_that_never_answers_holds_up_nobody_whose_key_is_known(
    server_factory: Factory, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_bytes(rsa_key().pem)
    known, unknown = ec_key().named("known"), ec_key(1)
    async with web_stub(reply(key_set(known))) as keys:
        server = server_factory(
            jwt_key=tmp_path / "key.pem",
            jwks=f"{keys.url}/jwks",
            jwks_timeout_s=60,
            jwks_unknown_refresh_s=1,
            wait=False,
        )
        await asyncio.to_thread(server.wait_ready)
        keys.answer = never
        async with contextlib.AsyncExitStack() as stack:

            async def stranger(number: int) -> None:
                peer = await stack.enter_async_context(RawPeer(server.ws_url))
                token = unknown.named(f"made up {number}").sign(claims(**_OPEN))
                await peer.upgrade(f"room?token={token}")

            number, deadline = 0, time.monotonic() + 30
            while not keys.waiting:  # at first the set was read too lately to be read again
                assert time.monotonic() < deadline
                await stranger(number := number + 1)
                await asyncio.sleep(0.1)
            for more in range(30):
                await stranger(number + 1 + more)
            asked = len(keys.asked)
            for key in (rsa_key(), known):
                async with YClient(server.ws_url, f"room?token={key.sign(claims(**_OPEN))}") as writer:
                    await writer.write("while they wait")
                    await writer.saved()
            assert keys.waiting == 1, "one reading for all of them"
            assert len(keys.asked) == asked
            keys.answer = reply({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]})
        async with YClient(server.ws_url, f"room?token={known.sign(claims(**_OPEN))}") as writer:
            await writer.saved()


async def test_bodies_that_grow_when_they_are_unpacked_cost_nobody_anything(server_factory: Factory) -> None:
    server = server_factory(archive_bytes_max="16MiB")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ENTRIES:
            with archive.open(name, "w") as part:
                for _ in range(1 if name == MANIFEST else 80):
                    part.write(bytes(MIB))
    bomb = file.getvalue()
    assert len(bomb) < MIB
    packed = gzip.compress(json.dumps({"name": "x" * 50 * MIB}).encode())
    async with healthy_in(server) as arena, httpx.AsyncClient(base_url=server.http_url, timeout=60) as client:
        kind = {"Content-Type": "application/zip"}
        answer = await client.post("/v1/documents/bomb/archive", content=bomb, headers=kind)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        for path, content, headers in (
            ("archive", bomb, kind),
            ("versions", packed, {"Content-Type": "application/json"}),
        ):
            encoded_as = {**headers, "Content-Encoding": "gzip"}
            answer = await client.post(f"/v1/documents/bomb/{path}", content=content, headers=encoded_as)
            assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_encoding")
        assert (await client.get("/v1/documents/bomb")).status_code == 404
        await arena.unharmed(growth_bytes_max=64 * MIB)
