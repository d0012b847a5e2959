"""Rates hold over all nodes together, and are each node's own while Redis is away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.adversity.test_abuse_limits import came_in, knocking, refused, token
from tests.support import frames
from tests.support.cluster import own_valkey
from tests.support.rawpeer import RawPeer, frame
from tests.support.server import ServerProcess, start_server
from tests.support.tokens import SECRET
from tests.support.valkey import Valkey, fresh_prefix, shared_valkey

_STRANGER = "203.0.113.7"
_BATCH = 16
_PAUSE_S = 0.02
"""Between two batches: an interval of sharing sees several."""
_AT_ONCE = 4_000
"""What a user may send at once."""
_EACH = 3_000
"""What is sent on each node: less than that alone, more than that together."""

_USER_LIMITS: dict[str, Any] = {
    "message_rate_per_user_max_per_s": 10,
    "message_burst_shared_s": _AT_ONCE / 10,
    "message_flood_max_s": 3_600,
    "message_rate_max_per_s": 1_000_000,
    "message_burst_max": 1_000_000,
}


@contextlib.contextmanager
def two_nodes(folder: Path, valkey: Valkey, **settings: Any) -> Iterator[list[ServerProcess]]:
    """Two nodes that share a store and a bus."""
    shared: dict[str, Any] = {
        "store": f"sqlite:///{folder}/rooms.sqlite3",
        "bus": valkey.url,
        "bus_prefix": fresh_prefix(),
        "limit_share_interval_ms": 100,
        "jwt_secret": SECRET,
        "trusted_proxies": "127.0.0.1",
        **settings,
    }
    with start_server(node_name="a", **shared) as a, start_server(node_name="b", **shared) as b:
        yield [a, b]


def held_back(nodes: Sequence[ServerProcess]) -> float:
    """How often a node has stopped to read from somebody."""
    return sum(node.metric("collab_reads_paused_total") for node in nodes)


async def send(peers: Sequence[RawPeer], count: int, *, pause_s: float = 0.0) -> None:
    """Send so many messages on each connection, a little at a time, and wait until they were read."""
    for _ in range(0, count, _BATCH):
        for peer in peers:
            await peer.send(frame(frames.QUERY_AWARENESS) * _BATCH)
        await asyncio.sleep(pause_s)


async def answered(peer: RawPeer) -> None:
    """The node has read everything that came before, and goes on reading."""
    await peer.send_message(frames.step1())
    await peer.receive_message(b"\x00\x01")


async def enter(stack: contextlib.AsyncExitStack, nodes: Sequence[ServerProcess]) -> list[RawPeer]:
    """One user, on each node."""
    target = f"room?token={token('ann')}"
    peers = [await stack.enter_async_context(knocking(node.ws_url, target)) for node in nodes]
    assert [await came_in(peer) for peer in peers] == [True] * len(nodes)
    return peers


async def test_what_a_user_sends_to_two_nodes_counts_on_both(tmp_path: Path) -> None:
    with two_nodes(tmp_path, shared_valkey(), **_USER_LIMITS) as nodes:
        async with contextlib.AsyncExitStack() as stack:
            await send(await enter(stack, nodes), _EACH, pause_s=_PAUSE_S)
            while not held_back(nodes):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_PAUSE_S)


async def test_while_redis_is_away_each_node_counts_for_itself(tmp_path: Path) -> None:
    with own_valkey() as valkey, two_nodes(tmp_path, valkey, **_USER_LIMITS) as nodes:
        valkey.kill()
        async with contextlib.AsyncExitStack() as stack:
            here, there = await enter(stack, nodes)
            await send([here, there], _EACH, pause_s=_PAUSE_S / 4)
            await answered(here)
            await answered(there)
            assert not held_back(nodes)
            await send([here], _EACH)
            while not held_back(nodes[:1]):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_PAUSE_S)
            await answered(there)
            assert not held_back(nodes[1:])


async def test_an_address_that_connects_to_two_nodes_has_to_wait_on_both(tmp_path: Path) -> None:
    at_once = 30
    with two_nodes(
        tmp_path,
        shared_valkey(),
        connection_rate_per_address_max_per_s=0.001,
        connection_burst_per_address_max=at_once,
    ) as nodes:
        target = f"room?token={token('ann')}"
        for _ in range(at_once - 5):
            for node in nodes:
                async with knocking(node.ws_url, target, X_Forwarded_For=_STRANGER):
                    pass
            if all(refused(node, "address_rate") for node in nodes):
                break
            await asyncio.sleep(_PAUSE_S)
        else:
            raise AssertionError("each node counts for itself")
