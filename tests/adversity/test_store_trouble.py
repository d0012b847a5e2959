"""The store full or locked: edits are refused once the bound is reached, and what was promised is kept."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path

from tests.interop.test_durability import locked
from tests.support.server import ServerProcess
from tests.support.writers import text_of, until_ready_is, write_until_closed
from tests.support.yclient import YClient

KIB = 1024
_SMALL = {"room_buffered_bytes_max": 64 * KIB, "journal_bytes_max": 128 * KIB, "store_timeout_s": 1}


async def test_a_locked_store_refuses_edits_past_the_bound_and_heals(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory(**_SMALL)
    client = YClient(server.ws_url, "trip")
    await client.open()
    await client.write("acknowledged ")
    await client.saved()
    with locked(server.store_path):
        await write_until_closed(client, 1024 * KIB)
        assert client.close_code == 4503
        await until_ready_is(server, wanted=False)
        assert server.health() == 200
    await until_ready_is(server, wanted=True)
    await client.close()
    async with YClient(server.ws_url, "trip") as again:
        await again.sees("acknowledged ")
        await again.write("and more")
        await again.saved()
    await asyncio.to_thread(server.restart, kill=True)
    found = await text_of(server, "trip")
    assert "acknowledged " in found
    assert "and more" in found


async def test_a_room_that_is_over_its_bound_does_not_stop_another_one(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory(**{**_SMALL, "journal_bytes_max": 1024 * KIB})
    async with YClient(server.ws_url, "other") as a, YClient(server.ws_url, "other") as b:
        busy = YClient(server.ws_url, "busy")
        await busy.open()
        await a.write("before ")
        await b.sees("before ")
        with locked(server.store_path):
            await write_until_closed(busy, 1024 * KIB)
            assert busy.close_code == 4503
            await a.write("meanwhile")
            await b.sees("meanwhile")
        await a.saved(timeout_s=30)
        await busy.close()
    await asyncio.to_thread(server.restart, kill=True)
    assert await text_of(server, "other") == "before meanwhile"


async def test_a_full_disk_refuses_edits_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    limit = 2048 * KIB

    def small_files() -> None:
        # The closest thing to a full disk that needs no rights: no file may grow past this.
        # Python ignores SIGXFSZ, so a write past it fails with EFBIG.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    server = ServerProcess(
        {**_SMALL, "compact_after_updates": 100_000}, folder=tmp_path, before_exec=small_files
    )
    try:
        server.start()
        client = YClient(server.ws_url, "trip")
        await client.open()
        promised = []
        try:
            for number in range(2000):
                mark = f"<{number}>".ljust(KIB, ".")
                await client.write(mark)
                await client.saved(timeout_s=3)
                promised.append(mark)
        except (ConnectionError, TimeoutError):
            pass
        assert 20 < len(promised) < 2000
        await write_until_closed(client, 1024 * KIB)
        assert client.close_code == 4503
        await until_ready_is(server, wanted=False)
        # Room on the disk again: the same process heals, and nothing that it promised is missing.
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await until_ready_is(server, wanted=True)
        await client.close()
        async with YClient(server.ws_url, "trip") as again:
            await again.write("after all")
            await again.saved()
        await asyncio.to_thread(server.restart, kill=True)
        found = await text_of(server, "trip")
        assert not [mark for mark in promised if mark not in found]
        assert "after all" in found
    finally:
        server.close()
