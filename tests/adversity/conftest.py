"""A server under attack, and clients beside it that must not notice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
import pytest_asyncio

from tests.contract.buses import House, RedisWorld, redis_world
from tests.support.postgres import shared_server
from tests.support.rawpeer import RawPeer
from tests.support.server import ServerProcess, external_url, start_server
from tests.support.yclient import YClient
from tests.unit.persistence.conftest import Database

_numbers = count()
_GROWTH_BYTES_MAX = 160 * 1024 * 1024


class Arena:
    """A room that is attacked, a room that is not, and two healthy clients in each."""

    def __init__(
        self, server: ServerProcess, near: tuple[YClient, YClient], far: tuple[YClient, YClient]
    ) -> None:
        self.server = server
        self.near = near
        self.far = far
        self.room = near[0].room
        self.url = server.ws_url
        self._pid = server.pid
        self._rss_bytes = server.rss_bytes
        self._received = [client.received for client in (*near, *far)]

    def attacker(self) -> RawPeer:
        """A TCP connection of the attacker."""
        return RawPeer(self.url)

    async def close_code_for(self, *payloads: bytes) -> int:
        """Send messages over a connection of their own into the attacked room; the server's close code."""
        async with self.attacker() as attacker:
            await attacker.upgrade(self.room)
            with contextlib.suppress(ConnectionError):
                for payload in payloads:
                    await attacker.send_message(payload)
            return await attacker.close_code()

    def nobody_got_a_byte(self) -> None:
        """No healthy client got any update since the beginning."""
        assert [client.received for client in (*self.near, *self.far)] == self._received

    async def unharmed(self, growth_bytes_max: int = _GROWTH_BYTES_MAX) -> None:
        """The same process lives, has not grown much, and the healthy clients see each other's edits."""
        server = self.server
        assert server.alive, f"the server died: {server.returncode}"
        assert server.pid == self._pid
        grown = server.rss_bytes - self._rss_bytes
        assert grown < growth_bytes_max, f"the server has grown by {grown / 1e6:.0f} MB"
        for one, other in (self.near, self.far):
            for writer, reader in ((one, other), (other, one)):
                mark = f"<{next(_numbers)}>"
                await writer.write(mark)
                await reader.sees(mark)
            assert str(one.text) == str(other.text)
        assert server.health() == 200


@contextlib.asynccontextmanager
async def healthy_in(server: ServerProcess) -> AsyncIterator[Arena]:
    """Put two clients into a room to be attacked and two into another one."""
    number = next(_numbers)
    near, far = f"attacked-{number}", f"other-{number}"
    async with (
        YClient(server.ws_url, near) as a,
        YClient(server.ws_url, near) as b,
        YClient(server.ws_url, far) as c,
        YClient(server.ws_url, far) as d,
    ):
        for writer, reader in ((a, b), (c, d)):
            await writer.write("before ")
            await reader.sees("before ")
        yield Arena(server, (a, b), (c, d))


@pytest.fixture(scope="session")
def attacked_server() -> Iterator[ServerProcess]:
    """One server for all attacks that need no settings of their own: it has to survive them all."""
    if external_url():
        pytest.skip("attacks are for our own server only")
    with start_server() as server:
        yield server


@pytest_asyncio.fixture
async def arena(attacked_server: ServerProcess) -> AsyncIterator[Arena]:
    """Healthy clients on the shared server; at the end of each test they must be unharmed."""
    async with healthy_in(attacked_server) as healthy:
        yield healthy
        await healthy.unharmed()


@pytest_asyncio.fixture
async def database() -> AsyncIterator[Database]:
    """An empty PostgreSQL database."""
    server = shared_server()
    name = await server.create_database()
    yield Database(server, name)
    await server.drop_database(name)


@pytest.fixture
async def world() -> AsyncIterator[RedisWorld]:
    """Nodes that talk over a real Redis."""
    async with redis_world() as world:
        yield world


@pytest.fixture
async def house(world: RedisWorld) -> AsyncIterator[House]:
    house = House(world)
    yield house
    await house.close()
