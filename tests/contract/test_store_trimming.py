from __future__ import annotations

import pytest

from persistence.base import Append, HistoryPart, NewCheckpoint, Store
from tests.contract.past import fold, joined, past, state, write


async def base_at(store: Store, segment: int, room: str = "r") -> NewCheckpoint:
    return NewCheckpoint(joined(state(await store.read_history(room, segment=segment))), 0)


async def test_the_old_end_is_replaced_by_a_base(store: Store, other: Store) -> None:
    ids = [await write(store, b"%d" % n, to_ms=n * 10, checkpoint=n in (1, 2, 4)) for n in range(6)]

    base = NewCheckpoint(b"0,1,2,3", 30)
    assert await store.trim("r", before_ms=40, upto_segment=ids[3], base=base)

    assert [info.id for info in await other.list_segments("r")] == [ids[5], ids[4]]
    for gone in ids[:3]:
        assert await other.read_history("r", segment=gone) is None
    assert await other.read_history("r", segment=ids[3]) == HistoryPart(b"0,1,2,3", [])
    assert await other.read_history("r", segment=ids[4]) == HistoryPart(b"0,1,2,3,4", [])
    assert await other.read_history("r", segment=ids[5]) == HistoryPart(b"0,1,2,3,4", [b"5"])
    size = await other.history_size("r")
    assert (size.segments_count, size.segments_bytes) == (2, 2)
    assert (size.checkpoints_count, size.checkpoints_bytes) == (2, 7 + 9)
    assert await other.read_history("r", at_ms=29) is None
    assert await past(other, at_ms=30) == [b"0", b"1", b"2", b"3"]
    assert await past(other, at_ms=39) == [b"0", b"1", b"2", b"3"]
    assert await past(other, at_ms=40) == [b"0", b"1", b"2", b"3", b"4"]


async def test_all_segments_may_be_trimmed_and_the_history_goes_on_from_the_base(store: Store) -> None:
    first, second = [await write(store, b"%d" % n, to_ms=n) for n in range(2)]
    assert await store.trim("r", before_ms=9, upto_segment=second, base=await base_at(store, second))

    assert list(await store.list_segments("r")) == []
    assert await store.read_history("r") == HistoryPart(b"0,1", [])
    assert await store.read_history("r", segment=first) is None

    third = await write(store, b"2", to_ms=20)
    assert third > second
    assert await store.read_history("r", segment=third) == HistoryPart(b"0,1", [b"2"])
    assert (await store.history_size("r")).since_checkpoint_bytes == 1


async def test_a_trim_that_another_has_overtaken_changes_nothing(store: Store, other: Store) -> None:
    ids = [await write(store, b"%d" % n, to_ms=n) for n in range(4)]
    mine, yours = await base_at(store, ids[1]), await base_at(other, ids[2])
    old = await store.add_version("r", "old", None, 1, b"", False)

    assert await other.trim("r", before_ms=0, upto_segment=ids[2], base=yours)
    for late in (ids[1], ids[2], 0, -1, ids[3] + 99):
        assert not await store.trim("r", before_ms=9, upto_segment=late, base=mine)

    assert await past(store) == [b"0", b"1", b"2", b"3"]
    assert await store.read_history("r", segment=ids[3]) == HistoryPart(b"0,1,2", [b"3"])
    assert await store.read_version("r", old) is not None


async def test_trims_of_further_ends_follow_each_other(store: Store, other: Store) -> None:
    ids = [await write(store, b"%d" % n, to_ms=n) for n in range(4)]
    mine, yours = await base_at(store, ids[1]), await base_at(other, ids[2])

    assert await store.trim("r", before_ms=9, upto_segment=ids[1], base=mine)
    assert await other.trim("r", before_ms=9, upto_segment=ids[2], base=yours)

    assert await store.read_history("r", segment=ids[3]) == HistoryPart(b"0,1,2", [b"3"])
    assert (await store.history_size("r")).checkpoints_count == 1


async def test_a_compaction_between_reading_and_trimming_is_kept(store: Store, other: Store) -> None:
    first = await write(store, b"0", to_ms=0)
    base = await base_at(store, first)
    second = await write(other, b"1", to_ms=1, checkpoint=True)
    await other.append([Append("r", b"2")])
    assert await fold(other, history=False)
    third = await write(other, b"3", to_ms=3)

    assert await store.trim("r", before_ms=1, upto_segment=first, base=base)

    assert await past(store, segment=first) == [b"0"]
    assert await past(store, segment=second) == [b"0", b"1"]
    assert await past(store, segment=third) == [b"0", b"1", b"2", b"3"]


async def test_a_trim_needs_both_an_end_and_a_base_or_neither(store: Store) -> None:
    with pytest.raises(ValueError, match="base"):
        await store.trim("r", before_ms=1, upto_segment=1)
    with pytest.raises(ValueError, match="base"):
        await store.trim("r", before_ms=1, base=NewCheckpoint(b"", 1))


async def test_old_versions_go_unless_they_are_pinned(store: Store) -> None:
    await write(store, b"1", to_ms=100)
    await write(store, b"1", room="other")
    old, pinned, young = [
        await store.add_version("r", name, None, at_ms, b"", name == "pinned")
        for name, at_ms in [("old", 9), ("pinned", 5), ("young", 10)]
    ]
    elsewhere = await store.add_version("other", "old", None, 9, b"", False)

    assert await store.trim("r", before_ms=10)

    assert [info.id for info in await store.list_versions("r")] == [young, pinned]
    assert await store.read_version("r", old) is None
    assert await store.read_version("other", elsewhere) == b""
    assert len(await store.list_segments("r")) == 1


async def test_a_document_that_is_not_there_is_not_trimmed(store: Store) -> None:
    last = await write(store, b"1")
    await store.delete("r")

    for room in ("r", "nowhere"):
        assert not await store.trim(room, before_ms=9)
        assert not await store.trim(room, before_ms=9, upto_segment=last, base=NewCheckpoint(b"", 1))
    assert await store.load("nowhere") is None


async def test_documents_with_something_to_trim_are_found_by_name_in_pages(store: Store) -> None:
    for number in range(5):
        await write(store, b"old", room=f"old-{number}", to_ms=99)
        await write(store, b"old too", room=f"old-{number}", to_ms=98)
    await write(store, b"young", room="young", to_ms=100)
    await write(store, b"mixed", room="mixed 🚄\0", to_ms=99)
    await write(store, b"young", room="mixed 🚄\0", to_ms=100)
    for room, at_ms, pinned in [("a", 99, False), ("b", 99, True), ("c", 100, False)]:
        await store.append([Append(room, b"1")])
        await store.add_version(room, "v", None, at_ms, b"", pinned)
    found: list[str] = []

    while page := await store.expired(100, 3, after=found[-1] if found else ""):
        assert len(page) <= 3
        found += page

    assert found == ["a", "mixed 🚄\0", *(f"old-{number}" for number in range(5))]
    assert list(await store.expired(100, 0)) == []
    assert list(await store.expired(98, 10)) == []
    for room in found:
        old = [info.id for info in await store.list_segments(room) if info.to_ms < 100]
        for last in old[:1]:
            assert await store.trim(
                room, before_ms=100, upto_segment=last, base=await base_at(store, last, room)
            )
    assert await store.trim("a", before_ms=100)
    assert list(await store.expired(100, 10)) == []
