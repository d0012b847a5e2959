"""A node that leaves: the load balancer sees it first, nobody is reset, and its clients know to come back."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import pytest

from tests.support.rawpeer import RawPeer
from tests.support.server import ServerProcess, http_get
from tests.support.writers import text_of, until, until_ready_is
from tests.support.yclient import YClient

_WAITING = 50


async def test_a_node_that_gives_notice_is_unready_and_serves_on_until_the_notice_is_over(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory(drain_notice_s=3)
    async with YClient(server.ws_url, "trip") as there:
        server.signal(signal.SIGTERM)
        await until_ready_is(server, False)
        assert await asyncio.to_thread(server.reasons) == ["this node is leaving"]
        async with YClient(server.ws_url, "trip") as late:
            await late.write("who was sent here before the balancer knew")
            await late.saved()
            await there.sees("who was sent here before the balancer knew")
            await late.until(lambda: not late.connected)
            assert late.close_code == 1012
        await there.until(lambda: not there.connected)
        assert there.close_code == 1012
    assert await asyncio.to_thread(server.wait_exit) == 0


async def test_a_second_signal_cuts_the_notice_short(server_factory: Callable[..., ServerProcess]) -> None:
    server = server_factory(drain_notice_s=600)
    server.signal(signal.SIGTERM)
    await until_ready_is(server, False)
    server.signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait_exit, 20) == 128 + signal.SIGTERM


async def test_clients_are_sent_away_group_by_group_and_those_who_wait_go_on_editing(
    server_factory: Callable[..., ServerProcess],
) -> None:
    # One client a second, so that somebody is still here when somebody is gone already.
    server = server_factory(drain_s=60, drain_clients_min_per_s=1)
    clients = [YClient(server.ws_url, f"room-{number}") for number in range(4)]
    for client in clients:
        await client.open()
    server.signal(signal.SIGTERM)
    # Rooms leave by name.
    await clients[0].until(lambda: not clients[0].connected)
    last = clients[3]
    assert last.connected
    await last.write("still here")
    await last.saved()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port), 5):
        pass
    assert (await asyncio.to_thread(http_get, f"{server.ops_url}/ready"))[0] == 503
    await last.until(lambda: not last.connected)
    for client in clients:
        await client.close()
        assert client.close_code == 1012
    assert await asyncio.to_thread(server.wait_exit) == 0
    await asyncio.to_thread(server.start)
    assert await text_of(server, "room-3") == "still here"


async def test_connections_that_wait_to_be_accepted_when_a_node_leaves_are_told_and_not_reset(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory()
    server.signal(signal.SIGSTOP)  # it is busy with something else
    try:
        waiting = [RawPeer(server.ws_url) for _ in range(_WAITING)]
        for peer in waiting:
            await peer.__aenter__()
        asked = [asyncio.create_task(peer.upgrade("trip")) for peer in waiting]
        server.signal(signal.SIGTERM)
    finally:
        server.signal(signal.SIGCONT)
    await asyncio.gather(*asked)  # raises when one was reset
    assert {await peer.close_code() for peer in waiting} == {1012}
    for peer in waiting:
        await peer.__aexit__(None, None, None)
    assert await asyncio.to_thread(server.wait_exit) == 0


async def test_a_client_that_does_not_answer_keeps_nobody(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory(drain_s=3)
    async with RawPeer(server.ws_url) as deaf:
        await deaf.upgrade("trip")  # and never a word again
        await until(lambda: server.metric("collab_connections") > 0, "connection")
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait_exit) == 0
