"""Three nodes, sixty clients, and something that dies: nothing acknowledged is lost, and all converge.

``COLLAB_TEST_ROUNDS`` is how often each fault is made, on one set of nodes; once where nothing is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.cluster import NODES, PATIENCE_S, Cluster, Crowd, at_work, database, own_valkey, urls_of
from tests.support.postgres import PostgresServer
from tests.support.server import ServerProcess
from tests.support.tcp_proxy import TcpProxy

ROUNDS = int(os.environ.get("COLLAB_TEST_ROUNDS", "1"))

_MORE_THAN_MAY_WAIT_BYTES = 8 * 1024
"""From each of sixty clients, twenty of them on each node."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 60 * ROUNDS)]


@contextlib.asynccontextmanager
async def running(
    bus_urls: list[str], store: str, **settings: object
) -> AsyncIterator[tuple[Cluster, Crowd]]:
    """Nodes and clients at work; at the end all is well with both, and with the store alone."""
    async with Cluster(store, bus_urls, **settings) as cluster:
        async with at_work(urls_of(cluster.nodes)) as crowd:
            await crowd.write_on()
            yield cluster, crowd
        await cluster.stop()
        await cluster.store_holds(crowd)


async def test_a_node_is_killed_and_its_clients_go_on_elsewhere() -> None:
    dice = random.Random(9)
    with own_valkey() as valkey:
        async with database() as store, running([valkey.url] * NODES, store) as (cluster, crowd):
            for _ in range(ROUNDS):
                killed = dice.choice(cluster.nodes)
                async with crowd.visited(killed.ws_url):
                    killed.kill()
                await crowd.write_on()
                await crowd.converges("a node was killed and its clients had written again")
                await cluster.start_again(killed)
                await crowd.write_on()
            await crowd.converges("the last edit")


async def test_valkey_is_killed_and_comes_back_empty() -> None:
    # More is written than may wait for Valkey, and only the gap that this makes can heal it in time.
    lossy = {"bus_queue_bytes_max": "64KiB", "anti_entropy_interval_s": 3600}
    with own_valkey() as valkey:
        async with database() as store, running([valkey.url] * NODES, store, **lossy) as (cluster, crowd):
            for _ in range(ROUNDS):
                valkey.kill()
                await degraded(cluster.nodes)
                await crowd.write_at_length(_MORE_THAN_MAY_WAIT_BYTES)
                await crowd.write_on()  # each with those who are on the same node
                valkey.start_again()
                await crowd.converges("Valkey came back")
                await crowd.write_on()
            await crowd.converges("the last edit")


async def test_postgresql_is_killed_and_comes_back() -> None:
    postgres = PostgresServer.start(max_connections="80")
    try:
        with own_valkey() as valkey:
            async with (
                database(postgres) as store,
                running([valkey.url] * NODES, store) as (_, crowd),
            ):
                for _ in range(ROUNDS):
                    await asyncio.to_thread(postgres.kill_hard)
                    await asyncio.sleep(0.5)  # what is written meanwhile is not acknowledged
                    await asyncio.to_thread(postgres.start_again)
                    await crowd.write_on()
                    await crowd.converges("PostgreSQL came back and each client had written again")
                await crowd.converges("the last edit")
    finally:
        postgres.stop()


async def test_a_node_is_cut_off_from_valkey_and_heals() -> None:
    with own_valkey() as valkey:
        async with AsyncExitStack() as stack:
            proxies = [await stack.enter_async_context(TcpProxy(valkey.port).serve()) for _ in range(NODES)]
            store = await stack.enter_async_context(database())
            urls = [f"redis://127.0.0.1:{proxy.port}" for proxy in proxies]
            cluster, crowd = await stack.enter_async_context(running(urls, store))
            for number in range(ROUNDS):
                cut, silent = proxies[number % NODES], proxies[(number + 1) % NODES]
                cut.refusing = True
                cut.cut()
                silent.stalled = True  # the connection is there, and nothing passes
                await degraded([cluster.nodes[number % NODES]])
                await crowd.write_on()
                cut.refusing = silent.stalled = False
                await crowd.converges("the nodes were joined again")
                await crowd.write_on()
            await crowd.converges("the last edit")


async def degraded(nodes: list[ServerProcess]) -> None:
    """Wait until each of these nodes says that it is, and still wants clients."""
    async with asyncio.timeout(PATIENCE_S):
        for node in nodes:
            while not await asyncio.to_thread(node.reasons):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            assert await asyncio.to_thread(node.ready), await asyncio.to_thread(node.reasons)
