"""Revocations between the store and the doors: heard late, in pages, and while the store fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from collab_server.access.identity import Identity
from collab_server.access.revocations import Revocations
from collab_server.errors import BusyError
from collab_server.hosting.revoking import DAY_MS, Revoker
from persistence.base import NewRevocation
from persistence.errors import StoreError
from persistence.memory import MemoryStore
from tests.support.faulty_store import FaultyStore

NOW_MS = 1_750_000_000_000
KEEP_DAYS = 30


class Node:
    """What one node knows of revocations, and how often it looked for sessions to end."""

    def __init__(self, store: FaultyStore, clock: list[int], *, subjects_max: int = 10_000) -> None:
        self.revocations = Revocations(subjects_max)
        self.looked = 0
        self.revoker = Revoker(
            store,
            self.revocations,
            poll_ms=1,
            keep_days=KEEP_DAYS,
            wall_clock_ms=lambda: clock[0],
            random=lambda: 0.0,
        )
        self.revoker.on_revoked = self._look

    def _look(self) -> None:
        self.looked += 1

    def voids(self, user: str, issued_at_ms: int = NOW_MS - 1) -> bool:
        return self.revocations.is_revoked(Identity(user, issued_at_ms=issued_at_ms), "trip")


@pytest.fixture
def clock() -> list[int]:
    return [NOW_MS]


@pytest.fixture
async def store() -> FaultyStore:
    store = FaultyStore(MemoryStore())
    await store.open()
    return store


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def test_what_one_node_revokes_is_in_force_there_at_once_and_elsewhere_when_it_has_asked(
    store: FaultyStore, clock: list[int]
) -> None:
    here, there = Node(store, clock), Node(store, clock)
    await here.revoker.revoke("ada", None, None)
    assert (here.voids("ada"), here.looked) == (True, 1)
    assert not there.voids("ada")
    await there.revoker.catch_up()
    assert (there.voids("ada"), there.looked) == (True, 1)
    for node in (here, there):
        await node.revoker.catch_up()
        assert node.looked == 1, "known things are no news"


async def test_a_node_that_could_not_ask_for_a_while_misses_nothing(
    store: FaultyStore, clock: list[int]
) -> None:
    here, there = Node(store, clock), Node(store, clock)
    following = asyncio.create_task(there.revoker.run())
    await until(lambda: store.calls["revocations"] > 1)
    fault = store.fail_before("revocations")
    for user in ("ada", "bob"):
        await here.revoker.revoke(user, None, None)
    asked = store.calls["revocations"]
    await until(lambda: store.calls["revocations"] > asked + 2)
    assert not there.voids("ada")
    fault.clear()
    await until(lambda: there.voids("ada") and there.voids("bob"))
    assert there.looked == 1
    following.cancel()


async def test_what_was_read_counts_though_the_next_page_could_not_be_read(
    store: FaultyStore, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collab_server.hosting.revoking._PAGE", 2)
    for user in ("ada", "bob", "cyd"):
        await store.add_revocation(NewRevocation(NOW_MS, NOW_MS + DAY_MS, user=user))
    node = Node(store, clock)
    ask = store.revocations

    async def once(after: int = 0, *, limit: int = 1000) -> object:
        if after:
            raise StoreError("away")
        return await ask(after, limit=limit)

    monkeypatch.setattr(store, "revocations", once)
    with pytest.raises(StoreError):
        await node.revoker.catch_up()
    assert node.looked == 1, "sessions of what was read have to go now"
    assert (node.voids("bob"), node.voids("cyd")) == (True, False)
    monkeypatch.undo()
    await node.revoker.catch_up()
    assert (node.looked, node.voids("cyd")) == (2, True)


async def test_without_a_store_nothing_is_revoked_and_that_is_said(
    store: FaultyStore, clock: list[int]
) -> None:
    node = Node(store, clock)
    fault = store.fail_before("add_revocation")
    with pytest.raises(BusyError, match="nothing is known to be revoked"):
        await node.revoker.revoke("ada", None, None)
    assert (node.voids("ada"), node.looked, list(await store.revocations())) == (False, 0, [])
    fault.clear()
    await node.revoker.revoke("ada", None, None)
    assert node.voids("ada")


async def test_a_revocation_whose_reply_was_lost_comes_with_the_next_question(
    store: FaultyStore, clock: list[int]
) -> None:
    node = Node(store, clock)
    fault = store.fail_after("add_revocation")
    with pytest.raises(BusyError):
        await node.revoker.revoke("ada", None, None)
    fault.clear()
    await node.revoker.catch_up()
    assert (node.voids("ada"), node.looked) == (True, 1)


async def test_an_older_one_that_is_heard_of_later_ends_nobodys_session(
    store: FaultyStore, clock: list[int]
) -> None:
    node = Node(store, clock)
    await node.revoker.revoke("ada", None, None)
    await store.add_revocation(NewRevocation(NOW_MS - 5000, NOW_MS + DAY_MS, user="ada"))
    await node.revoker.catch_up()
    assert node.looked == 1
    assert not node.voids("ada", issued_at_ms=NOW_MS + 1)
    assert node.voids("ada", issued_at_ms=NOW_MS)


async def test_more_than_the_bound_are_not_made_but_those_of_others_are_taken_in(
    store: FaultyStore, clock: list[int]
) -> None:
    node, other = Node(store, clock, subjects_max=1), Node(store, clock)
    await node.revoker.revoke("ada", None, None)
    with pytest.raises(BusyError, match="revocations_max"):
        await node.revoker.revoke("bob", None, None)
    assert len(await store.revocations()) == 1
    await other.revoker.revoke("bob", None, None)
    await node.revoker.catch_up()
    assert node.voids("bob")


async def test_what_no_token_can_outlive_is_forgotten_here_and_in_the_store(
    store: FaultyStore, clock: list[int]
) -> None:
    node = Node(store, clock)
    await node.revoker.revoke("ada", None, None)
    clock[0] += KEEP_DAYS * DAY_MS + 1
    following = asyncio.create_task(node.revoker.run())
    await until(lambda: not len(node.revocations) and store.calls["drop_revocations"] > 0)
    following.cancel()
    assert list(await store.revocations()) == []
