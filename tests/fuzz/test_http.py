"""The HTTP interface against its own schema: Schemathesis makes up requests, good and bad, with one seed.

Whatever it sends, each answer is one that the schema tells of, and nobody else notices.
``COLLAB_TEST_HTTP_EXAMPLES`` is the number of requests of each route, for longer runs by hand, and
``COLLAB_TEST_HTTP_SEED`` asks for others.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import httpx
import jwt
import pytest

from tests.adversity.conftest import Arena, healthy_in
from tests.fuzz.http_hooks import DOOMED, ROOMS
from tests.support.server import ServerProcess, start_server
from tests.support.tokens import SECRET
from tests.support.yclient import YClient

_ROOT = Path(__file__).parents[2]
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
_EXAMPLES = int(os.environ.get("COLLAB_TEST_HTTP_EXAMPLES", "20"))
_SEED = os.environ.get("COLLAB_TEST_HTTP_SEED", "1")
_PATIENCE_S = 60 + 5 * _EXAMPLES
_WORKER_FILES_MAX = 12
"""Workers that are started meanwhile have pipes to the server, four of each."""

pytestmark = [pytest.mark.timeout(2 * _PATIENCE_S), pytest.mark.slow]


def bearer(role: str | None) -> dict[str, str]:
    """The headers of somebody with this role everywhere; none for None."""
    if role is None:
        return {}
    now = int(time.time())
    claims = {"sub": f"the-{role}", "rooms": {"*": role}, "iat": now - 60, "exp": now + 2 * _PATIENCE_S}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}


async def attack(url: str, headers: Mapping[str, str], folder: Path) -> None:
    """Send what Schemathesis makes of the schema; fail with its report when an answer is not as it says."""
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *given),
        *("--checks", ",".join(_CHECKS), "--phases", "examples,coverage,fuzzing", "--workers", "1"),
        *("--max-examples", str(_EXAMPLES), "--seed", _SEED, "--continue-on-failure"),
        *("--suppress-health-check", "all", "--warnings", "off", "--no-color"),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "SCHEMATHESIS_HOOKS": "tests.fuzz.http_hooks"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, told.decode(errors="replace")[-20_000:]


async def furnish(server: ServerProcess, headers: Mapping[str, str]) -> None:
    """Make the documents that the requests are led to, each with a named version."""
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    query = f"?token={token}" if token else ""
    async with httpx.AsyncClient(base_url=server.http_url, headers=headers) as client:
        for room, version in [*ROOMS.items(), (DOOMED, "v4")]:
            async with YClient(server.ws_url, f"{room}{query}") as writer:
                await writer.write("something")
                await writer.saved()
            made = await client.post(f"/v1/documents/{room}/versions", json={"name": "first"})
            assert made.json()["id"] == version, made.text


async def untouched(server: ServerProcess, arena: Arena, headers: Mapping[str, str]) -> list[object]:
    """All that the API tells of the rooms that nobody attacks."""
    async with httpx.AsyncClient(base_url=server.http_url, headers=headers) as client:
        told: list[object] = []
        for room in (arena.near[0].room, arena.far[0].room):
            name = quote(room.partition("?")[0], safe="")
            told.append((await client.get(f"/v1/documents/{name}?format=update")).content)
            told.append((await client.get(f"/v1/documents/{name}/versions")).json())
        return told


async def at_rest(server: ServerProcess, members: float, files: float) -> None:
    """Nothing is left of the requests: nobody in a room, no edit on its way, no connection, hardly a file."""
    deadline = time.monotonic() + 60
    while (
        server.metric("collab_members") != members
        or server.metric("collab_journal_entries")
        or server.metric("process_open_fds") > files + _WORKER_FILES_MAX
    ):
        assert time.monotonic() < deadline, server.metrics()
        await asyncio.sleep(0.05)


def harmless(server: ServerProcess) -> None:
    """It lives, is ready, and made no mistake that it noticed."""
    assert server.alive
    assert server.ready(), server.reasons()
    for trace in ("Traceback", "[error", "[critical", "internal_error"):
        assert trace not in server.log_text, server.log_tail()


async def test_every_answer_of_a_server_without_keys_is_as_the_schema_says(tmp_path: Path) -> None:
    with start_server(folder=tmp_path) as server:
        await furnish(server, {})
        async with healthy_in(server) as arena:
            before, files = await untouched(server, arena, {}), server.metric("process_open_fds")
            await attack(server.http_url, {}, tmp_path)
            assert await untouched(server, arena, {}) == before
            await at_rest(server, members=4, files=files)
            await arena.unharmed()
            harmless(server)


@pytest.mark.parametrize("role", ["owner", "viewer", None])
async def test_every_answer_to_somebody_with_a_token_or_none_is_as_the_schema_says(
    tmp_path: Path, role: str | None
) -> None:
    with start_server(folder=tmp_path, jwt_secret=SECRET, audit_log=str(tmp_path / "audit")) as server:
        owner = bearer("owner")
        await furnish(server, owner)
        rss_bytes, files = server.rss_bytes, server.metric("process_open_fds")
        await attack(server.http_url, bearer(role), tmp_path)
        await at_rest(server, members=0, files=files)
        assert server.rss_bytes - rss_bytes < 160 * 1024 * 1024
        harmless(server)
        written = server.log_text + (tmp_path / "audit").read_text()
        for token in (owner, bearer(role)):
            assert token.get("Authorization", "Bearer nobody").removeprefix("Bearer ") not in written
        if role != "owner":
            async with httpx.AsyncClient(base_url=server.http_url, headers=owner) as client:
                for room, version in [*ROOMS.items(), (DOOMED, "v4")]:
                    told = (await client.get(f"/v1/documents/{room}/versions")).json()
                    assert [line["id"] for line in told["versions"] if line["kind"] == "named"] == [version]


async def test_every_answer_of_the_operations_port_is_as_the_schema_says(tmp_path: Path) -> None:
    with start_server(folder=tmp_path) as server:
        async with healthy_in(server) as arena:
            await attack(server.ops_url, {}, tmp_path)
            await arena.unharmed()
            harmless(server)
