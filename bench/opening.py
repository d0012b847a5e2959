"""How long a cold room takes to open: read from the store, and made ready to serve."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.offered import keystroke
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.compaction import compact
from collab_server.ydoc.log import DocumentLog
from persistence.base import Append, Snapshot, Store
from tests.support.trips import random_trip, trip_update

LOG_ROWS = 500
TIME_LIMIT_S = 4.0
ITEMS_MAX = 240
_ITEM_BYTES = 410
_CLIENT = 1 << 30


@dataclass(frozen=True, slots=True)
class Document:
    """A document as a store holds it: a compacted snapshot with its index, and rows."""

    name: str
    snapshot: Snapshot | None
    rows: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Opening:
    """Medians in milliseconds."""

    name: str
    stored_bytes: int
    rows: int
    load_ms: float
    open_ms: float
    """Load included."""


def trip(size_bytes: int) -> Snapshot:
    """A random trip of about this size, compacted. One that is not normal has long notes."""
    items = min(ITEMS_MAX, size_bytes // _ITEM_BYTES)
    content = random_trip(7, items)
    for item in content["itinerary"]:
        item["notes"] = (item["notes"] + " ").ljust(size_bytes // items - _ITEM_BYTES, ".")
    compacted = compact(None, [trip_update(content)], UNBOUNDED)
    return Snapshot(compacted.data, compacted.index)


def documents() -> list[Document]:
    """The documents that are opened."""
    typed = [keystroke(_CLIENT, clock) for clock in range(LOG_ROWS)]
    normal = trip(90_000)
    return [
        Document("a trip below 100 KB", normal, ()),
        Document(f"{LOG_ROWS} log rows", None, typed),
        Document(f"a trip below 100 KB and {LOG_ROWS} log rows", normal, typed),
        Document("1 MB", trip(1_000_000), ()),
        Document("20 MB", trip(20_000_000), ()),
    ]


async def measure(store: Store, document: Document, *, repeats: int) -> Opening:
    """Store a document, and open it some times."""
    room = f"bench-{os.getpid()}-{document.name}"
    if document.snapshot is not None:
        (row,) = await store.append([Append(room, b"\x00\x00")])
        await store.compact(room, document.snapshot, [row.id])
    if document.rows:
        await store.append([Append(room, data) for data in document.rows])
    load_ms: list[float] = []
    open_ms: list[float] = []
    started = time.perf_counter()
    while len(load_ms) < repeats and time.perf_counter() - started < TIME_LIMIT_S:
        began = time.perf_counter()
        stored = await store.load(room)
        loaded = time.perf_counter()
        assert stored is not None  # noqa: S101 - a benchmark that reads nothing measures nothing
        snapshot = stored.snapshot
        log = DocumentLog.open(
            snapshot.data if snapshot else b"",
            snapshot.index if snapshot else b"",
            [row.data for row in stored.updates],
        )
        opened = time.perf_counter()
        assert log.state_vector  # noqa: S101 - the same
        load_ms.append((loaded - began) * 1000)
        open_ms.append((opened - began) * 1000)
    size = sum(map(len, document.rows)) + (len(document.snapshot.data) if document.snapshot else 0)
    return Opening(
        document.name, size, len(document.rows), statistics.median(load_ms), statistics.median(open_ms)
    )
