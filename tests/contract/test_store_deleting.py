from __future__ import annotations

import pytest

from persistence.base import Append, NoticeKind, Snapshot, Store
from persistence.errors import DocumentDeletedError


async def test_a_deleted_document_says_so(store: Store, other: Store) -> None:
    await store.append([Append("r", b"1")])

    assert await store.delete("r")

    for through in (store, other):
        with pytest.raises(DocumentDeletedError) as caught:
            await through.load("r")
        assert caught.value.room == "r"


async def test_nothing_is_left_of_a_deleted_document_when_its_name_is_used_again(store: Store) -> None:
    (row,) = await store.append([Append("r", b"1")])
    await store.compact("r", Snapshot(b"secret"), [row.id])
    await store.append([Append("r", b"2")])
    await store.delete("r")

    await store.restore_name("r")
    assert await store.load("r") is None
    (fresh,) = await store.append([Append("r", b"3")])

    document = await store.load("r")
    assert document is not None
    assert document.snapshot is None
    assert [(row.id, row.data) for row in document.updates] == [(fresh.id, b"3")]
    assert fresh.id > row.id


async def test_only_a_document_that_is_there_can_be_deleted(store: Store) -> None:
    assert not await store.delete("nowhere")
    assert await store.load("nowhere") is None
    await store.append([Append("r", b"1")])

    assert await store.delete("r")
    assert not await store.delete("r")


async def test_rows_for_a_deleted_document_are_skipped_and_do_not_fail_the_others(store: Store) -> None:
    await store.append([Append("gone", b"1")])
    await store.delete("gone")

    results = await store.append(
        [Append("here", b"a"), Append("gone", b"b"), Append("new", b"c"), Append("gone", b"d")]
    )

    assert [(result.deleted, result.id > 0) for result in results] == [
        (False, True),
        (True, False),
        (False, True),
        (True, False),
    ]
    for room, data in (("here", b"a"), ("new", b"c")):
        document = await store.load(room)
        assert document is not None
        assert [row.data for row in document.updates] == [data]
    with pytest.raises(DocumentDeletedError):
        await store.load("gone")


async def test_a_compaction_that_comes_after_the_deletion_brings_nothing_back(
    store: Store, other: Store
) -> None:
    (row,) = await store.append([Append("r", b"1")])
    await other.delete("r")

    assert not await store.compact("r", Snapshot(b"1"), [row.id])
    await store.restore_name("r")
    assert not await store.compact("r", Snapshot(b"1"), [row.id])
    await store.append([Append("r", b"2")])
    assert not await store.compact("r", Snapshot(b"1"), [row.id])

    document = await store.load("r")
    assert document is not None
    assert document.snapshot is None


async def test_a_name_without_a_tombstone_is_not_touched_by_restoring_it(store: Store) -> None:
    await store.append([Append("r", b"1")])

    await store.restore_name("r")
    await store.restore_name("nowhere")

    document = await store.load("r")
    assert document is not None
    assert await store.load("nowhere") is None


async def test_a_deletion_leaves_one_notice_and_a_vain_one_leaves_none(store: Store, other: Store) -> None:
    await store.append([Append("r", b"1")])
    cursor, _ = await other.notices(None)

    await store.delete("r")
    await store.delete("r")
    await store.delete("nowhere")

    _, notices = await other.notices(cursor)
    assert [(notice.room, notice.kind) for notice in notices] == [("r", NoticeKind.DELETED)]
