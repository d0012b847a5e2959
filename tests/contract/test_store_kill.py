from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from persistence.base import Store
from tests.contract.conftest import Backend

ROOT = Path(__file__).parents[2]


async def kept(store: Store, room: str) -> set[str]:
    document = await store.load(room)
    assert document is not None
    parts = document.snapshot.data.decode().split(",") if document.snapshot else []
    return set(parts) | {row.data.partition(b",")[0].decode() for row in document.updates}


def run_and_kill(command: list[str], lines_before_kill: int) -> list[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines_before_kill)]
        process.kill()
        return told + process.stdout.readlines()


async def test_what_was_told_to_be_committed_is_there_after_kill_9(backend: Backend) -> None:
    if backend.url is None:
        pytest.skip("this store does not outlive its process")
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    for round_number in range(5):
        room = f"room-{round_number}"
        lines_before_kill = chance.randint(30, 1500)
        command = [sys.executable, "-m", "tests.support.appender", backend.url, room]
        told = await asyncio.to_thread(run_and_kill, command, lines_before_kill)
        acknowledged = {line.split()[1] for line in told if line.endswith("\n")}
        assert len(acknowledged) >= lines_before_kill, f"the appender died by itself (seed {seed})"

        store = backend.store()
        await store.open()
        try:
            assert acknowledged <= await kept(store, room), f"acknowledged rows are missing (seed {seed})"
        finally:
            await store.close()
