"""Those who take too much, or come from where they should not: refused in words, and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping

import httpx
import jwt
import pytest

from tests.adversity.conftest import Arena, healthy_in
from tests.support import frames
from tests.support.rawpeer import RawPeer, frame
from tests.support.server import ServerProcess, http_get
from tests.support.tokens import SECRET

Factory = Callable[..., ServerProcess]
_STRANGER = "203.0.113.7"


def token(user: str, **claims: object) -> str:
    """A token for every room."""
    now = int(time.time())
    all_claims = {"sub": user, "rooms": {"*": "editor"}, "iat": now, "exp": now + 600, **claims}
    return jwt.encode(all_claims, SECRET, algorithm="HS256")


def refused(server: ServerProcess, reason: str) -> float:
    """How often the server turned somebody away for this."""
    return server.metrics()[f'collab_connections_refused_total{{reason="{reason}"}}']


@contextlib.asynccontextmanager
async def knocking(url: str, target: str, **headers: str) -> AsyncIterator[RawPeer]:
    """A WebSocket with headers of one's own."""
    async with RawPeer(url) as peer:
        await peer.upgrade(target, **headers)
        yield peer


async def came_in(peer: RawPeer) -> bool:
    """Whether the server let this one into the room, after it asked for the document."""
    await peer.send_message(frames.step1())
    try:
        await peer.receive_message(b"\x00\x01")
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return True


async def test_one_address_gets_its_share_of_the_connections_and_not_the_others(
    server_factory: Factory,
) -> None:
    server = server_factory(trusted_proxies="127.0.0.1", allow_anonymous=True, connections_per_address_max=10)
    async with healthy_in(server) as arena, contextlib.AsyncExitStack() as stack:
        greedy = [
            await stack.enter_async_context(knocking(arena.url, arena.room, X_Forwarded_For=address))
            for address in [f"9.9.9.9, {_STRANGER}"] * 12 + [f"2001:db8:0:1::{n:x}" for n in range(12)]
        ]
        for group in (greedy[:12], greedy[12:]):
            assert [await came_in(peer) for peer in group[:10]] == [True] * 10
            assert [await peer.close_code() for peer in group[10:]] == [4429, 4429]
        async with knocking(arena.url, arena.room, X_Forwarded_For="203.0.113.8") as other:
            assert await came_in(other)
        assert refused(server, "address_connections") == 4
        # A place that becomes free is free.
        await greedy[0].send(frame(b"\x03\xe8", 8))
        await greedy[0].close_code()
        deadline = time.monotonic() + 20
        while True:
            async with knocking(arena.url, arena.room, X_Forwarded_For=_STRANGER) as late:
                if await came_in(late):
                    break
            assert time.monotonic() < deadline
        await arena.unharmed()


async def test_an_address_that_connects_all_the_time_has_to_wait(server_factory: Factory) -> None:
    server = server_factory(
        trusted_proxies="127.0.0.1",
        allow_anonymous=True,
        connection_rate_per_address_max_per_s=0.001,
        connection_burst_per_address_max=20,
    )
    async with healthy_in(server) as arena:
        for number in range(30):
            async with knocking(arena.url, arena.room, X_Forwarded_For=_STRANGER) as peer:
                if number < 20:
                    assert await came_in(peer)
                else:
                    assert await peer.close_code() == 4429
        assert refused(server, "address_rate") == 10
        await arena.unharmed()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "https://evil.example"}, 4403),
        ({"Origin": "null"}, 4403),
        ({"Host": "evil.example:4000", "Origin": "http://evil.example:4000"}, 4403),
        ({"Host": "evil.example"}, 4403),
        ({"X_Forwarded_For": "127.0.0.1"}, 4403),
        ({"Forwarded": "for=127.0.0.1"}, 4403),
    ],
)
async def test_a_server_without_keys_serves_its_machine_and_no_page_or_proxy_from_elsewhere(
    arena: Arena, headers: Mapping[str, str], code: int
) -> None:
    async with knocking(arena.url, arena.room, **headers) as peer:
        assert await peer.close_code() == code


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "http://app.localhost:5173"])
async def test_pages_of_this_machine_may_come(arena: Arena, origin: str) -> None:
    async with knocking(arena.url, arena.room, Origin=origin) as peer:
        assert await came_in(peer)


async def test_a_page_from_elsewhere_cannot_use_the_api_of_a_server_without_keys(arena: Arena) -> None:
    async with httpx.AsyncClient(base_url=arena.server.http_url) as client:
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            answer = await client.delete(f"/v1/documents/{arena.room}", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
        assert (await client.get(f"/v1/documents/{arena.room}")).status_code == 200


async def test_the_pages_of_the_list_may_come_and_no_others(server_factory: Factory) -> None:
    server = server_factory(jwt_secret=SECRET, allowed_origins="https://*.example.com")
    url, key = server.ws_url, token("ann")
    for origin, is_in in (("https://app.example.com", True), ("https://app.example.net", False)):
        async with knocking(url, f"room?token={key}", Origin=origin) as peer:
            if is_in:
                assert await came_in(peer)
            else:
                assert await peer.close_code() == 4403
    assert refused(server, "origin") == 1


async def test_an_address_with_wrong_tokens_is_not_heard_for_a_while_and_others_are(
    server_factory: Factory,
) -> None:
    server = server_factory(
        trusted_proxies="127.0.0.1",
        jwt_secret=SECRET,
        wrong_tokens_per_address_max_per_s=0.001,
        wrong_tokens_burst_max=5,
    )
    codes = []
    for wrong in ["not.a.token"] * 8:
        async with knocking(server.ws_url, f"room?token={wrong}", X_Forwarded_For=_STRANGER) as peer:
            codes.append(await peer.close_code())
    assert codes == [4401] * 5 + [4429] * 3
    good = token("ann")
    async with knocking(server.ws_url, f"room?token={good}", X_Forwarded_For=_STRANGER) as peer:
        assert await peer.close_code() == 4429
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        answer = await client.get(
            "/v1/documents/room", headers={"X-Forwarded-For": _STRANGER, "Authorization": f"Bearer {good}"}
        )
        assert answer.status_code == 429, answer.text
    async with knocking(server.ws_url, f"room?token={good}", X_Forwarded_For="203.0.113.8") as peer:
        assert await came_in(peer)
    assert refused(server, "auth_failures") == 5


async def test_a_user_who_floods_over_many_connections_is_held_back_and_then_closed(
    server_factory: Factory,
) -> None:
    server = server_factory(
        jwt_secret=SECRET,
        message_rate_per_user_max_per_s=100,
        message_burst_shared_s=2,
        message_flood_max_s=2,
    )
    flooder, other = token("flooder"), token("ann")
    async with contextlib.AsyncExitStack() as stack:
        quiet = await stack.enter_async_context(knocking(server.ws_url, f"room?token={other}"))
        assert await came_in(quiet)
        peers = [
            await stack.enter_async_context(knocking(server.ws_url, f"room?token={flooder}"))
            for _ in range(5)
        ]
        for peer in peers:
            peer.writer.write(frame(frames.QUERY_AWARENESS) * 20_000)
        codes = await asyncio.gather(*(peer.close_code(60) for peer in peers))
        assert set(codes) <= {4429, 1006}
        assert 4429 in codes
        assert server.metric("collab_reads_paused_total") > 0
        await quiet.send_message(frames.step1())
        await quiet.receive_message(b"\x00\x01")


async def test_a_room_that_is_flooded_is_slowed_down_and_the_next_one_is_not(server_factory: Factory) -> None:
    server = server_factory(message_rate_per_room_max_per_s=500, message_burst_shared_s=0.5)
    async with healthy_in(server) as arena, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(knocking(arena.url, arena.room)) for _ in range(5)]
        for peer in peers:
            peer.writer.write(frame(frames.QUERY_AWARENESS) * 3_000)
        deadline = time.monotonic() + 20
        while server.metric("collab_reads_paused_total") < 5:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        one, two = arena.far
        await one.write("not slowed")
        await two.sees("not slowed")
        assert not [key for key in server.metrics() if "4429" in key]


async def test_a_tenant_has_so_many_documents_and_connections_and_another_its_own(
    server_factory: Factory,
) -> None:
    server = server_factory(jwt_secret=SECRET, tenant_rooms_max=3, tenant_members_max=5)
    async with contextlib.AsyncExitStack() as stack:

        async def enter(tenant: str | None, room: str) -> bool:
            claims = {} if tenant is None else {"tenant": tenant}
            key = token("ann", **claims)
            peer = await stack.enter_async_context(knocking(server.ws_url, f"{room}?token={key}"))
            return await came_in(peer)

        assert [await enter("a", f"{n}") for n in range(4)] == [True, True, True, False]
        assert [await enter("a", "0") for _ in range(3)] == [True, True, False]
        assert [await enter("b", f"{n}") for n in range(3)] == [True] * 3
        assert [await enter(None, f"{n}") for n in range(10)] == [True] * 10
    assert refused(server, "tenant") == 2


async def test_a_full_node_says_so_and_sends_away_only_those_who_do_nothing(server_factory: Factory) -> None:
    server = server_factory(connections_max=6, shed_patience_s=1, shed_closes_max_per_s=1)
    async with healthy_in(server) as arena, knocking(arena.url, "") as one, knocking(arena.url, "") as other:
        ends = [asyncio.create_task(peer.close_code(60)) for peer in (one, other)]
        closed, open_still = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert [end.result() for end in closed] == [1013]
        for end in open_still:
            end.cancel()
        deadline = time.monotonic() + 20
        while not server.ready():
            assert time.monotonic() < deadline, server.reasons()
            await asyncio.sleep(0.05)
        assert server.metric("collab_load_closed_total") == 1
        await arena.unharmed()
    assert "connections are closed" in server.log_text


async def test_a_node_over_its_memory_is_not_ready_and_lets_nobody_in(server_factory: Factory) -> None:
    server = server_factory(memory_limit_bytes="32MiB", shed_patience_s=3600)
    deadline = time.monotonic() + 20
    while server.ready():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    status, text = http_get(f"{server.ops_url}/ready")
    assert status == 503
    assert "overloaded: memory at" in json.loads(text)["reasons"][0]
    async with knocking(server.ws_url, "room") as peer:
        assert await peer.close_code() == 1013
    assert refused(server, "overloaded") == 1
    assert server.metrics()["collab_load_level"] == 1
