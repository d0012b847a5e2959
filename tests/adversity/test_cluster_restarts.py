"""Restarts of nodes under load: no edit is lost, and nobody is away for longer than its own back-off."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.support.cluster import NODES, Cluster, at_work, database, own_valkey, urls_of
from tests.support.server import ServerProcess, free_port, http_get
from tests.support.valkey import fresh_prefix
from tests.support.writers import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


async def test_three_nodes_are_restarted_one_after_the_other() -> None:
    with own_valkey() as valkey:
        async with database() as store, Cluster(store, [valkey.url] * NODES) as cluster:
            async with at_work(urls_of(cluster.nodes)) as crowd:
                await crowd.write_on()
                for node in cluster.nodes:
                    assert await asyncio.to_thread(node.terminate) == 0
                    await cluster.start_again(node)
                await crowd.write_on()
                await crowd.converges("the last node was back")
                # Somebody who is sent away finds the next node at once: only one of them is away at a time.
                assert max(roamer.rejections_max for roamer in crowd.roamers) <= 2
            await cluster.stop()
            await cluster.store_holds(crowd)


@pytest.mark.parametrize("has_ports", [False, True], ids=["one port", "a port each"])
async def test_all_workers_are_replaced_under_load(has_ports: bool) -> None:
    port = free_port()
    with own_valkey() as valkey:
        async with database() as store:
            server = ServerProcess(
                {
                    "workers": NODES,
                    "port": port,
                    **({"ports_from": port} if has_ports else {}),
                    "store": store,
                    "bus": valkey.url,
                    "bus_prefix": fresh_prefix(),
                    "presence_timeout_s": 600,
                    "presence_grace_s": 1,
                }
            )
            ports = range(port, port + NODES) if has_ports else [port]
            urls = [f"ws://127.0.0.1:{number}" for number in ports]
            try:
                await asyncio.to_thread(server.start)
                await until(lambda: " is running." in server.log_text, "welcome", 60)
                async with at_work(urls) as crowd:
                    await crowd.write_on()
                    server.signal(signal.SIGHUP)
                    await until(lambda: "all workers are replaced" in server.log_text, "replacement", 90)
                    await crowd.write_on()
                    await crowd.converges("all workers were replaced")
                    # No port is ever closed: who is sent away is let in at the first attempt.
                    assert max(roamer.rejections_max for roamer in crowd.roamers) <= 1
                first_operations_port = int(str(server.settings["ops_port"]))
                for number in range(NODES):
                    status, text = await asyncio.to_thread(
                        http_get, f"http://127.0.0.1:{first_operations_port + number}/metrics"
                    )
                    assert status == 200
                    assert "collab_rooms" in text
                assert await asyncio.to_thread(server.terminate) == 0
                cluster = Cluster(store, [])
                await cluster.store_holds(crowd)
            finally:
                server.close()
