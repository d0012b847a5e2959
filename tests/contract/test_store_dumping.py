from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from persistence.base import (
    Append,
    DocumentDump,
    DumpedCheckpoint,
    DumpedSegment,
    DumpedVersion,
    NoticeKind,
    Snapshot,
    Store,
)
from persistence.errors import DocumentDeletedError, DumpTooLargeError
from persistence.memory import MemoryStore
from tests.contract.conftest import Backend
from tests.contract.past import content, fold, load, past, segment, write

MIB = 1 << 20


async def make(store: Store, room: str = "r") -> DocumentDump:
    """A document with something of everything."""
    await store.append([Append(room, b"0", ("ann",), 1)])
    assert await fold(store, room, history=False)
    rows = await store.append([Append(room, b"1", ("ann",), 10), Append(room, b"2", ("bob", "ö\0"), 20)])
    assert await store.compact(
        room,
        Snapshot(b"0,1,2", b"index"),
        [row.id for row in rows],
        segments=[segment(b"1", 10, by=("ann",)), segment(b"2", 20, from_ms=15, by=("bob", "ö\0"))],
    )
    await write(store, b"3", room=room, to_ms=30, checkpoint=True)
    await write(store, b"4", room=room, to_ms=40)
    await store.add_version(room, "v", "ann", 21, b"0,1,2", True)
    await store.add_version(room, "", None, 22, b"", False)
    await store.append([Append(room, b"5", ("cat",), 50), Append(room, b"6", (), 60)])
    return await dumped(store, room)


async def dumped(store: Store, room: str = "r") -> DocumentDump:
    dump = await store.dump(room, bytes_max=1 << 30)
    assert dump is not None
    return dump


def without_ids(dump: DocumentDump) -> DocumentDump:
    rows = [replace(row, id=0, authors=list(row.authors)) for row in dump.stored.updates]
    return replace(
        dump,
        stored=replace(dump.stored, updates=rows),
        segments=[replace(kept, authors=list(kept.authors)) for kept in dump.segments],
        checkpoints=list(dump.checkpoints),
        versions=list(dump.versions),
    )


async def test_a_dump_holds_everything(store: Store) -> None:
    dump = await make(store)

    assert dump.room == "r"
    assert dump.stored == await load(store)
    assert [row.authors for row in dump.stored.updates] == [("cat",), ()]
    assert (dump.created_at_ms, dump.changed_at_ms) == (1, max(60, dump.changed_at_ms))
    assert [replace(kept, authors=list(kept.authors)) for kept in dump.segments] == [
        DumpedSegment(b"1", 10, 10, ["ann"], 1),
        DumpedSegment(b"2", 15, 20, ["bob", "ö\0"], 1),
        DumpedSegment(b"3", 30, 30, [], 1),
        DumpedSegment(b"4", 40, 40, [], 1),
    ]
    assert list(dump.checkpoints) == [
        DumpedCheckpoint(b"0", 10, after_segments=0),
        DumpedCheckpoint(b"0,1,2,3", 30, after_segments=3),
    ]
    assert list(dump.versions) == [
        DumpedVersion("v", 21, "ann", True, b"0,1,2"),
        DumpedVersion("", 22, None, False, b""),
    ]
    assert dump.bytes_total == len(b"0,1,2,3,4" + b"56" + b"1234" + b"0" + b"0,1,2,3" + b"0,1,2")


async def test_a_restored_dump_is_the_same_document_with_the_same_past(
    store: Store, backend: Backend
) -> None:
    dump = await make(store)

    assert await store.restore_dump(replace(dump, room="copy → 🚄\0"))

    copy = await dumped(store, "copy → 🚄\0")
    assert without_ids(replace(copy, room="r", stored=replace(copy.stored, room="r"))) == without_ids(dump)
    assert not {row.id for row in copy.stored.updates} & {row.id for row in dump.stored.updates}
    assert without_ids(await dumped(store)) == without_ids(dump)
    infos = await store.list_segments("copy → 🚄\0")
    assert [info.to_ms for info in infos] == [40, 30, 20, 10]
    for info, expected in zip(reversed(infos), [b"01", b"012", b"0123", b"01234"], strict=True):
        assert b"".join(await past(store, "copy → 🚄\0", segment=info.id)) == expected
    assert await past(store, "copy → 🚄\0", at_ms=25) == [b"0", b"1", b"2"]
    (named, _) = (await store.list_versions("copy → 🚄\0"))[::-1]
    assert await store.read_version("copy → 🚄\0", named.id) == b"0,1,2"


async def test_the_history_of_a_restored_document_goes_on(store: Store) -> None:
    dump = await make(store)
    assert await store.restore_dump(replace(dump, room="copy"))

    last = await write(store, b"7", room="copy", to_ms=70)

    assert sorted(await past(store, "copy", segment=last)) == [b"%d" % n for n in range(8)]
    assert sorted(content(await load(store, "copy"))) == [b"%d" % n for n in range(8)]


async def test_a_document_without_history_is_dumped_and_restored(store: Store) -> None:
    await store.append([Append("r", b"1")])
    dump = await dumped(store)
    assert (dump.stored.snapshot, len(dump.stored.updates)) == (None, 1)
    assert [*dump.segments, *dump.checkpoints, *dump.versions] == []

    assert await store.restore_dump(replace(dump, room="copy"))
    assert content(await load(store, "copy")) == [b"1"]
    await write(store, b"2", room="copy")
    assert await past(store, "copy") == [b"1", b"2"]


async def test_a_dump_goes_from_one_kind_of_store_into_another_and_back(store: Store) -> None:
    memory = MemoryStore()
    await memory.open()
    dump = await make(memory)

    assert await store.restore_dump(dump)
    there = await dumped(store)
    assert without_ids(there) == without_ids(dump)
    await memory.delete("r")
    assert await memory.restore_dump(there, revive=True)
    assert without_ids(await dumped(memory)) == without_ids(dump)


async def test_a_live_document_is_never_overwritten(store: Store, other: Store) -> None:
    dump = await make(store)
    cursor, _ = await other.notices(None)

    assert not await other.restore_dump(dump)
    assert not await other.restore_dump(dump, revive=True)

    assert without_ids(await dumped(other)) == without_ids(dump)
    assert await other.notices(cursor) == (cursor, [])


async def test_a_deleted_document_is_revived_only_when_asked_for(store: Store, other: Store) -> None:
    dump = await make(store)
    await store.delete("r")

    assert not await other.restore_dump(dump)
    with pytest.raises(DocumentDeletedError):
        await store.load("r")
    with pytest.raises(DocumentDeletedError):
        await store.dump("r", bytes_max=1 << 30)
    cursor, _ = await store.notices(None)

    assert await other.restore_dump(dump, revive=True)
    assert without_ids(await dumped(store)) == without_ids(dump)
    assert [(notice.room, notice.kind) for notice in (await store.notices(cursor))[1]] == [
        ("r", NoticeKind.CHANGED)
    ]


async def test_of_many_who_restore_the_same_name_one_wins(store: Store, other: Store) -> None:
    dump = await make(store)
    for deleted in (False, True):
        room = f"copy {deleted}"
        if deleted:
            await store.append([Append(room, b"x")])
            await store.delete(room)
        outcomes = await asyncio.gather(
            *((store, other)[n % 2].restore_dump(replace(dump, room=room), revive=True) for n in range(4))
        )

        assert sorted(outcomes) == [False, False, False, True]
        assert len((await load(store, room)).updates) == 2
        assert len(await store.list_segments(room)) == 4


async def test_who_appends_while_a_dump_is_restored_comes_before_or_after_it(
    store: Store, other: Store
) -> None:
    dump = await make(store)
    for number in range(10):
        room = f"copy {number}"
        restored, _ = await asyncio.gather(
            store.restore_dump(replace(dump, room=room)), other.append([Append(room, b"new")])
        )

        names = sorted(content(await load(store, room)))
        assert names == ([b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"new"] if restored else [b"new"])
        assert len(await store.list_segments(room)) == (4 if restored else 0)


async def test_a_dump_that_is_too_large_is_not_read(store: Store) -> None:
    dump = await make(store)

    assert await store.dump("r", bytes_max=dump.bytes_total) is not None
    with pytest.raises(DumpTooLargeError) as caught:
        await store.dump("r", bytes_max=dump.bytes_total - 1)
    assert (caught.value.room, caught.value.bytes_total) == ("r", dump.bytes_total)


async def test_a_document_that_is_not_there_has_no_dump(store: Store) -> None:
    assert await store.dump("nowhere", bytes_max=0) is None


async def test_a_large_dump_with_a_long_history_goes_in_and_out(store: Store) -> None:
    big = bytes(range(256)) * (20 * MIB // 256)
    (row,) = await store.append([Append("r", big)])
    assert await store.compact(
        "r",
        Snapshot(big),
        [row.id],
        segments=[segment(b"%d" % n, n) for n in range(3000)] + [segment(big, 3000)],
    )
    await store.add_version("r", "v", None, 1, big, True)
    dump = await dumped(store)

    assert await store.restore_dump(replace(dump, room="copy"))

    copy = await dumped(store, "copy")
    assert without_ids(replace(copy, room="r", stored=replace(copy.stored, room="r"))) == without_ids(dump)
    assert await store.delete("r")
    assert await store.delete("copy")
