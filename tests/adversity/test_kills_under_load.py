"""``kill -9`` at random moments under load, while rooms are opened, left and compacted all the time.

``COLLAB_TEST_ROUNDS`` is the number of kills on each kind of store.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.support.postgres import shared_server
from tests.support.server import ServerProcess
from tests.support.writers import Writer, nothing_is_missing, under_load

ROUNDS = int(os.environ.get("COLLAB_TEST_ROUNDS", "50"))
_IN_PLACE_BYTES = 1 << 20


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def store_settings(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, object]]:
    """Where the server keeps its rooms."""
    if request.param == "sqlite":
        yield {}
        return
    postgres = shared_server()
    name = await postgres.create_database()
    yield {"store": postgres.database_dsn(name)}
    await postgres.drop_database(name)


@pytest.mark.slow
@pytest.mark.timeout(60 + 20 * ROUNDS)
async def test_no_acknowledged_update_is_lost_when_the_server_is_killed_again_and_again(
    store_settings: dict[str, object], server_factory: Callable[..., ServerProcess]
) -> None:
    dice = random.Random(20)
    # A room that was left is compacted at once, without waiting for a turn of the janitor.
    server = server_factory(compact_after_updates=5, room_quiet_evict_s=0.05, **store_settings)
    promised: list[Writer] = []
    compactions = 0.0

    for number in range(ROUNDS):
        staying = [Writer(server, f"room-{n % 3}", f"{number}.s{n}") for n in range(6)]
        visitors: list[Writer] = []

        async def visit(room: str, name: str, visitors: list[Writer] = visitors) -> None:
            for visit_number in range(1_000):
                visitor = Writer(server, room, f"{name}.{visit_number}")
                visitors.append(visitor)
                await visitor.work(marks_max=3)
                if visitor.close_code != 1000:
                    return
                await asyncio.sleep(0.06)  # long enough to be evicted, and compacted while the next one comes

        visits = [asyncio.create_task(visit(f"visited-{n % 4}", f"{number}.v{n}")) for n in range(4)]
        async with under_load(staying) as load:
            await load.until_acknowledged(20)
            await asyncio.sleep(0.1 + 0.4 * dice.random())
            metrics = await asyncio.to_thread(server.metrics)
            compactions += metrics.get('collab_compactions_total{outcome="done"}', 0)
            await asyncio.sleep(0.02 * dice.random())
            server.kill()
            await load.ended()
        await asyncio.gather(*visits)
        promised += [*staying, *visitors]
        # Every other life of the server compacts in a worker process, which has to die with it.
        server.settings["compact_in_worker_bytes"] = 0 if number % 2 else _IN_PLACE_BYTES
        await asyncio.to_thread(server.start)
        await nothing_is_missing(server, promised)

    assert compactions > ROUNDS
    assert all(writer.acknowledged for writer in promised if writer.close_code == 1000)
