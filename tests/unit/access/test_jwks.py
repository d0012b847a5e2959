"""``access/jwks``, ``access/fetch``: key sets of servers that are slow, lie, lead away, rotate and vanish."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from collab_server.access.fetch import Fetcher, FetchError, checked_url
from collab_server.access.jwks import Jwks, JwksError, file_reader, parse_jwks
from collab_server.errors import ConfigError
from collab_server.telemetry.metrics import Metrics
from tests.support.tokens import SECRET, ec_key, ed_key, key_set, rsa_key
from tests.support.webstub import Answer, Asked, WebStub, never, reply, web_stub

KEYS = (rsa_key().named("r"), ec_key().named("e"), ed_key().named("d"))
SET = key_set(*KEYS)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def jwks(read: Callable[[], Awaitable[bytes]], clock: Clock | None = None, *, is_file: bool = False) -> Jwks:
    return Jwks(
        "the keys",
        read,
        Metrics(),
        is_file=is_file,
        refresh_s=300,
        unknown_refresh_s=10,
        clock=clock or Clock(),
        random=lambda: 0.0,
    )


@asynccontextmanager
async def fetched(
    answer: Answer | bytes, *, timeout_s: float = 20, bytes_max: int = 65536
) -> AsyncIterator[tuple[WebStub, Callable[[], Awaitable[bytes]]]]:
    fetcher = Fetcher(timeout_s=timeout_s, bytes_max=bytes_max)
    async with web_stub(answer) as stub:
        yield stub, lambda: fetcher.get(f"{stub.url}/jwks.json")
        await fetcher.close()


# -- what a set holds


def entry(**more: Any) -> bytes:
    return json.dumps({"keys": [rsa_key().named("r").jwk | more]}).encode()


def kids(data: bytes, *, secrets_allowed: bool = False) -> list[str | None]:
    return [key.kid for key in parse_jwks(data, secrets_allowed=secrets_allowed)]


def test_keys_of_all_kinds_are_read_from_a_set() -> None:
    found = parse_jwks(SET, secrets_allowed=False)
    assert [(key.kid, key.algorithm.value) for key in found] == [
        ("r", "RS256"),
        ("e", "ES256"),
        ("d", "EdDSA"),
    ]


@pytest.mark.parametrize(
    "more", [{"use": "sig"}, {"alg": "RS256"}, {"key_ops": ["verify"]}, {"x5c": ["MII"]}]
)
def test_a_key_may_say_what_it_is_for(more: dict[str, Any]) -> None:
    assert kids(entry(**more)) == ["r"]


OTHER_CURVE = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
OCT = {"kty": "oct", "k": urlsafe_b64encode(SECRET.encode()).rstrip(b"=").decode(), "kid": "o"}


@pytest.mark.parametrize(
    "other",
    [
        entry(use="enc"),
        entry(alg="RS512"),
        entry(alg="HS256"),
        entry(alg=None),
        entry(key_ops=["sign"]),
        entry(key_ops="verify"),
        entry(kid=5),
        entry(kid="k" * 513),
        entry(kty="EC"),
        entry(kty="unheard-of"),
        entry(kty=["RSA"]),
        entry(n="!!"),
        entry(n=5),
        entry(n="A" * 3000),
        entry(e="A" * 12),
        entry(n=None),
        entry(d="AQAB"),
        key_set(rsa_key(0, 1024)),
        json.dumps({"keys": [OTHER_CURVE]}).encode(),
        json.dumps({"keys": [OCT]}).encode(),
        json.dumps({"keys": [ec_key().jwk | {"x": ed_key().jwk["x"]}]}).encode(),
        json.dumps({"keys": [ed_key().jwk | {"x": "AA"}]}).encode(),
        b'{"keys": [1, "a", null, [], {}]}',
        b'{"keys": []}',
        b'{"keys": {}}',
        b"{}",
        b"[]",
        b"null",
        b"<html>not found</html>",
        b"\xff\xfe",
        b"[" * 60_000,
        json.dumps({"keys": [rsa_key().jwk] * 101}).encode(),
    ],
)
def test_a_key_that_is_for_something_else_or_broken_is_passed_over(other: bytes) -> None:
    with pytest.raises(JwksError):
        parse_jwks(other, secrets_allowed=False)
    try:
        mixed = json.loads(other)["keys"] + json.loads(SET)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    if len(mixed) <= 100:
        assert kids(json.dumps({"keys": mixed}).encode()) == ["r", "e", "d"]


def test_a_secret_is_taken_from_a_file_of_ours_only() -> None:
    data = json.dumps({"keys": [OCT]}).encode()
    assert kids(data, secrets_allowed=True) == ["o"]
    with pytest.raises(JwksError):
        kids(data)
    short = json.dumps({"keys": [OCT | {"k": "AAAA"}]}).encode()
    with pytest.raises(JwksError):
        kids(short, secrets_allowed=True)


# -- servers


async def test_a_set_is_read_from_a_server() -> None:
    async with fetched(reply(SET)) as (stub, read):
        source = jwks(read)
        assert not source.is_complete
        await source.refresh()
        assert (source.is_complete, source.trouble, len(source.keys)) == (True, None, 3)
        (asked,) = stub.asked
        assert (asked.method, asked.path) == ("GET", "/jwks.json")


async def drip(_: Asked) -> bytes:
    await asyncio.sleep(0)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 0x1000 + b"\r\n"


HOSTILE: dict[str, tuple[Answer | bytes, str]] = {
    "never answers": (never, "no answer within"),
    "goes away": (b"", "disconnected"),
    "sends no end": (drip, "no answer within"),
    "announces more than it sends": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}",
        "no answer within",
    ),
    "sends too much": (reply(SET + b" " * 65536), "larger than 65536 bytes"),
    "leads away": (reply(b"", "302 Found", Location="http://127.0.0.1:9/evil"), "the answer was 302"),
    "leads away for good": (reply(SET, "308 Permanent", Location="/other"), "the answer was 308"),
    "fails": (reply(SET, "500 Internal Server Error"), "the answer was 500"),
    "has nothing": (reply(b"", "204 No Content"), "the answer was 204"),
    "compresses": (reply(gzip.compress(SET), Content_Encoding="gzip"), "compressed"),
    "speaks something else": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "illegal"),
    "sends a web page": (reply(b"<html></html>"), "no JSON"),
    "lies": (reply({"keys": [{"kty": "oct", "k": OCT["k"]}]}), "none of its 1 keys"),
    "sends none": (reply({"keys": []}), "none of its 0 keys"),
}


@pytest.mark.parametrize(("answer", "told"), HOSTILE.values(), ids=HOSTILE)
async def test_the_last_good_set_survives_a_server_that(answer: Answer | bytes, told: str) -> None:
    timeout_s = 0.3 if "within" in told else 20
    async with fetched(reply(SET), timeout_s=timeout_s) as (stub, read):
        source = jwks(read)
        while not source.is_complete:  # with so short a time, the first reading may need more than one try
            await source.refresh()
        asked = len(stub.asked)
        stub.answer = answer
        await source.refresh()
        assert source.trouble is not None
        assert told in source.trouble
        assert [key.kid for key in source.keys] == ["r", "e", "d"]
        assert len(stub.asked) == asked + 1, "a redirect was followed"
        stub.answer = reply(key_set(KEYS[1]))
        while source.trouble is not None:
            await source.refresh()
        assert [key.kid for key in source.keys] == ["e"]


async def test_a_server_that_is_not_there_is_told_and_asked_again() -> None:
    async with web_stub(reply(SET)) as stub:
        url = stub.url
    fetcher = Fetcher(timeout_s=20, bytes_max=65536)
    source = jwks(lambda: fetcher.get(url))
    await source.refresh()
    assert source.trouble
    async with web_stub(reply(SET), port=int(url.rpartition(":")[2])):
        await source.refresh()
    assert source.trouble is None
    await fetcher.close()


async def test_cookies_are_not_kept_and_a_password_in_the_url_is_sent_and_not_told() -> None:
    fetcher = Fetcher(timeout_s=20, bytes_max=65536)
    async with web_stub(reply(b"", "500 Oops", Set_Cookie="a=b")) as stub:
        url = stub.url.replace("http://", "http://me:s3cr3t@")
        for _ in range(2):
            with pytest.raises(FetchError) as failed:
                await fetcher.get(url)
            assert "s3cr3t" not in str(failed.value)
        assert all("cookie" not in asked.headers for asked in stub.asked)
        assert stub.asked[0].headers["authorization"].startswith("Basic ")
    await fetcher.close()


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://keys.example/jwks.json", True),
        ("http://localhost:1/jwks", True),
        ("http://127.0.0.1/jwks", True),
        ("http://[::1]:8080/jwks", True),
        ("http://keys.example/jwks", False),
        ("http://localhost.keys.example/", False),
        ("http://127.0.0.1.keys.example/", False),
        ("http://me:s3cr3t@10.0.0.1/", False),
        ("ftp://keys.example/", False),
        ("https://", False),
        ("https://keys.example/#fragment", False),
        ("https://keys.example:port/", False),
        ("https://\x00/", False),
    ],
)
def test_only_https_or_this_machine_is_asked(url: str, taken: bool) -> None:
    if taken:
        assert checked_url("jwks", url, http_allowed=False) == url
        return
    with pytest.raises(ConfigError) as refused:
        checked_url("jwks", url, http_allowed=False)
    assert str(refused.value).startswith("jwks ")
    assert "s3cr3t" not in str(refused.value)


def test_http_to_other_machines_can_be_allowed() -> None:
    assert checked_url("jwks", "http://keys.internal/", http_allowed=True)
    with pytest.raises(ConfigError):
        checked_url("jwks", "ftp://keys.internal/", http_allowed=True)


def test_a_file_of_authorities_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"access_ca .* cannot be used"):
        Fetcher(timeout_s=1, bytes_max=1, ca_file=tmp_path / "missing")
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"access_ca .* cannot be used"):
        Fetcher(timeout_s=1, bytes_max=1, ca_file=tmp_path / "ca.pem")


# -- unknown keys


async def test_a_flood_of_unknown_keys_reads_the_set_once_in_a_while() -> None:
    clock = Clock()
    async with fetched(reply(SET)) as (stub, read):
        source = jwks(read, clock)
        await source.refresh()
        clock.now = 9.9
        assert [await source.look_again() for _ in range(100)] == [False] * 100
        assert len(stub.asked) == 1
        clock.now = 10.0
        assert await source.look_again()
        assert [await source.look_again() for _ in range(100)] == [False] * 100
        assert len(stub.asked) == 2


async def test_who_asks_while_the_set_is_read_waits_for_that_and_may_go_away() -> None:
    gate = asyncio.Event()
    reads = 0

    async def read() -> bytes:
        nonlocal reads
        reads += 1
        await gate.wait()
        return SET

    source = jwks(read)
    waiting = [asyncio.create_task(source.look_again()) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting[1:]) == [True] * 49
    assert (reads, len(source.keys)) == (1, 3)


async def test_a_reading_under_way_ends_with_the_server() -> None:
    source = jwks(asyncio.Event().wait)  # type: ignore[arg-type]
    waiting = asyncio.create_task(source.refresh())
    await asyncio.sleep(0)
    await source.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# -- files


async def test_a_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(KEYS[0]))
    source = jwks(file_reader(path, 65536, 20), is_file=True)
    await source.refresh()
    path.write_bytes(json.dumps({"keys": [*json.loads(SET)["keys"], OCT]}).encode())
    await source.refresh()
    assert [key.kid for key in source.keys] == ["r", "e", "d", "o"]
    path.unlink()
    await source.refresh()
    assert source.trouble == "No such file or directory"
    path.write_bytes(b" " * 65537)
    await source.refresh()
    assert source.trouble == "it is larger than 65536 bytes"
    assert len(source.keys) == 4
