from __future__ import annotations

import asyncio

from persistence.base import Notice, NoticeKind, Store
from tests.contract.conftest import Backend

HOUR_MS = 3_600_000


async def test_a_notice_reaches_every_server_once_and_in_order(store: Store, other: Store) -> None:
    here, _ = await store.notices(None)
    there, none = await other.notices(None)
    assert list(none) == []

    await store.notify("a", NoticeKind.CHANGED)
    await other.notify("b → 🚄", NoticeKind.DELETED)

    for through, cursor in ((store, here), (other, there)):
        after, notices = await through.notices(cursor)
        assert [(notice.room, notice.kind) for notice in notices] == [
            ("a", NoticeKind.CHANGED),
            ("b → 🚄", NoticeKind.DELETED),
        ]
        assert after == notices[-1].id
        assert await through.notices(after) == (after, [])


async def test_who_comes_later_does_not_hear_what_was_said_before(store: Store, other: Store) -> None:
    await store.notify("a", NoticeKind.CHANGED)
    cursor, _ = await other.notices(None)

    await store.notify("b", NoticeKind.CHANGED)

    _, notices = await other.notices(cursor)
    assert [notice.room for notice in notices] == ["b"]


async def test_nobody_misses_a_notice_while_many_are_left_at_once(store: Store, other: Store) -> None:
    cursor, _ = await store.notices(None)
    heard: list[Notice] = []

    async def listen() -> None:
        nonlocal cursor
        while len(heard) < 60:
            cursor, notices = await store.notices(cursor)
            heard.extend(notices)
            await asyncio.sleep(0)

    listener = asyncio.ensure_future(listen())
    await asyncio.gather(
        *((store, other)[n % 2].notify(f"{n}", NoticeKind.CHANGED) for n in range(60)),
    )
    await asyncio.wait_for(listener, 30)

    assert sorted(int(notice.room) for notice in heard) == list(range(60))
    assert [notice.id for notice in heard] == sorted(notice.id for notice in heard)


async def test_a_notice_is_forgotten_after_an_hour(store: Store, backend: Backend) -> None:
    cursor, _ = await store.notices(None)
    await store.notify("old", NoticeKind.CHANGED)
    backend.clock.now_ms += HOUR_MS - 1
    await store.notify("young", NoticeKind.CHANGED)
    assert [notice.room for notice in (await store.notices(cursor))[1]] == ["old", "young"]

    backend.clock.now_ms += 2
    await store.notify("new", NoticeKind.CHANGED)

    assert [notice.room for notice in (await store.notices(cursor))[1]] == ["young", "new"]


async def test_the_place_to_go_on_from_never_goes_back(store: Store, backend: Backend) -> None:
    await store.notify("a", NoticeKind.CHANGED)
    before, _ = await store.notices(None)
    backend.clock.now_ms += 2 * HOUR_MS
    await store.notify("b", NoticeKind.CHANGED)

    after, _ = await store.notices(None)
    assert after > before
