"""How fast a store commits: ``python -m bench.store [URL ...]``.

For each store and group size it appends for a fixed time, one group in flight, as the journal does, and
prints rows per second and the time of one commit. Then it measures how long a cold room takes to load. A
store is named by its address, as for the server; ``sqlite`` alone is a fresh file in a temporary folder.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persistence.base import Append, Snapshot, Store
from persistence.errors import StoreError
from persistence.urls import open_store

GROUP_SIZES = (1, 10, 100, 1000)
ROW_BYTES = 100
ROOMS = 100
COMPACT_ROWS = 500
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Commits:
    """What one group size gave."""

    group_rows: int
    rows_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


async def measure_commits(store: Store, group_rows: int, *, seconds: float, rooms: int) -> Commits:
    """Append groups for ``seconds``, one in flight."""
    data = os.urandom(ROW_BYTES)
    times_ms: list[float] = []
    rows = 0
    started = time.perf_counter()
    while (begun := time.perf_counter()) - started < seconds:
        group = [Append(f"bench-{(rows + n) % rooms:06}", data, ("bench",)) for n in range(group_rows)]
        await store.append(group)
        times_ms.append((time.perf_counter() - begun) * 1000)
        rows += group_rows
    elapsed = time.perf_counter() - started
    times_ms.sort()
    return Commits(
        group_rows,
        rows / elapsed,
        _percentile(times_ms, 0.50),
        _percentile(times_ms, 0.99),
        times_ms[-1],
    )


async def measure_loads(store: Store, *, repeats: int) -> dict[str, float]:
    """The median time in milliseconds to load rooms of several kinds."""
    await store.append([Append("load-500-rows", os.urandom(ROW_BYTES)) for _ in range(COMPACT_ROWS)])
    for name, size in (("load-100-KB", 100_000), ("load-1-MiB", MIB), ("load-20-MiB", 20 * MIB)):
        (row,) = await store.append([Append(name, b"")])
        await store.compact(name, Snapshot(os.urandom(size)), [row.id])
    medians: dict[str, float] = {}
    for name in ("load-500-rows", "load-100-KB", "load-1-MiB", "load-20-MiB"):
        times_ms: list[float] = []
        for _ in range(repeats):
            begun = time.perf_counter()
            await store.load(name)
            times_ms.append((time.perf_counter() - begun) * 1000)
        medians[name.removeprefix("load-")] = _percentile(sorted(times_ms), 0.5)
    for name in ("load-500-rows", "load-100-KB", "load-1-MiB", "load-20-MiB"):
        await store.delete(name)
        await store.restore_name(name)
    return medians


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def bench(url: str, *, seconds: float, rooms: int) -> None:
    """Measure one store and print what came out."""
    store = open_store(url)
    await store.open()
    try:
        out(
            f"\n{url.partition('@')[2] or url}: {ROW_BYTES}-byte rows over {rooms} rooms, one group in flight"
        )
        out(f"{'group':>8} {'rows/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
        for group_rows in GROUP_SIZES:
            got = await measure_commits(store, group_rows, seconds=seconds, rooms=rooms)
            times = f"{got.p50_ms:>8.2f} {got.p99_ms:>8.2f} {got.max_ms:>8.2f}"
            out(f"{got.group_rows:>8} {got.rows_per_s:>10.0f} {times}")
        for name, median_ms in (await measure_loads(store, repeats=15)).items():
            out(f"load {name:>12}: {median_ms:8.2f} ms (median)")
    finally:
        await _clean(store)
        await store.close()


async def _clean(store: Store) -> None:
    while page := await store.list_documents(prefix="bench-", limit=1000):
        for info in page:
            await store.delete(info.room)
            await store.restore_name(info.room)


def out(line: str) -> None:
    """One line for whoever watches."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description="How fast a store commits.")
    parser.add_argument("urls", nargs="*", default=["sqlite"], help="addresses of stores; default: sqlite")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each group size (default 3)")
    parser.add_argument(
        "--rooms", type=int, default=ROOMS, help=f"rooms that the rows go to (default {ROOMS})"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=".") as folder:
        for name in arguments.urls:
            url = f"sqlite:///{Path(folder).absolute()}/bench.sqlite3" if name == "sqlite" else name
            try:
                asyncio.run(bench(url, seconds=arguments.seconds, rooms=arguments.rooms))
            except StoreError as error:
                out(f"error: {error}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
