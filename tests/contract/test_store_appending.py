from __future__ import annotations

import asyncio

import pytest

from persistence.base import Append, Store
from tests.contract.conftest import Backend

MIB = 1 << 20


async def rows_of(store: Store, room: str) -> list[bytes]:
    document = await store.load(room)
    assert document is not None
    return [row.data for row in document.updates]


async def test_a_room_that_nobody_wrote_to_is_not_there(store: Store) -> None:
    assert await store.load("trip-1") is None


async def test_what_was_appended_is_loaded_with_the_ids_that_append_told(store: Store) -> None:
    appended = await store.append([Append("trip-1", b"one"), Append("trip-1", b"two", ("ann", "bob"), 5)])

    document = await store.load("trip-1")
    assert document is not None
    assert document.room == "trip-1"
    assert document.snapshot is None
    assert [(row.id, row.data) for row in document.updates] == [
        (appended[0].id, b"one"),
        (appended[1].id, b"two"),
    ]
    assert document.bytes_total == 6
    assert not any(result.deleted for result in appended)


async def test_the_rows_of_one_appender_keep_their_order(store: Store) -> None:
    for number in range(50):
        await store.append([Append("r", f"{number}a".encode()), Append("r", f"{number}b".encode())])

    assert await rows_of(store, "r") == [f"{n}{half}".encode() for n in range(50) for half in "ab"]


async def test_results_come_in_the_order_of_the_group(store: Store) -> None:
    group = [Append(f"room-{number % 7}", str(number).encode()) for number in range(100)]

    appended = await store.append(group)

    by_id = {}
    for room in {entry.room for entry in group}:
        document = await store.load(room)
        assert document is not None
        by_id.update({row.id: (room, row.data) for row in document.updates})
    assert [by_id[result.id] for result in appended] == [(entry.room, entry.data) for entry in group]


async def test_an_empty_group_is_nothing(store: Store) -> None:
    assert list(await store.append([])) == []
    assert list(await store.list_documents()) == []


async def test_a_group_holds_a_thousand_rooms(store: Store) -> None:
    group = [Append(f"trip-{number:04}", number.to_bytes(4, "big")) for number in range(1000)]

    appended = await store.append(group)

    assert len({result.id for result in appended}) == 1000
    assert len(await store.list_documents(limit=2000)) == 1000
    assert await rows_of(store, "trip-0999") == [(999).to_bytes(4, "big")]


async def test_what_was_appended_is_there_after_a_restart(backend: Backend) -> None:
    first = backend.store()
    await first.open()
    appended = await first.append([Append("r", b"kept")])
    await first.close()

    second = backend.store()
    await second.open()
    try:
        document = await second.load("r")
        assert document is not None
        assert [(row.id, row.data) for row in document.updates] == [(appended[0].id, b"kept")]
    finally:
        await second.close()


async def test_two_servers_see_each_others_rows(store: Store, other: Store) -> None:
    await store.append([Append("r", b"mine")])
    await other.append([Append("r", b"yours")])

    assert sorted(await rows_of(store, "r")) == [b"mine", b"yours"]
    assert sorted(await rows_of(other, "r")) == [b"mine", b"yours"]


async def test_concurrent_appends_of_two_servers_all_arrive_under_ids_of_their_own(
    store: Store, other: Store
) -> None:
    results = await asyncio.gather(
        *(
            (store, other)[number % 2].append(
                [Append("shared", f"{number}".encode()), Append(f"own-{number}", b"x")]
            )
            for number in range(60)
        )
    )

    ids = [appended.id for result in results for appended in result]
    assert len(set(ids)) == 120
    assert sorted(await rows_of(store, "shared")) == sorted(f"{number}".encode() for number in range(60))


async def test_two_servers_may_make_the_same_room_at_once(store: Store, other: Store) -> None:
    for number in range(20):
        await asyncio.gather(
            store.append([Append(f"new-{number}", b"a"), Append(f"newer-{number}", b"a")]),
            other.append([Append(f"newer-{number}", b"b"), Append(f"new-{number}", b"b")]),
        )

        assert sorted(await rows_of(store, f"new-{number}")) == [b"a", b"b"]
        assert sorted(await rows_of(store, f"newer-{number}")) == [b"a", b"b"]


@pytest.mark.parametrize(
    "room",
    [
        "a",
        "/with/slashes//",
        "Zürich → 東京 🚄",
        "e\u0301 is not \u00e9",
        "' or 1=1; drop table doc; --",
        "%00%41",
        "with\0nul and \1 and \2",
        "\U0010ffff",
        "\ufffe\uffff\ue000",
        "x" * 512,
        "🚀" * 128,
        " ",
    ],
)
async def test_a_room_may_be_named_in_any_unicode(store: Store, room: str) -> None:
    await store.append([Append(room, b"data"), Append(room + "!", b"other")])

    document = await store.load(room)
    assert document is not None
    assert document.room == room
    assert [row.data for row in document.updates] == [b"data"]
    assert [info.room for info in await store.list_documents(prefix=room)] == [room, room + "!"]


async def test_names_that_differ_by_case_or_by_normal_form_are_different_rooms(store: Store) -> None:
    names = ["trip", "Trip", "\u00e9", "e\u0301", "trip "]
    await store.append([Append(name, name.encode()) for name in names])

    for name in names:
        assert await rows_of(store, name) == [name.encode()]


async def test_a_lone_surrogate_is_refused_and_the_group_is_not_written(store: Store) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        await store.append([Append("good", b"x"), Append("bad\ud800", b"x")])

    assert await store.load("good") is None


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)), b"\xff" * 70_000])
async def test_data_is_kept_byte_for_byte(store: Store, data: bytes) -> None:
    await store.append([Append("r", data)])

    assert await rows_of(store, "r") == [data]


async def test_data_may_be_a_view_of_a_buffer_that_changes_afterwards(store: Store) -> None:
    buffer = bytearray(b"before")
    await store.append([Append("r", buffer), Append("r", memoryview(buffer)[:2])])  # type: ignore[arg-type]
    buffer[:] = b"after!"

    rows = await rows_of(store, "r")
    assert rows == [b"before", b"be"]
    assert [type(row) for row in rows] == [bytes, bytes]


async def test_twenty_megabytes_are_one_row(store: Store) -> None:
    data = bytes(range(256)) * (20 * MIB // 256)
    await store.append([Append("big", data), Append("small", b"s")])

    document = await store.load("big")
    assert document is not None
    assert document.updates[0].data == data
    assert document.bytes_total == 20 * MIB
    (info, _) = await store.list_documents()
    assert info.bytes_total == 20 * MIB


async def test_an_append_that_is_cancelled_is_there_wholly_or_not_at_all(store: Store) -> None:
    tasks = [
        asyncio.ensure_future(store.append([Append("r", b"%d" % n), Append("q", b"%d" % n)]))
        for n in range(20)
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.append([Append("r", b"last"), Append("q", b"last")])

    rows = await rows_of(store, "r")
    assert sorted(rows) == sorted(await rows_of(store, "q"))
    assert len(set(rows)) == len(rows)
    assert {b"%d" % n for n in range(1, 20, 2)} | {b"last"} <= set(rows)
