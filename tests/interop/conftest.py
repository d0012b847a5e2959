"""The server and the clients of the interop suite."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import jwt
import pytest
import pytest_asyncio

from tests.interop.peers import Peers
from tests.support.server import ServerProcess, external_url, start_server

SECRET = "a secret of the tests, long enough"
_room_numbers = count()
_RUN = secrets.token_hex(3)
"""Rooms of an external server outlive a test run."""


@dataclass(frozen=True)
class Place:
    """Where the clients of a test meet; the process is None when the server is an external one."""

    url: str
    process: ServerProcess | None

    def room(self, name: str = "trip") -> str:
        """The name of a room that no other test uses."""
        return f"{name}-{_RUN}-{next(_room_numbers)}"


def token(rooms: dict[str, Any], user: str = "ann", ttl_s: float = 600, **claims: Any) -> str:
    """What an application would give to its user, for servers whose ``jwt_secret`` is ``SECRET``."""
    now = time.time()
    return jwt.encode(
        {"sub": user, "iat": now, "exp": now + ttl_s, "rooms": rooms, **claims}, SECRET, algorithm="HS256"
    )


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """One server for all tests that leave it as it is."""
    url = external_url()
    if url is not None:
        yield Place(url, None)
        return
    with start_server() as server:
        yield Place(server.ws_url, server)


@pytest.fixture
def own_place(place: Place) -> Place:
    """The shared server, for tests of what the reference server does not do."""
    if place.process is None:
        pytest.skip("not a behaviour of the reference server")
    return place


@pytest_asyncio.fixture
async def peers(place: Place) -> AsyncIterator[Peers]:
    """A Node process whose clients connect to the shared server."""
    async with Peers(place.url) as started:
        yield started


@pytest.fixture
def server(server_factory: Callable[..., ServerProcess]) -> ServerProcess:
    """A server of the test's own, to be killed and restarted; presence outlives a cut by one second."""
    return server_factory(presence_grace_s=1)
