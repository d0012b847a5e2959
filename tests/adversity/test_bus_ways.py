"""The ways to a Redis: passwords, TLS, sockets, replicas, Sentinels, and servers that will not do."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collab_server.bus.base import NodeId
from collab_server.bus.counters import RedisCounts
from collab_server.bus.redis import RedisBus
from collab_server.bus.settings import BusSettings
from collab_server.bus.urls import parse_bus_url
from collab_server.errors import BusConfigError
from tests.adversity.test_bus_trouble import ROOM, they_hear_each_other
from tests.contract.buses import CountingMeter, Speaker, eventually
from tests.support.tools import needed
from tests.support.valkey import Valkey, fresh_prefix, private_valkey, shared_valkey

PASSWORD = "a secret: with/odd@signs"
ESCAPED = "a%20secret%3A%20with%2Fodd%40signs"


def make(url: str, name: str, **changes: Any) -> Speaker:
    settings = BusSettings(parse_bus_url(url), fresh_prefix(), heartbeat_s=0.5, node_timeout_s=4.0)
    clock = asyncio.get_running_loop().time
    return Speaker(
        RedisBus(
            replace(settings, **changes), NodeId(name, 1), CountingMeter(), clock=clock, random=lambda: 0.5
        )
    )


@asynccontextmanager
async def pair(url: str, **changes: Any) -> AsyncIterator[tuple[Speaker, Speaker]]:
    """Two nodes that hear each other."""
    prefix = changes.pop("prefix", None) or fresh_prefix()
    speakers = (make(url, "a", prefix=prefix, **changes), make(url, "b", prefix=prefix, **changes))
    for speaker in speakers:
        await speaker.start()
        speaker.watch(ROOM)
    await they_hear_each_other(*speakers, word=b"first")
    yield speakers
    for speaker in speakers:
        await speaker.stop()


@asynccontextmanager
async def counting(url: str, prefix: str = "") -> AsyncIterator[RedisCounts]:
    """Counts that a node shares with the others."""
    settings = BusSettings(parse_bus_url(url), prefix or fresh_prefix())
    counts = RedisCounts(settings, clock=asyncio.get_running_loop().time)
    yield counts
    await counts.close()


async def counted(counts: RedisCounts, used: Mapping[str, int]) -> Mapping[str, int]:
    """The totals, as soon as Redis takes it."""
    while not (totals := await counts.add(used)):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    return totals


@pytest.fixture
def guarded() -> Iterator[Valkey]:
    server = private_valkey(f'requirepass "{PASSWORD}"')
    server.url = f"redis://:{ESCAPED}@127.0.0.1:{server.port}"
    yield server
    server.stop()


async def test_a_password_opens_the_door(guarded: Valkey) -> None:
    async with pair(guarded.url) as (a, b):
        assert a.bus.trouble is None
        assert b.bus.trouble is None


@pytest.mark.parametrize("credentials", ["", ":wrong@", "nobody:wrong@"])
async def test_a_wrong_password_at_the_start_is_an_error(guarded: Valkey, credentials: str) -> None:
    speaker = make(f"redis://{credentials}127.0.0.1:{guarded.port}", "a")
    with pytest.raises(BusConfigError, match="refuses the password") as raised:
        await speaker.bus.open(speaker.ear)
    assert "wrong" not in str(raised.value)


async def test_a_password_that_is_changed_while_nodes_run_is_trouble_until_it_is_back(
    guarded: Valkey,
) -> None:
    async with pair(guarded.url) as (a, b):
        await guarded.ask("CONFIG", "SET", "requirepass", "another")
        # Who is connected stays so; a new connection is refused.
        changed = Valkey(f"redis://:another@127.0.0.1:{guarded.port}")
        await changed.ask("CLIENT", "KILL", "TYPE", "normal")
        await eventually(lambda: "password" in (a.bus.trouble or ""), "a says what is wrong")
        assert "another" not in (a.bus.trouble or "")
        await changed.ask("CONFIG", "SET", "requirepass", PASSWORD)
        await eventually(lambda: a.bus.trouble is None and b.bus.trouble is None, "they are back")
        await they_hear_each_other(a, b)


async def test_a_named_user_with_a_database_of_its_own() -> None:
    server = private_valkey()
    try:
        prefix = fresh_prefix()
        await server.ask(
            *("ACL", "SETUSER", "collab", "on", ">pw", f"~{prefix}:*", "+@all", "-@dangerous", "+info")
        )
        url = f"redis://collab:pw@127.0.0.1:{server.port}/3"
        async with pair(url, prefix=prefix), counting(url, prefix) as counts:
            assert await counts.add({"x": 2}) == {"x": 2}
            assert await server.ask("DBSIZE") == 0
    finally:
        server.stop()


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    server = private_valkey(f"unixsocket {path}")
    try:
        async with pair(f"unix://{path}") as (a, _), counting(f"unix://{path}") as counts:
            assert a.bus.trouble is None
            assert await counts.add({"x": 2}) == {"x": 2}
    finally:
        server.stop()


@asynccontextmanager
async def serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """A server on a free port; its connections end with the block."""
    writers: set[asyncio.StreamWriter] = set()
    ended = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await handle(reader, writer)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            writers.discard(writer)
            ended.set()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for writer in list(writers):
            writer.transport.abort()
        while writers:
            ended.clear()
            await ended.wait()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    needed("openssl", "to make a certificate")
    folder: Path = tmp_path_factory.mktemp("tls")
    key, chain = folder / "key.pem", folder / "chain.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*command.split(), *names, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True
    )
    return chain, key


@asynccontextmanager
async def behind_tls(port: int, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """A server's port, encrypted: the Valkey of the wheel has no TLS of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, up_writer), pass_on(up_reader, writer))

    async with serving(handle, context) as tls_port:
        yield tls_port


async def test_tls_with_an_authority_of_ones_own(certificate: tuple[Path, Path]) -> None:
    async with behind_tls(shared_valkey().port, certificate) as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={certificate[0]}"
        async with pair(url) as (a, b), counting(url) as counts:
            big = bytes(1 << 20)
            a.say(ROOM, big)
            await eventually(lambda: big in b.ear.data(ROOM), "a large message passes")
            assert await counts.add({"x": 2}) == {"x": 2}


async def test_tls_refuses_a_certificate_that_nobody_vouches_for(certificate: tuple[Path, Path]) -> None:
    async with behind_tls(shared_valkey().port, certificate) as port:
        speaker = make(f"rediss://localhost:{port}", "a")
        await speaker.bus.open(speaker.ear)
        assert "certificate" in (speaker.bus.trouble or "").lower()
        async with counting(f"rediss://localhost:{port}") as counts:
            assert await counts.add({"x": 2}) == {}
        async with pair(f"rediss://localhost:{port}?ssl_cert_reqs=none"):
            pass


async def test_a_certificate_file_that_is_missing_is_an_error() -> None:
    speaker = make("rediss://localhost:1?ssl_ca_certs=/nowhere.pem", "a")
    with pytest.raises(BusConfigError, match="certificate"):
        await speaker.bus.open(speaker.ear)


@asynccontextmanager
async def answering(info: str) -> AsyncIterator[int]:
    """A server that answers INFO, and everything else with OK."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if b"INFO" in data:
                writer.write(b"$%d\r\n%b\r\n" % (len(info), info.encode()))
            if b"CLIENT" in data:
                writer.write(b"+OK\r\n")

    async with serving(answer) as port:
        yield port


@pytest.mark.parametrize(
    ("info", "complaint"),
    [
        ("redis_version:6.0.16\r\nrole:master\r\n", r"6\.2 or newer.*6\.0\.16"),
        ("redis_version:5.0\r\nrole:master\r\n", r"6\.2 or newer.*5\.0"),
        ("redis_version:7.2.4\r\nredis_mode:cluster\r\nrole:master\r\n", "Cluster"),
    ],
)
async def test_a_server_that_cannot_carry_the_bus_is_refused(info: str, complaint: str) -> None:
    async with answering(info) as port:
        speaker = make(f"redis://127.0.0.1:{port}", "a")
        with pytest.raises(BusConfigError, match=complaint):
            await speaker.bus.open(speaker.ear)


@pytest.mark.parametrize(
    ("info", "complaint"),
    [
        ("redis_version:7.2.4\r\nrole:slave\r\n", "replica"),
        ("redis_version:7.2.4\r\nloading:1\r\nrole:master\r\n", "loading"),
    ],
)
async def test_a_server_that_will_not_do_now_is_trouble(info: str, complaint: str) -> None:
    async with answering(info) as port:
        speaker = make(f"redis://127.0.0.1:{port}", "a")
        await speaker.bus.open(speaker.ear)
        assert complaint in (speaker.bus.trouble or "")


async def test_what_is_no_redis_at_all_is_trouble() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await reader.read()

    async with serving(greet) as port:
        speaker = make(f"redis://127.0.0.1:{port}", "a")
        await speaker.bus.open(speaker.ear)
        assert "no Redis" in (speaker.bus.trouble or "")


async def test_a_server_that_becomes_a_replica_is_left_for_the_one_that_is_the_master() -> None:
    """Sentinels say which; their word is enough, and the nodes find each other on the new master."""
    first, second = private_valkey(), private_valkey()
    await second.ask("REPLICAOF", "127.0.0.1", first.port)
    watcher = private_valkey(
        f"sentinel monitor trips 127.0.0.1 {first.port} 1",
        "sentinel down-after-milliseconds trips 500",
        "sentinel failover-timeout trips 2000",
        sentinel="trips",
    )
    try:
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watcher.port}/trips/0"
        async with pair(url, timeout_s=2.0) as (a, b), counting(url) as counts:
            shard = a.bus.shard_of(ROOM)
            assert await counts.add({"x": 2}) == {"x": 2}

            replicas: list[Any] = []
            while not any(b"%d" % second.port in replica for replica in replicas):
                replicas = await watcher.ask("SENTINEL", "REPLICAS", "trips")
            first.kill()
            await eventually(
                lambda: a.ear.gaps[shard] >= 1 and b.ear.gaps[shard] >= 1, "both are on the new one"
            )
            await they_hear_each_other(a, b, word=b"on the new master")
            assert (await second.ask("ROLE"))[0] == b"master"
            assert (await counted(counts, {"x": 3}))["x"] >= 3
    finally:
        for server in (watcher, second, first):
            server.stop()


async def test_sentinels_that_know_nothing_are_trouble() -> None:
    watcher = private_valkey(sentinel="none")
    try:
        speaker = make(f"redis+sentinel://127.0.0.1:{watcher.port}/nowhere", "a")
        await speaker.bus.open(speaker.ear)
        assert "knows no service 'nowhere'" in (speaker.bus.trouble or "")
    finally:
        watcher.stop()


async def test_sentinels_with_a_password_of_their_own() -> None:
    server = private_valkey(password="of-the-server")
    watcher = private_valkey(
        f"sentinel monitor trips 127.0.0.1 {server.port} 1",
        "sentinel auth-pass trips of-the-server",
        password="of-the-watcher",
        sentinel="trips",
    )
    url = f"redis+sentinel://:of-the-server@127.0.0.1:{watcher.port}/trips"
    try:
        right = f"{url}?sentinel_password=of-the-watcher"
        async with pair(right), counting(right) as counts:
            assert await counts.add({"x": 2}) == {"x": 2}
        speaker = make(f"{url}?sentinel_password=a-wrong-one", "a")
        await speaker.bus.open(speaker.ear)
        assert "password" in (speaker.bus.trouble or "")
        assert f"127.0.0.1:{watcher.port}" in (speaker.bus.trouble or "")
        assert "a-wrong-one" not in (speaker.bus.trouble or "")
        assert "of-the" not in (speaker.bus.trouble or "")
    finally:
        watcher.stop()
        server.stop()


async def test_counts_move_on_when_the_master_becomes_a_replica(guarded: Valkey) -> None:
    """It goes on answering, and takes nothing."""
    async with counting(guarded.url) as counts:
        assert await counts.add({"x": 2}) == {"x": 2}
        await guarded.ask("REPLICAOF", "127.0.0.1", 1)
        assert await counts.add({"x": 2}) == {}
        await guarded.ask("REPLICAOF", "NO", "ONE")
        assert await counted(counts, {"x": 3}) == {"x": 5}


async def test_counts_are_added_up_over_the_nodes_and_are_nothing_while_redis_is_away() -> None:
    server = private_valkey()
    settings = BusSettings(parse_bus_url(server.url), fresh_prefix(), timeout_s=1.0)
    now = 0.0
    a = RedisCounts(settings, clock=lambda: now)
    b = RedisCounts(settings, clock=lambda: now)
    try:
        assert await a.add({}) == {}
        assert await a.add({"x": 2, "y": 1}) == {"x": 2, "y": 1}
        assert await b.add({"x": 3}) == {"x": 5}
        assert 0 < await server.ask("TTL", f"{settings.prefix}:count:x") <= 120
        server.kill()
        assert await a.add({"x": 1}) == {}
        assert await a.add({"x": 1}) == {}
        server.start_again()
        now = 60.0
        assert await a.add({"x": 4}) == {"x": 4}
    finally:
        await a.close()
        await b.close()
        server.stop()
