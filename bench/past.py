"""What the history of an editing session takes, with the compactor and the settings of the server."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.offered import keystrokes
from collab_server.hosting.compactor import Compactor
from collab_server.hosting.settings import HistorySettings, HostingSettings
from collab_server.telemetry.metrics import Metrics
from collab_server.views.pool import ViewPool
from collab_server.ydoc.bounds import DEFAULT_BOUNDS
from persistence.base import Append
from persistence.memory import MemoryStore

SESSIONS = Path(__file__).resolve().parents[2] / "shared" / "data"
_TYPING_MS = 150


@dataclass(frozen=True, slots=True)
class PastSize:
    """Bytes of contents, as they are handed to the store."""

    session: str
    updates: int
    updates_bytes: int
    document_bytes: int
    """The compacted document at the end."""
    segments: int
    segments_bytes: int
    checkpoints: int
    checkpoints_bytes: int


Edit = tuple[int, str, bytes]
"""Milliseconds since the beginning, who, and the update."""


def sessions() -> Iterator[tuple[str, list[Edit]]]:
    """The recorded sessions where they are at hand, else a generated one."""
    paths = sorted(SESSIONS.glob("*.yupd.gz"))
    for path in paths:
        yield path.name.partition(".")[0], list(_recorded(gzip.decompress(path.read_bytes())))
    if not paths:
        typed = keystrokes(20_000, 1, 0)
        yield "typed", [(number * _TYPING_MS, "ann", update) for number, update in enumerate(typed)]


def _recorded(data: bytes) -> Iterator[Edit]:
    at, number, has_times = 0, 0, False
    while at < len(data):
        at_ms, person, size = struct.unpack_from("<IBI", data, at)
        has_times = has_times or at_ms > 0
        yield (at_ms if has_times else number * _TYPING_MS), f"user-{person}", data[at + 9 : at + 9 + size]
        at += 9 + size
        number += 1


async def measure(session: str, edits: list[Edit]) -> PastSize:
    """Store a session as it came, one commit for each update, and compact it whenever the server would."""
    store = MemoryStore()
    await store.open()
    settings, metrics = HostingSettings(), Metrics()
    worker = ViewPool(1, timeout_s=60)
    compactor = Compactor(store, worker, DEFAULT_BOUNDS, settings, metrics, HistorySettings())
    try:
        for first in range(0, len(edits), settings.compact_after_updates):
            rows = edits[first : first + settings.compact_after_updates]
            await store.append([Append("room", update, (who,), 1 + at_ms) for at_ms, who, update in rows])
            await compactor.compact("room")
    finally:
        await worker.close()
    size, stored = await store.history_size("room"), await store.load("room")
    return PastSize(
        session,
        len(edits),
        sum(len(update) for _, _, update in edits),
        stored.bytes_total if stored else 0,
        size.segments_count,
        size.segments_bytes,
        size.checkpoints_count,
        size.checkpoints_bytes,
    )
