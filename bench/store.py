"""How fast a store saves: ``python -m bench.store [STORE ...] [--json FILE]``.

For each store: how long an update takes to be durable, through the server's own journal, at several rates
over several numbers of rooms (``bench.offered``); how long a cold room takes to open (``bench.opening``).
Then what the history of recorded sessions takes (``bench.past``). Prints tables in Markdown.

A store is ``memory``, ``sqlite`` (a fresh file), ``postgresql`` (a private server with its default settings,
or the one that ``COLLAB_TEST_POSTGRES_DSN`` names; a fresh database), or an address as the server takes it:
rooms whose names begin with ``bench-`` are written there, and removed afterwards. Every figure is the median
of several runs, because machines are noisy; each run has its time, and all takes less than five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench import offered, opening, past
from bench.command import Tell, options, run
from bench.store_tables import Measured, machine, tables
from persistence.base import Store
from persistence.errors import StoreError
from persistence.urls import open_store
from tests.support.postgres import PostgresMissingError, PostgresServer

STORES = ("memory", "sqlite", "postgresql")
RATES_PER_S = (1_000, 10_000, 50_000)
ROOMS = (1, 100, 10_000)
OPENING_REPEATS = 15
HERE = Path.cwd()
"""Where the SQLite file lies: not in memory, as the temporary folder may be."""


@contextlib.asynccontextmanager
async def opened(name: str) -> AsyncIterator[Store]:
    """The store of that name, open, with nothing of ours left in it afterwards."""
    async with contextlib.AsyncExitStack() as exits:
        if name == "sqlite":
            folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="bench-store-", dir=HERE))
            url = f"sqlite:///{folder}/bench.sqlite3"
        elif name == "postgresql":
            server = await asyncio.to_thread(PostgresServer.start)
            exits.callback(server.stop)
            database = await server.create_database()
            exits.push_async_callback(server.drop_database, database)
            url = server.database_dsn(database)
        else:
            url = f"{name}:" if name == "memory" else name
        store = open_store(url)
        await store.open()
        exits.push_async_callback(store.close)
        if name not in STORES:
            exits.push_async_callback(_clean, store)
        yield store


async def _clean(store: Store) -> None:
    while page := await store.list_documents(prefix="bench-", limit=1000):
        for info in page:
            await store.delete(info.room)
            await store.restore_name(info.room)


async def measure_commits(
    names: Sequence[str], *, seconds: float, repeats: int, tell: Tell
) -> dict[str, list[offered.Outcome]]:
    """Every store at every rate over every number of rooms. They take turns, so that they share the noise."""
    runs: dict[tuple[str, int, int], list[offered.Outcome]] = {}
    async with contextlib.AsyncExitStack() as exits:
        stores = {name: await exits.enter_async_context(opened(name)) for name in names}
        for number in range(repeats):
            for rooms in ROOMS:
                for per_s in RATES_PER_S:
                    for name, store in stores.items():
                        tell(f"run {number + 1} of {repeats}: {name}, {per_s} updates/s, {rooms} rooms")
                        outcome = await offered.offer(store, per_s=per_s, rooms=rooms, seconds=seconds)
                        runs.setdefault((name, rooms, per_s), []).append(outcome)
    return {
        name: [offered.median(found) for (owner, *_), found in runs.items() if owner == name]
        for name in names
    }


async def measure_openings(
    names: Sequence[str], documents: Sequence[opening.Document], *, repeats: int, tell: Tell
) -> dict[str, list[opening.Opening]]:
    """Every document on every store."""
    found: dict[str, list[opening.Opening]] = {}
    for name in names:
        async with opened(name) as store:
            for document in documents:
                tell(f"opening: {name}, {document.name}")
                found.setdefault(name, []).append(await opening.measure(store, document, repeats=repeats))
    return found


async def bench(arguments: argparse.Namespace, tell: Tell) -> Measured:
    """All of it."""
    names = arguments.stores or list(STORES)
    tell("making documents")
    documents = opening.documents()
    return Measured(
        machine(),
        await measure_commits(names, seconds=arguments.seconds, repeats=arguments.repeats, tell=tell),
        await measure_openings(names, documents, repeats=OPENING_REPEATS, tell=tell),
        await measure_pasts(tell),
    )


async def measure_pasts(tell: Tell) -> list[past.PastSize]:
    """Every session at hand. The sizes are the same on every store."""
    sizes = []
    for session, edits in past.sessions():
        tell(f"history: {session}")
        sizes.append(await past.measure(session, edits))
    return sizes


def main() -> int:
    """The command."""
    parser = options("python -m bench.store", "How fast a store saves.")
    parser.add_argument("stores", nargs="*", help=f"default: {' '.join(STORES)}")
    return run(parser.parse_args(), bench, tables, (StoreError, PostgresMissingError))


if __name__ == "__main__":
    sys.exit(main())
