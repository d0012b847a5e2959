from __future__ import annotations

from persistence.base import Append, DocumentInfo, Snapshot, Store
from tests.contract.conftest import Backend


async def test_a_line_tells_sizes_counts_and_times(store: Store, backend: Backend) -> None:
    first, second = await store.append([Append("r", b"12345", at_ms=1000), Append("r", b"678", at_ms=2000)])
    assert list(await store.list_documents()) == [DocumentInfo("r", 8, 2, 1000, 2000)]

    await store.compact("r", Snapshot(b"123456", b"the index does not count"), [first.id, second.id])
    await store.append([Append("r", b"9", at_ms=3000)])
    assert list(await store.list_documents()) == [DocumentInfo("r", 7, 1, 1000, 3000)]

    await store.append([Append("r", b"late", at_ms=10)])
    assert list(await store.list_documents()) == [DocumentInfo("r", 11, 2, 1000, 3000)]


async def test_an_update_without_a_time_has_the_time_of_its_append(store: Store, backend: Backend) -> None:
    now_ms = backend.clock.now_ms
    await store.append([Append("r", b"1")])
    backend.clock.now_ms += 500
    await store.append([Append("r", b"2")])

    assert list(await store.list_documents()) == [DocumentInfo("r", 2, 2, now_ms, now_ms + 500)]


async def test_names_come_in_the_order_of_their_code_points(store: Store) -> None:
    names = [
        "b",
        "a",
        "B",
        "é",
        "z",
        "日",
        "🚄",
        "\ufffd",
        "a/1",
        "a-1",
        "\x01",
        "\0",
        "\0\1",
        "\1\0",
        "\2",
        "aa",
    ]
    await store.append([Append(name, b"") for name in names])

    assert [info.room for info in await store.list_documents()] == sorted(names)


async def test_pages_follow_each_other_without_gap_or_overlap(store: Store) -> None:
    names = [f"trip-{number:03}" for number in range(25)]
    await store.append([Append(name, b"x") for name in reversed(names)])

    seen: list[str] = []
    sizes: list[int] = []
    while page := await store.list_documents(after=seen[-1] if seen else "", limit=10):
        seen += [info.room for info in page]
        sizes.append(len(page))

    assert seen == names
    assert sizes == [10, 10, 5]


async def test_a_prefix_is_taken_literally(store: Store) -> None:
    names = [
        "a_c",
        "abc",
        "a%c",
        "a%cd",
        "A%c",
        "a\\c",
        "a*c",
        "b",
        "a\U0010ffff",
        "a\U0010ffffz",
        "\ud7ffx",
        "\ue000x",
    ]
    await store.append([Append(name, b"") for name in names])

    for prefix in ["a", "a%", "a_", "A", "a*", "a\\", "", "ab", "x", "a\U0010ffff", "\ud7ff", "a%cd!"]:
        expected = sorted(name for name in names if name.startswith(prefix))
        assert [info.room for info in await store.list_documents(prefix=prefix)] == expected, prefix


async def test_a_prefix_and_a_name_to_go_on_after_work_together(store: Store) -> None:
    await store.append([Append(name, b"") for name in ["a1", "a2", "a3", "b1", "b2", "c1"]])

    def rooms(page: object) -> list[str]:
        return [info.room for info in page]  # type: ignore[attr-defined]

    assert rooms(await store.list_documents(prefix="b", after="a2")) == ["b1", "b2"]
    assert rooms(await store.list_documents(prefix="b", after="b1")) == ["b2"]
    assert rooms(await store.list_documents(prefix="b", after="b2")) == []
    assert rooms(await store.list_documents(prefix="a", after="a1", limit=1)) == ["a2"]
    assert rooms(await store.list_documents(limit=0)) == []
    assert rooms(await store.list_documents(limit=-1)) == []


async def test_deleted_documents_are_not_listed(store: Store) -> None:
    await store.append([Append("a", b""), Append("b", b""), Append("c", b"")])
    await store.delete("b")

    assert [info.room for info in await store.list_documents()] == ["a", "c"]


async def test_the_list_sees_what_another_server_wrote(store: Store, other: Store) -> None:
    await other.append([Append("theirs", b"abc")])

    assert [(info.room, info.bytes_total) for info in await store.list_documents()] == [("theirs", 3)]
