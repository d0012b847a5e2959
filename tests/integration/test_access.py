"""Two servers on one store: tokens, revocation, verified presence, the audit log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import frames
from tests.support.server import ServerProcess, start_server
from tests.support.yclient import YClient

SECRET = "a secret of development, and long enough"
ADMIN = "an-admin-token-of-this-test"


def token(user: str = "ada", room: str = "*", role: str = "editor", **claims: Any) -> str:
    now = int(time.time())
    said = {"sub": user, "name": user.title(), "rooms": {room: role}, "iat": now - 5, "exp": now + 600}
    return jwt.encode({**said, **claims}, SECRET, "HS256")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    settings: dict[str, Any] = {
        "jwt_secret": SECRET,
        "admin_token": ADMIN,
        "presence_identity": "stamp",
        "store": f"sqlite:///{folder}/rooms.sqlite3",
        "store_notice_poll_ms": 200,
        "awareness_window_ms": 0,
    }
    with (
        start_server(**settings, audit_log=str(folder / "audit.0")) as here,
        start_server(**settings, audit_log=str(folder / "audit.1")) as there,
    ):
        yield here, there


def admin(server: ServerProcess) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    return httpx.AsyncClient(base_url=server.http_url, timeout=30, trust_env=False, headers=headers)


async def entered(server: ServerProcess, room: str, text: str) -> ClientConnection:
    """A socket that has been greeted."""
    socket = await connect(f"{server.ws_url}/{room}?token={text}", proxy=None)
    await asyncio.wait_for(socket.recv(), 30)
    return socket


def states_of(frame: str | bytes) -> dict[int, object]:
    """What an awareness frame says; nothing of another one."""
    if not isinstance(frame, bytes) or frame[0] != 1:
        return {}
    return {client: state for client, (_, state) in frames.read_awareness(frame).items()}


async def sent_away(socket: ClientConnection) -> int:
    """The code that the server closes with."""

    async def read_on() -> None:
        while True:
            await socket.recv()

    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(read_on(), 30)
    assert socket.close_code is not None
    return socket.close_code


async def refused(server: ServerProcess, room: str, text: str) -> int:
    return await sent_away(await connect(f"{server.ws_url}/{room}?token={text}", proxy=None))


@pytest.mark.parametrize(
    ("asked", "gone", "stays"),
    [
        ({"user": "ada"}, ("r1", {}), ("r1", {"user": "bob"})),
        ({"session": "s1"}, ("r2", {"sid": "s1"}), ("r2", {"sid": "s2", "user": "cyd"})),
        ({"room": "r3"}, ("r3", {"user": "dan"}), ("r3-other", {"user": "dan"})),
        ({"user": "eve", "room": "r4"}, ("r4", {"user": "eve"}), ("r5", {"user": "eve"})),
    ],
)
async def test_what_is_revoked_on_one_node_is_closed_on_the_other_and_cannot_come_back(
    servers: tuple[ServerProcess, ServerProcess],
    asked: dict[str, str],
    gone: tuple[str, dict[str, Any]],
    stays: tuple[str, dict[str, Any]],
) -> None:
    here, there = servers
    old = token(**gone[1])
    going = [await entered(server, gone[0], old) for server in servers]
    staying = await entered(there, stays[0], token(**stays[1]))
    async with admin(here) as api:
        answer = await api.post("/v1/access/revoke", json=asked)
        assert answer.status_code == 200, answer.text
    assert [await sent_away(socket) for socket in going] == [4401, 4401]
    assert [await refused(server, gone[0], old) for server in servers] == [4401, 4401]

    fresh = token(**{**gone[1], "iat": int(time.time()) + 2})
    for server in servers:
        await (await entered(server, gone[0], fresh)).close()
    await staying.send(frames.step1(b"\0"))
    await asyncio.wait_for(staying.recv(), 30)
    await staying.close()


async def test_a_node_that_was_away_knows_what_was_revoked_meanwhile(
    servers: tuple[ServerProcess, ServerProcess],
) -> None:
    here, there = servers
    there.terminate()
    try:
        async with admin(here) as api:
            await api.post("/v1/access/revoke", json={"user": "fay"})
    finally:
        there.start()
    assert await refused(there, "r", token("fay")) == 4401


async def test_nobody_appears_as_somebody_else_and_the_invisible_not_at_all(
    servers: tuple[ServerProcess, ServerProcess],
) -> None:
    here, _ = servers
    watcher = await entered(here, "presence", token("gus", role="viewer"))
    ghost = await entered(here, "presence", token("hal", invisible=True))
    liar = await entered(here, "presence", token("ivy"))
    claim = {"user": {"id": "gus", "name": "Gus", "color": "red"}}
    await ghost.send(frames.awareness([(66, 1, claim)]))
    await liar.send(frames.awareness([(77, 1, claim)]))
    seen: dict[int, Any] = {}
    while 77 not in seen:
        seen.update(states_of(await asyncio.wait_for(watcher.recv(), 30)))
    assert seen == {77: {"user": {"id": "ivy", "name": "Ivy", "color": "red"}}}
    # The ghost sees the others.
    while 77 not in states_of(await asyncio.wait_for(ghost.recv(), 30)):
        pass
    for socket in (watcher, ghost, liar):
        await socket.close()


async def test_the_audit_log_tells_it_all_and_no_token(
    servers: tuple[ServerProcess, ServerProcess], folder: Path
) -> None:
    here, _ = servers
    async with YClient(here.ws_url, "audit?token=" + token("jan", "audit", "owner")) as client:
        await client.write("one")
        await client.saved()
    assert await refused(here, "audit", token("kim", "elsewhere")) == 4403
    assert await refused(here, "audit", "x." + token("kim")) == 4401
    async with admin(here) as api:
        await api.post("/v1/access/revoke", json={"user": "lea"})
        headers = {"Authorization": f"Bearer {token('jan', 'audit', 'owner')}"}
        assert (await api.delete("/v1/documents/audit", headers=headers)).status_code == 204
    expected = {
        ("login", "ok", "jan"),
        ("refusal", "refused", "kim"),
        ("refusal", "refused", None),
        ("revocation", "ok", None),
        ("delete", "ok", "jan"),
    }
    deadline = time.monotonic() + 30
    while True:
        text = (folder / "audit.0").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        found = {(line["event"], line["result"], (line["who"] or {}).get("user")) for line in lines}
        if expected <= found:
            break
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    assert {line["from"] for line in lines} == {"127.0.0.1"}
    for secret in (ADMIN, SECRET, token("jan").split(".", maxsplit=1)[0]):
        assert secret not in text
        assert secret not in here.log_text
