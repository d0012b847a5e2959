from __future__ import annotations

import asyncio

import pytest

from persistence.base import NewRevocation, Revocation, Store

DAY_MS = 86_400_000


async def test_a_revocation_reaches_every_server_as_it_was_given(store: Store, other: Store) -> None:
    given = [
        NewRevocation(1000, 9000, user="ada\0\1"),
        NewRevocation(1001, 9001, session="s → 🚄"),
        NewRevocation(1002, 9002, room="trip/1"),
        NewRevocation(1003, 9003, user="ada", room="trip/1"),
        NewRevocation(1004, 9004, user="", session="", room=""),
    ]

    ids = [await (store, other)[n % 2].add_revocation(revocation) for n, revocation in enumerate(given)]

    assert ids == sorted(set(ids))
    for through in (store, other):
        found = await through.revocations()
        assert found == [
            Revocation(r.at_ms, r.until_ms, r.user, r.session, r.room, id=id_)
            for r, id_ in zip(given, ids, strict=True)
        ]


async def test_whoever_goes_on_from_the_last_id_gets_the_rest_a_page_at_a_time(store: Store) -> None:
    ids = [await store.add_revocation(NewRevocation(1, 2, user=f"u{n}")) for n in range(5)]

    first = await store.revocations(limit=2)
    second = await store.revocations(first[-1].id, limit=2)
    third = await store.revocations(second[-1].id, limit=2)

    assert [r.id for page in (first, second, third) for r in page] == ids
    assert list(await store.revocations(ids[-1])) == []


async def test_nobody_misses_a_revocation_while_many_are_made_at_once(store: Store, other: Store) -> None:
    heard: list[Revocation] = []

    async def listen() -> None:
        while len(heard) < 60:
            heard.extend(await store.revocations(heard[-1].id if heard else 0))
            await asyncio.sleep(0)

    listener = asyncio.ensure_future(listen())
    await asyncio.gather(
        *((store, other)[n % 2].add_revocation(NewRevocation(1, 2, user=f"{n}")) for n in range(60)),
    )
    await asyncio.wait_for(listener, 30)

    assert sorted(int(r.user or "") for r in heard) == list(range(60))
    assert [r.id for r in heard] == sorted(r.id for r in heard)


async def test_what_has_run_out_is_dropped_and_its_id_is_never_used_again(store: Store, other: Store) -> None:
    await store.add_revocation(NewRevocation(0, DAY_MS, user="kept"))
    last = await store.add_revocation(NewRevocation(0, DAY_MS - 1, user="gone"))

    assert await store.drop_revocations(DAY_MS) == 1
    assert await other.drop_revocations(DAY_MS) == 0
    assert [r.user for r in await other.revocations()] == ["kept"]

    assert await other.add_revocation(NewRevocation(0, DAY_MS, user="new")) > last
    assert [r.user for r in await store.revocations(last)] == ["new"]


async def test_a_revocation_that_names_nobody_or_no_text_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="names"):
        NewRevocation(1, 2)
    with pytest.raises(ValueError, match="surrogates"):
        NewRevocation(1, 2, user="\ud800")
