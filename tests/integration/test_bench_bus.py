"""The bench of the bus, on a real Valkey and real nodes: what it counts is what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.bus import Measured, tables
from bench.busload import Nodes, Server, fresh_prefix
from bench.command_cost import measure
from bench.errors import BenchError
from bench.hop import Crowd, Node, median
from tests.support.server import start_server
from tests.support.valkey import shared_valkey


async def test_buses_hear_all_that_one_of_them_says() -> None:
    server = Server(shared_valkey().url)
    prefix = fresh_prefix("test")
    async with Nodes(server, prefix, 3).running() as nodes:
        load = await nodes.measure(400, 0.5)
        entries, entry_bytes = server.streams(prefix)
    assert (load.nodes, load.per_s, load.lost) == (3, 400, 0)
    assert 0 < load.p50_ms <= load.p99_ms
    assert 0 < entries <= 200 + 3 * 32, "what was said, and where each began to listen"
    assert 20 < entry_bytes < 4_000
    assert load.redis_bytes > 20
    assert load.redis_us > 0
    assert load.receiver_us > 0
    assert server.streams(prefix) == (0, 0), "nothing is left"
    server.close()


async def test_each_edit_is_timed_on_both_ways(tmp_path: Path) -> None:
    server = Server(shared_valkey().url)
    prefix = fresh_prefix("test-nodes")
    shared: dict[str, Any] = {
        "store": f"sqlite:///{tmp_path}/rooms.sqlite3",
        "bus": server.url,
        "bus_prefix": prefix,
    }
    with start_server(**shared) as one, start_server(**shared) as other:
        crowd = Crowd("test", [Node(one.port, one.pid), Node(other.port, other.pid)], server, 60)
        await crowd.connect()
        hop = median([await crowd.measure(60, 0.5), await crowd.measure(60, 0.5)])
        crowd.close()
    server.forget(prefix)
    server.close()
    assert (hop.nodes, hop.per_s, hop.lost) == (2, 60, 0)
    assert 0 < hop.same_p50_ms <= hop.same_p99_ms
    assert 0 < hop.hop_p50_ms <= hop.hop_p99_ms
    assert hop.sender_us > 0
    assert hop.receiver_us > 0
    told = tables(Measured("a machine", server.name, hops=[hop], unheld=[hop]))
    assert f"| 2 | 60 | {hop.same_p50_ms:.1f} / {hop.same_p99_ms:.1f} |" in told
    assert "60 edits/s through 2 nodes are beyond this machine" in told


async def test_a_command_is_measured_on_both_clients() -> None:
    for cost in await measure(shared_valkey().url, fresh_prefix("test-commands"), 1):
        assert cost.link_us > 0
        assert cost.redis_py_us > 0


def test_a_redis_that_is_not_there_is_said_in_one_line() -> None:
    with pytest.raises(BenchError, match="no Redis: "):
        Server("redis://127.0.0.1:1")
    with pytest.raises(BenchError, match="no Redis: "):
        Server("nowhere")
