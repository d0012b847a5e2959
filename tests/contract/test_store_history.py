from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from persistence.base import (
    Append,
    HistoryPart,
    HistorySize,
    NewCheckpoint,
    NewSegment,
    SegmentInfo,
    Snapshot,
    Store,
    UpdateRow,
)
from tests.contract.conftest import Backend
from tests.contract.past import content, fold, joined, load, past, segment, state, write

MIB = 1 << 20


async def test_a_row_is_loaded_with_its_authors_and_the_time_it_was_received(
    store: Store, backend: Backend
) -> None:
    first, second = await store.append([Append("r", b"1", ("ann", 'b"ö\0→'), 5), Append("r", b"2")])

    assert list((await load(store)).updates) == [
        UpdateRow(first.id, b"1", ("ann", 'b"ö\0→'), 5),
        UpdateRow(second.id, b"2", (), backend.clock.now_ms),
    ]


# Segments


async def test_a_document_begins_without_history(store: Store) -> None:
    await store.append([Append("r", b"1")])

    for room in ("r", "nowhere"):
        assert list(await store.list_segments(room)) == []
        assert await store.read_history(room) is None
        assert await store.read_history(room, at_ms=1 << 50) is None
        assert await store.history_size(room) == HistorySize()


async def test_a_compaction_leaves_its_segments_in_the_order_given(store: Store, other: Store) -> None:
    rows = await store.append([Append("r", b"1"), Append("r", b"2"), Append("r", b"3")])
    segments = [
        segment(b"1,2", 20, from_ms=10, by=("ann", "bob ö\0")),
        segment(b"3", 30, from_ms=25),
    ]

    assert await store.compact("r", Snapshot(b"1,2,3"), [row.id for row in rows], segments=segments)

    newest, oldest = await other.list_segments("r")
    assert newest == SegmentInfo(newest.id, 25, 30, (), 1, 1)
    assert oldest == SegmentInfo(oldest.id, 10, 20, ("ann", "bob ö\0"), 2, 3)
    assert 0 < oldest.id < newest.id
    assert await other.read_history("r", segment=oldest.id) == HistoryPart(None, [b"1,2"])
    assert await other.read_history("r", segment=newest.id) == HistoryPart(None, [b"1,2", b"3"])


async def test_ids_of_segments_grow_while_servers_compact_after_each_other(
    store: Store, other: Store
) -> None:
    ids = [await write((store, other)[n % 2], b"%d" % n) for n in range(8)]

    assert ids == sorted(ids)
    assert [info.id for info in await store.list_segments("r")] == ids[::-1]
    assert await past(other) == [b"%d" % n for n in range(8)]


async def test_each_document_has_a_history_of_its_own(store: Store) -> None:
    mine = await write(store, b"mine", room="a", checkpoint=True)
    yours = await write(store, b"yours", room="b")

    assert await past(store, "a") == [b"mine"]
    assert await past(store, "b") == [b"yours"]
    assert await store.read_history("a", segment=yours) is None
    assert await store.read_history("b", segment=mine) is None


async def test_the_list_of_segments_is_read_in_pages(store: Store) -> None:
    ids = [await write(store, b"%d" % n, to_ms=n) for n in range(7)]
    await write(store, b"x", room="other")

    seen: list[int] = []
    while page := await store.list_segments("r", before=seen[-1] if seen else None, limit=3):
        assert len(page) <= 3
        seen += [info.id for info in page]

    assert seen == ids[::-1]
    assert list(await store.list_segments("r", limit=0)) == []
    assert list(await store.list_segments("r", limit=-1)) == []
    assert [info.id for info in await store.list_segments("r", before=ids[3])] == ids[2::-1]


async def test_a_compaction_that_lost_a_race_leaves_no_history(store: Store, other: Store) -> None:
    await store.append([Append("r", b"1"), Append("r", b"2")])
    late = [row.id for row in (await load(other)).updates]
    assert await fold(store, to_ms=1)
    before = await store.history_size("r")

    assert not await other.compact(
        "r", Snapshot(b"x"), late, segments=[segment(b"late")], checkpoint=NewCheckpoint(b"late", 1)
    )
    assert not await other.compact("r", Snapshot(b"x"), [], segments=[segment(b"late")])
    assert not await other.compact("nowhere", Snapshot(b"x"), [], segments=[segment(b"late")])

    assert await store.history_size("r") == before
    assert await past(store) == [b"1", b"2"]
    assert await store.read_history("nowhere") is None


# States


async def test_a_state_is_read_from_the_newest_checkpoint_at_or_before_it(store: Store) -> None:
    first = await write(store, b"1", to_ms=10)
    second = await write(store, b"2", to_ms=20, checkpoint=True)
    third = await write(store, b"3", to_ms=30)
    fourth = await write(store, b"4", to_ms=40)

    assert await store.read_history("r", segment=first) == HistoryPart(None, [b"1"])
    assert await store.read_history("r", segment=second) == HistoryPart(b"1,2", [])
    assert await store.read_history("r", segment=third) == HistoryPart(b"1,2", [b"3"])
    assert await store.read_history("r", segment=fourth) == HistoryPart(b"1,2", [b"3", b"4"])
    assert await store.read_history("r") == HistoryPart(b"1,2", [b"3", b"4"])
    for missing in (0, -1, fourth + 1000):
        assert await store.read_history("r", segment=missing) is None


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [(9, None), (10, b"1"), (19, b"1"), (20, b"1,2"), (29, b"1,2"), (30, b"1,2,3"), (1 << 60, b"1,2,3")],
)
async def test_a_state_is_found_by_time(store: Store, at_ms: int, expected: bytes | None) -> None:
    await write(store, b"1", to_ms=10)
    await write(store, b"2", to_ms=20, checkpoint=True)
    await write(store, b"3", to_ms=30)

    part = await store.read_history("r", at_ms=at_ms)

    assert (part and joined(state(part))) == expected


async def test_a_segment_and_a_time_at_once_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="not both"):
        await store.read_history("r", segment=1, at_ms=1)


async def test_what_was_compacted_without_history_becomes_a_checkpoint_before_the_next_segment(
    store: Store,
) -> None:
    await store.append([Append("r", b"1")])
    assert await fold(store, history=False)
    assert await store.read_history("r") is None
    second = await write(store, b"2", to_ms=20)
    await store.append([Append("r", b"3")])
    assert await fold(store, history=False)

    assert await past(store, segment=second) == [b"1", b"2"]
    fourth = await write(store, b"4", to_ms=40)
    fifth = await write(store, b"5", to_ms=50)

    assert await store.read_history("r", segment=second) == HistoryPart(b"1", [b"2"])
    assert await store.read_history("r", segment=fourth) == HistoryPart(b"1,2,3", [b"4"])
    assert await store.read_history("r", segment=fifth) == HistoryPart(b"1,2,3", [b"4", b"5"])
    assert (await store.history_size("r")).checkpoints_count == 2


async def test_a_checkpoint_without_segments_stands_after_all_that_came_before(store: Store) -> None:
    first = await write(store, b"1", to_ms=10)
    (row,) = await store.append([Append("r", b"2")])
    assert await store.compact("r", Snapshot(b"1,2"), [row.id], checkpoint=NewCheckpoint(b"1,2", 20))
    third = await write(store, b"3", to_ms=30)

    assert await past(store, segment=first) == [b"1"]
    assert await store.read_history("r", segment=third) == HistoryPart(b"1,2", [b"3"])
    assert await store.read_history("r", at_ms=25) == HistoryPart(b"1,2", [])


async def test_a_large_checkpoint_is_kept_byte_for_byte(store: Store) -> None:
    data = bytes(range(256)) * (20 * MIB // 256)
    (row,) = await store.append([Append("r", b"1")])

    assert await store.compact(
        "r",
        Snapshot(b"s"),
        [row.id],
        segments=[segment(data[:MIB], 1), segment(b"", 2)],
        checkpoint=NewCheckpoint(data, 2),
    )

    assert await store.read_history("r") == HistoryPart(data, [])
    newest, oldest = await store.list_segments("r")
    assert (oldest.bytes_total, newest.bytes_total) == (MIB, 0)
    assert await store.read_history("r", segment=oldest.id) == HistoryPart(None, [data[:MIB]])
    size = await store.history_size("r")
    assert (size.segments_bytes, size.checkpoints_bytes) == (MIB, 20 * MIB)


async def test_contents_may_be_views_of_buffers_that_change_afterwards(store: Store) -> None:
    buffer = bytearray(b"before")
    view: Any = memoryview(buffer)
    (row,) = await store.append([Append("r", b"1")])
    await store.compact("r", Snapshot(b"s"), [row.id], segments=[NewSegment(view, 1, 1)])
    (again,) = await store.append([Append("r", b"2")])
    await store.compact("r", Snapshot(b"s"), [again.id], checkpoint=NewCheckpoint(view, 1))
    version = await store.add_version("r", "v", None, 1, view, False)
    buffer[:] = b"after!"

    (kept,) = await store.list_segments("r")
    assert await store.read_history("r", segment=kept.id) == HistoryPart(None, [b"before"])
    assert await store.read_history("r") == HistoryPart(b"before", [])
    assert await store.read_version("r", version) == b"before"


# Sizes


async def test_sizes_are_told_as_they_are(store: Store) -> None:
    await write(store, b"11", b"22")
    await write(store, b"3333", checkpoint=True)
    await write(store, b"5")
    await write(store, b"6")
    await store.add_version("r", "v", None, 1, b"7" * 100, True)
    await store.append([Append("r", b"8"), Append("other", b"99")])

    assert await store.history_size("r") == HistorySize(
        segments_count=4,
        segments_bytes=5 + 4 + 1 + 1,
        since_checkpoint_bytes=2,
        checkpoints_count=1,
        checkpoints_bytes=10,
        versions_count=1,
        versions_bytes=100,
    )
    assert [(info.room, info.bytes_total, info.updates_count) for info in await store.list_documents()] == [
        ("other", 2, 1),
        ("r", 14 + 1, 1),
    ]
    assert await store.history_size("other") == HistorySize()


async def test_thousands_of_segments_are_listed_and_read(store: Store) -> None:
    (row,) = await store.append([Append("r", b"x")])
    names = [b"%d" % n for n in range(5000)]
    await store.compact("r", Snapshot(b"x"), [row.id], segments=[segment(name, int(name)) for name in names])

    (newest,) = await store.list_segments("r", limit=1)
    assert (newest.from_ms, newest.bytes_total) == (4999, 4)
    assert [info.to_ms for info in await store.list_segments("r", limit=5000)] == [*range(4999, -1, -1)]
    assert await past(store) == names
    assert (await store.history_size("r")).segments_count == 5000


# Deleting


async def test_nothing_is_left_of_the_history_of_a_deleted_document(store: Store, other: Store) -> None:
    last = await write(store, b"secret", to_ms=10, checkpoint=True)
    version = await store.add_version("r", "v", "ann", 1, b"secret", True)

    async def nothing_left() -> None:
        assert list(await other.list_segments("r")) == []
        assert list(await other.list_versions("r")) == []
        assert await other.read_history("r", segment=last) is None
        assert await other.read_history("r") is None
        assert await other.read_history("r", at_ms=1 << 50) is None
        assert await other.read_version("r", version) is None
        assert await other.history_size("r") == HistorySize()
        assert list(await other.expired(1 << 60, 10)) == []

    assert await store.delete("r")
    await nothing_left()
    await store.restore_name("r")
    await nothing_left()
    await store.append([Append("r", b"fresh")])
    await nothing_left()
    fresh = await write(store, b"again")
    assert fresh > last
    assert await past(store) == [b"fresh", b"again"]
    assert not await store.trim("r", before_ms=99, upto_segment=last, base=NewCheckpoint(b"x", 1))


# At once


async def names_of_everything(store: Store) -> list[bytes]:
    """What the history tells, and the rows that are not in it yet."""
    dump = await store.dump("r", bytes_max=1 << 30)
    assert dump is not None
    upto = max((checkpoint.after_segments for checkpoint in dump.checkpoints), default=0)
    base = dump.checkpoints[-1].data.split(b",") if dump.checkpoints else []
    later = [name for kept in dump.segments[upto:] for name in kept.data.split(b",")]
    return base + later + [row.data for row in dump.stored.updates]


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_while_servers_append_and_compact_and_trim_at_once(
    backend: Backend, seed: int
) -> None:
    random = Random(seed)
    stores = [backend.store() for _ in range(4)]
    expected = {b"%d-%d" % (writer, n) for writer in range(4) for n in range(30)}
    writing = True
    folded = trimmed = 0

    async def writes(writer: int) -> None:
        for n in range(30):
            await stores[writer % 2].append([Append("r", b"%d-%d" % (writer, n)), Append(f"q{writer}", b"x")])
            for _ in range(random.randrange(3)):
                await asyncio.sleep(0)

    async def folds(through: Store) -> None:
        nonlocal folded
        while writing:
            document = await through.load("r")
            if document is not None and document.updates:
                rows = list(document.updates)
                cut = random.randrange(1, len(rows) + 1)
                groups = [group for group in (rows[:cut], rows[cut:]) if group]
                whole = joined(content(document))
                won = await through.compact(
                    "r",
                    Snapshot(whole),
                    [row.id for row in rows],
                    segments=[segment(joined([row.data for row in group]), 1) for group in groups],
                    checkpoint=NewCheckpoint(whole, 1) if random.random() < 0.3 else None,
                )
                folded += won
            await asyncio.sleep(0)

    async def trims(through: Store) -> None:
        nonlocal trimmed
        while writing:
            infos = await through.list_segments("r", limit=1000)
            if len(infos) > 2:
                upto = random.choice(infos).id
                part = await through.read_history("r", segment=upto)
                if part is not None:
                    base = NewCheckpoint(joined(state(part)), 1)
                    won = await through.trim("r", before_ms=2, upto_segment=upto, base=base)
                    trimmed += won
            await asyncio.sleep(0)

    try:
        for store in stores:
            await store.open()
        others = [
            asyncio.ensure_future(work)
            for work in (folds(stores[2]), folds(stores[1]), trims(stores[3]), trims(stores[0]))
        ]
        await asyncio.gather(*(writes(writer) for writer in range(4)))
        while trimmed < 3 and not any(task.done() for task in others):
            await stores[0].append([Append("r", b"more-%d" % len(expected))])
            expected.add(b"more-%d" % len(expected))
        writing = False
        await asyncio.gather(*others)

        document = await load(stores[0])
        assert sorted(content(document)) == sorted(expected)
        assert sorted(await names_of_everything(stores[1])) == sorted(expected)
        infos = await stores[2].list_segments("r", limit=1000)
        before: list[bytes] = []
        for info in reversed(infos):
            now = await past(stores[3], segment=info.id)
            assert set(before) < set(now) <= expected
            before = now
        assert folded > 0
        assert trimmed >= 3
    finally:
        writing = False
        for store in stores:
            await store.close()
