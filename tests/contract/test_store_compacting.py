from __future__ import annotations

import asyncio

from persistence.base import Append, Snapshot, Store, StoredDocument


async def load(store: Store, room: str) -> StoredDocument:
    document = await store.load(room)
    assert document is not None
    return document


def content(document: StoredDocument) -> list[bytes]:
    """The document as the list of its parts: a snapshot in these tests is its parts, joined by commas."""
    parts = document.snapshot.data.split(b",") if document.snapshot else []
    return parts + [row.data for row in document.updates]


def compacted(document: StoredDocument) -> Snapshot:
    return Snapshot(b",".join(content(document)), b"index")


async def test_a_compaction_replaces_the_rows_by_the_snapshot(store: Store) -> None:
    await store.append([Append("r", b"1"), Append("r", b"2"), Append("other", b"3")])
    before = await load(store, "r")

    assert await store.compact("r", Snapshot(b"1,2", b"idx"), [row.id for row in before.updates])

    after = await load(store, "r")
    assert after.snapshot == Snapshot(b"1,2", b"idx")
    assert list(after.updates) == []
    assert after.bytes_total == 3
    assert content(await load(store, "other")) == [b"3"]


async def test_rows_that_came_after_the_load_stay(store: Store, other: Store) -> None:
    await store.append([Append("r", b"1"), Append("r", b"2")])
    before = await load(store, "r")
    await other.append([Append("r", b"3")])

    assert await store.compact("r", compacted(before), [row.id for row in before.updates])

    assert content(await load(store, "r")) == [b"1", b"2", b"3"]


async def test_only_the_rows_that_were_absorbed_are_deleted_also_below_the_highest(store: Store) -> None:
    first, second, third = await store.append([Append("r", b"1"), Append("r", b"2"), Append("r", b"3")])

    # As if the second had been committed, under its lower id, after the load.
    assert await store.compact("r", Snapshot(b"1,3"), [first.id, third.id])

    after = await load(store, "r")
    assert [(row.id, row.data) for row in after.updates] == [(second.id, b"2")]


async def test_of_two_compactions_of_the_same_rows_the_second_changes_nothing(
    store: Store, other: Store
) -> None:
    await store.append([Append("r", b"1"), Append("r", b"2")])
    mine, yours = await load(store, "r"), await load(other, "r")
    await store.append([Append("r", b"3")])

    assert await store.compact("r", compacted(mine), [row.id for row in mine.updates])
    assert not await other.compact("r", Snapshot(b"late"), [row.id for row in yours.updates])

    assert content(await load(store, "r")) == [b"1", b"2", b"3"]


async def test_a_compaction_that_overlaps_an_earlier_one_deletes_no_row(store: Store) -> None:
    appended = await store.append([Append("r", b"1"), Append("r", b"2")])
    assert await store.compact("r", Snapshot(b"1"), [appended[0].id])

    assert not await store.compact("r", Snapshot(b"late"), [appended[0].id, appended[1].id])

    assert content(await load(store, "r")) == [b"1", b"2"]


async def test_rows_of_another_room_are_not_absorbed(store: Store) -> None:
    mine, yours = await store.append([Append("r", b"1"), Append("other", b"2")])

    assert not await store.compact("r", Snapshot(b"x"), [mine.id, yours.id])

    assert content(await load(store, "r")) == [b"1"]
    assert content(await load(store, "other")) == [b"2"]


async def test_an_id_given_twice_counts_once(store: Store) -> None:
    (row,) = await store.append([Append("r", b"1")])

    assert await store.compact("r", Snapshot(b"1"), [row.id, row.id])


async def test_a_room_that_is_not_there_is_not_compacted(store: Store) -> None:
    assert not await store.compact("nowhere", Snapshot(b"x"), [])
    assert await store.load("nowhere") is None


async def test_a_compaction_that_absorbs_nothing_never_replaces_a_snapshot(
    store: Store, other: Store
) -> None:
    await store.append([Append("r", b"1")])
    first = await load(store, "r")
    await store.compact("r", compacted(first), [row.id for row in first.updates])
    stale = await load(other, "r")
    await store.append([Append("r", b"2")])
    second = await load(store, "r")
    await store.compact("r", compacted(second), [row.id for row in second.updates])

    assert not await other.compact("r", compacted(stale), [])

    assert content(await load(store, "r")) == [b"1", b"2"]


async def test_a_snapshot_is_kept_byte_for_byte_and_may_be_empty(store: Store) -> None:
    for data, index in [(b"", b""), (bytes(range(256)) * 9000, b"\0\xff" * 5000)]:
        (row,) = await store.append([Append("r", b"x")])
        assert await store.compact("r", Snapshot(data, index), [row.id])

        assert (await load(store, "r")).snapshot == Snapshot(data, index)


async def test_ids_are_never_used_again(store: Store) -> None:
    seen: set[int] = set()
    for _ in range(5):
        appended = await store.append([Append("r", b"1"), Append("r", b"2")])
        ids = {result.id for result in appended}
        assert not ids & seen
        assert 0 not in ids
        seen |= ids
        assert await store.compact("r", Snapshot(b"s"), sorted(ids))


async def test_a_row_is_in_the_snapshot_or_beside_it_while_servers_append_and_compact_at_once(
    store: Store, other: Store
) -> None:
    expected = {b"%d-%d" % (writer, n) for writer in range(4) for n in range(40)}
    writing = True
    torn: list[list[bytes]] = []
    compactions = 0

    async def write(writer: int) -> None:
        for n in range(40):
            await (store, other)[writer % 2].append([Append("r", b"%d-%d" % (writer, n))])

    async def compact(through: Store) -> None:
        nonlocal compactions
        while writing:
            document = await through.load("r")
            if document is not None and document.updates:
                parts = content(document)
                if len(parts) != len(set(parts)):
                    torn.append(parts)
                snapshot = compacted(document)
                won = await through.compact("r", snapshot, [row.id for row in document.updates])
                compactions += won
            await asyncio.sleep(0)

    compactors = [asyncio.ensure_future(compact(through)) for through in (store, other)]
    await asyncio.gather(*(write(writer) for writer in range(4)))
    writing = False
    await asyncio.gather(*compactors)

    parts = content(await load(store, "r"))
    assert set(parts) == expected
    assert len(parts) == len(expected)
    assert torn == []
    assert compactions > 0
