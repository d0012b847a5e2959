"""What the tests of the history do to a store: contents are names joined by commas, so a splice is a join."""

from __future__ import annotations

from collections.abc import Sequence

from persistence.base import (
    Append,
    HistoryPart,
    NewCheckpoint,
    NewSegment,
    Snapshot,
    Store,
    StoredDocument,
)


async def load(store: Store, room: str = "r") -> StoredDocument:
    document = await store.load(room)
    assert document is not None
    return document


def content(document: StoredDocument) -> list[bytes]:
    """The document as the list of its names."""
    parts = document.snapshot.data.split(b",") if document.snapshot else []
    return parts + [row.data for row in document.updates]


def state(part: HistoryPart | None) -> list[bytes]:
    """A state of the past as the list of its names."""
    assert part is not None
    return [
        name for data in (part.checkpoint, *part.segments) if data is not None for name in data.split(b",")
    ]


def joined(names: Sequence[bytes]) -> bytes:
    return b",".join(names)


def segment(data: bytes, to_ms: int = 0, *, from_ms: int | None = None, by: Sequence[str] = ()) -> NewSegment:
    return NewSegment(data, to_ms if from_ms is None else from_ms, to_ms, by, data.count(b",") + 1)


async def fold(
    store: Store,
    room: str = "r",
    *,
    to_ms: int = 0,
    checkpoint: bool = False,
    history: bool = True,
) -> bool:
    """Compact what is there: one segment of all its rows."""
    document = await load(store, room)
    rows = [row.data for row in document.updates]
    whole = joined(content(document))
    return await store.compact(
        room,
        Snapshot(whole),
        [row.id for row in document.updates],
        segments=[segment(joined(rows), to_ms)] if history and rows else [],
        checkpoint=NewCheckpoint(whole, to_ms) if checkpoint else None,
    )


async def write(
    store: Store, *names: bytes, room: str = "r", to_ms: int = 0, checkpoint: bool = False
) -> int:
    """Append, compact into one segment, and return that segment's id."""
    await store.append([Append(room, name) for name in names])
    assert await fold(store, room, to_ms=to_ms, checkpoint=checkpoint)
    (newest,) = await store.list_segments(room, limit=1)
    return newest.id


async def past(store: Store, room: str = "r", **where: int) -> list[bytes]:
    return state(await store.read_history(room, **where))
