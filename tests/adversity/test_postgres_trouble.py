"""A network that fails between the server and its PostgreSQL, and a PostgreSQL that dies, under load.

Whatever happens there: nothing that was acknowledged is missing afterwards, people who are in a room go on
to see each other's edits, /ready tells what is wrong, and all of it heals without anybody's help.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from urllib.parse import urlencode, urlsplit

import pytest
import pytest_asyncio

from tests.support.postgres import PostgresServer, shared_server
from tests.support.server import ServerProcess, external_url
from tests.support.tcp_proxy import TcpProxy
from tests.support.writers import (
    Writer,
    nothing_is_missing,
    text_of,
    under_load,
    until,
    until_ready_is,
    write_until_closed,
)
from tests.support.yclient import YClient
from tests.unit.persistence.conftest import Database

KIB = 1024
IMPATIENT = {"statement_timeout_ms": "1000", "connect_timeout_ms": "500"}
BOUNDED = {
    "room_buffered_bytes_max": 64 * KIB,
    "journal_bytes_max": 1024 * KIB,
    "store_timeout_s": 1,
    "compact_after_updates": 20,
}
_marks = count()


def address(port: int, database: str, **parameters: str) -> str:
    return (
        f"postgresql://postgres@127.0.0.1:{port}/{database}?{urlencode({'sslmode': 'disable', **parameters})}"
    )


@pytest_asyncio.fixture
async def proxy(database: Database) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(database.port).serve() as proxy:
        yield proxy


@pytest.fixture
def server(
    proxy: TcpProxy, database: Database, server_factory: Callable[..., ServerProcess]
) -> ServerProcess:
    """Started by the test, because the proxy serves on the test's own loop."""
    if external_url():
        pytest.skip("needs a server process of its own")
    return server_factory(wait=False, store=address(proxy.port, database.name, **IMPATIENT), **BOUNDED)


def writers_on(server: ServerProcess, name: str = "w") -> list[Writer]:
    return [Writer(server, f"busy-{n % 3}", f"{name}{n}", comes_back=True) for n in range(6)]


async def see_each_other(one: YClient, other: YClient) -> None:
    """Each sees at once what the other writes."""
    for writer, reader in ((one, other), (other, one)):
        mark = f"<{next(_marks)}>"
        await writer.write(mark)
        await reader.sees(mark, timeout_s=10)


def cut(proxy: TcpProxy) -> None:
    proxy.refusing = True
    proxy.cut()


def stall(proxy: TcpProxy) -> None:
    proxy.stalled = True


def half_close_towards_us(proxy: TcpProxy) -> None:
    proxy.refusing = True
    proxy.half_close(towards_server=False)


def half_close_towards_postgres(proxy: TcpProxy) -> None:
    proxy.refusing = True
    proxy.half_close(towards_server=True)


def heal(proxy: TcpProxy) -> None:
    proxy.refusing = proxy.stalled = False


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [cut, stall, half_close_towards_us, half_close_towards_postgres])
async def test_a_network_that_fails_costs_nothing_that_was_acknowledged_and_stops_nobody_from_editing(
    server: ServerProcess, proxy: TcpProxy, fault: Callable[[TcpProxy], None]
) -> None:
    await asyncio.to_thread(server.wait_ready)
    writers = writers_on(server)
    async with (
        under_load(writers) as load,
        YClient(server.ws_url, "pair") as one,
        YClient(server.ws_url, "pair") as other,
    ):
        await load.until_acknowledged(100)
        await see_each_other(one, other)

        fault(proxy)
        greedy = YClient(server.ws_url, "busy-0")
        await until_ready_is(server, wanted=False)
        reasons = await asyncio.to_thread(server.reasons)
        assert any("store" in reason or "postgresql" in reason for reason in reasons), reasons
        assert await asyncio.to_thread(server.health) == 200
        for _ in range(20):
            await see_each_other(one, other)
        await greedy.open()
        await write_until_closed(greedy, 1024 * KIB)
        assert greedy.close_code == 4503
        await greedy.close()
        await see_each_other(one, other)
        acknowledged = load.acknowledged
        await see_each_other(one, other)
        assert load.acknowledged == acknowledged, "acknowledged without a store"

        heal(proxy)
        await until_ready_is(server, wanted=True)
        await load.until_each_is_acknowledged()
        await one.saved(timeout_s=60)
        pair = str(one.text)
    await asyncio.to_thread(server.restart, kill=True)
    await nothing_is_missing(server, writers)
    assert await text_of(server, "pair") == pair


@pytest.mark.parametrize(
    ("latency_s", "bytes_per_s"), [(0.04, None), (0.0, 200 * KIB)], ids=["latency", "bandwidth"]
)
async def test_a_slow_network_delays_acknowledgements_and_nothing_else(
    server: ServerProcess, proxy: TcpProxy, latency_s: float, bytes_per_s: float | None
) -> None:
    await asyncio.to_thread(server.wait_ready)
    writers = writers_on(server)
    async with (
        under_load(writers) as load,
        YClient(server.ws_url, "pair") as one,
        YClient(server.ws_url, "pair") as other,
    ):
        await load.until_acknowledged(50)
        proxy.latency_s, proxy.bytes_per_s = latency_s, bytes_per_s
        for _ in range(20):
            await see_each_other(one, other)
        for _ in range(3):
            await load.until_each_is_acknowledged()
        assert await asyncio.to_thread(server.ready)
    assert {writer.close_code for writer in writers} <= {None, 1000}
    await asyncio.to_thread(server.kill)
    proxy.latency_s, proxy.bytes_per_s = 0.0, None
    await asyncio.to_thread(server.start)
    await nothing_is_missing(server, writers)


async def test_commits_whose_replies_are_lost_are_made_again_and_nothing_is_there_twice(
    server: ServerProcess, proxy: TcpProxy
) -> None:
    await asyncio.to_thread(server.wait_ready)
    writers = writers_on(server)
    async with under_load(writers) as load:
        for lost in range(1, 6):
            await load.until_acknowledged(20)
            proxy.lose_reply_to = b"commit\0"
            await until(lambda lost=lost: proxy.replies_lost >= lost, "lost reply")  # type: ignore[misc]
            await load.until_each_is_acknowledged()
    await asyncio.to_thread(server.restart, kill=True)
    await nothing_is_missing(server, writers)
    for writer in writers:
        found = await text_of(server, writer.room)
        assert all(found.count(mark) == 1 for mark in writer.acknowledged)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may kill."""
    shared_server()  # skips where there is none
    postgres = PostgresServer.start(max_connections="30")
    yield postgres
    postgres.stop()


@pytest.mark.timeout(120)
async def test_a_postgres_that_is_killed_again_and_again_under_load_has_all_that_was_acknowledged(
    own_postgres: PostgresServer, server_factory: Callable[..., ServerProcess]
) -> None:
    port = urlsplit(own_postgres.dsn).port
    assert port is not None
    server = server_factory(store=address(port, "postgres", **IMPATIENT), **BOUNDED)
    writers = writers_on(server)
    async with (
        under_load(writers) as load,
        YClient(server.ws_url, "pair") as one,
        YClient(server.ws_url, "pair") as other,
    ):
        for end in (own_postgres.kill_hard, own_postgres.kill, own_postgres.kill_hard):
            await load.until_acknowledged(60)
            await asyncio.to_thread(end)
            await until_ready_is(server, wanted=False)
            await see_each_other(one, other)
            await asyncio.to_thread(own_postgres.start_again)
            await until_ready_is(server, wanted=True)
            await load.until_each_is_acknowledged()
        await one.saved()
        pair = str(one.text)
    await asyncio.to_thread(server.restart, kill=True)
    await nothing_is_missing(server, writers)
    assert await text_of(server, "pair") == pair


@pytest.mark.timeout(120)
async def test_two_servers_that_write_to_the_same_rooms_and_compact_them_lose_nothing(
    database: Database, server_factory: Callable[..., ServerProcess]
) -> None:
    store = address(database.port, database.name)
    # Rooms are left and opened all the time, which is when a room is compacted without waiting.
    restless = {"store": store, "compact_after_updates": 5, "room_quiet_evict_s": 0.05}
    first = server_factory(**restless)
    second = server_factory(**{**restless, "compact_in_worker_bytes": 0})
    third = server_factory(store=store, compact_after_updates=100_000)
    servers = [first, second, third]
    staying = [Writer(server, "shared", f"s{n}") for n, server in enumerate(servers)]
    visiting = [
        Writer(server, f"shared-{n % 2}", f"v{n}.{number}")
        for number, server in enumerate(servers)
        for n in range(4)
    ]
    async with under_load(staying) as load:
        for _ in range(12):
            await asyncio.gather(*(visitor.work(marks_max=5) for visitor in visiting))
            await asyncio.sleep(0.1)
        await load.until_each_is_acknowledged()
        for server in (first, second):
            done = await asyncio.to_thread(server.metrics)
            assert done['collab_compactions_total{outcome="done"}'] > 0
    for server in servers:
        await asyncio.to_thread(server.kill)
    await asyncio.to_thread(first.start)
    await nothing_is_missing(first, [*staying, *visiting])


@pytest.mark.parametrize("fault", [cut, stall])
async def test_a_server_that_cannot_reach_its_postgres_does_not_start_and_says_why_in_one_line(
    database: Database, proxy: TcpProxy, fault: Callable[[TcpProxy], None]
) -> None:
    fault(proxy)
    url = address(proxy.port, database.name, **IMPATIENT).replace("postgres@", "postgres:topsecret@")
    with ServerProcess({"store": url}) as server:
        server.start(wait=False)
        assert await asyncio.to_thread(server.wait_exit, 20) == 1
        (line,) = server.log_text.splitlines()
    assert line.startswith("collab-server: the store cannot be opened: postgresql://127.0.0.1:")
    assert "topsecret" not in line
