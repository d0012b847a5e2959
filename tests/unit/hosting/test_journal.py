import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from collab_server.hosting.journal import Journal
from collab_server.hosting.settings import JournalSettings
from collab_server.telemetry.metrics import Metrics
from persistence.base import Append
from persistence.errors import StoreError
from persistence.memory import MemoryStore
from tests.support.faulty_store import FaultyStore

EDITS = [bytes([1, 1, client, 0, 4, 1, 1, 116, 1, 97, 0]) for client in range(1, 60)]
"""Updates of one client each: one character inserted at the start of the root ``t``."""


class Room:
    """A writer that remembers what it was told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.journal_bytes = 0
        self.committed: list[int] = []
        self.deleted = 0
        self.unstorable: list[StoreError] = []

    def on_committed(self, sequence: int) -> None:
        self.committed.append(sequence)

    def on_deleted(self) -> None:
        self.deleted += 1

    def on_unstorable(self, error: StoreError) -> None:
        self.unstorable.append(error)


@asynccontextmanager
async def running(
    store: FaultyStore, settings: JournalSettings | None = None, clock: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[Journal]:
    await store.open()
    settings = settings or JournalSettings(retry_min_ms=1, retry_max_ms=2)
    journal = Journal(store, settings, Metrics(), clock=clock, random=lambda: 0.5)
    task = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        journal.close()
        await asyncio.wait_for(task, 10)
        await store.close()


async def rows(store: FaultyStore, room: str) -> list[bytes]:
    stored = await store.load(room)
    return [row.data for row in stored.updates] if stored else []


async def test_what_is_put_is_stored_and_reported() -> None:
    store, room = FaultyStore(MemoryStore()), Room("a")
    async with running(store) as journal:
        sequence = journal.put(room, EDITS[0], ["ada"], 5)
        await journal.settle()
        assert room.committed == [sequence]
        assert await rows(store, "a") == [EDITS[0]]
        assert journal.bytes_waiting == room.journal_bytes == 0


async def test_what_arrives_during_a_commit_becomes_one_group_and_one_row_a_room() -> None:
    store, first, second = FaultyStore(MemoryStore()), Room("a"), Room("b")
    async with running(store) as journal:
        stall = store.stall("append")
        journal.put(first, EDITS[0], [], 0)
        await stall.reached.wait()
        for edit in EDITS[1:11]:
            journal.put(first, edit, [], 0)
        journal.put(second, EDITS[11], [], 0)
        stall.clear()
        await journal.settle()
        assert len(await rows(store, "a")) == 2
        assert len(await rows(store, "b")) == 1
        assert first.committed == [1, 11]
        assert second.committed == [12]


async def test_nothing_is_reported_while_the_store_is_away_and_everything_once_it_is_back() -> None:
    store, room = FaultyStore(MemoryStore()), Room("a")
    async with running(store) as journal:
        fault = store.fail_before("append")
        journal.put(room, EDITS[0], [], 0)
        await fault.reached.wait()
        await asyncio.sleep(0.02)
        assert room.committed == []
        assert journal.trouble is not None
        fault.clear()
        await journal.settle()
        assert room.committed == [1]
        assert journal.trouble is None


async def test_a_commit_whose_reply_was_lost_is_tried_again_and_loses_nothing() -> None:
    store, room = FaultyStore(MemoryStore()), Room("a")
    async with running(store) as journal:
        store.fail_after("append", times=2)
        journal.put(room, EDITS[0], [], 0)
        await journal.settle()
        assert room.committed == [1]
        assert set(await rows(store, "a")) == {EDITS[0]}


async def test_a_room_is_not_admitted_past_its_bound_and_others_are() -> None:
    store, full, other = FaultyStore(MemoryStore()), Room("a"), Room("b")
    settings = JournalSettings(room_journal_bytes_max=20, journal_bytes_max=1000, retry_min_ms=1)
    async with running(store, settings) as journal:
        fault = store.stall("append")
        assert journal.admits(full)
        for edit in EDITS[:2]:
            journal.put(full, edit, [], 0)
        assert not journal.admits(full)
        assert journal.admits(other)
        fault.clear()
        await journal.settle()
        assert journal.admits(full)


async def test_no_room_is_admitted_past_the_bound_of_the_node() -> None:
    store = FaultyStore(MemoryStore())
    settings = JournalSettings(room_journal_bytes_max=20, journal_bytes_max=30, retry_min_ms=1)
    async with running(store, settings) as journal:
        fault = store.stall("append")
        for name, edit in zip("abc", EDITS, strict=False):
            journal.put(Room(name), edit, [], 0)
        assert not journal.admits(Room("d"))
        fault.clear()


async def test_the_room_of_a_deleted_document_is_told_and_the_others_are_committed() -> None:
    store, gone, other = FaultyStore(MemoryStore()), Room("a"), Room("b")
    async with running(store) as journal:
        await store.append([Append("a", EDITS[0])])
        await store.delete("a")
        journal.put(gone, EDITS[1], [], 0)
        journal.put(other, EDITS[2], [], 0)
        await journal.settle()
        assert (gone.deleted, gone.committed) == (1, [])
        assert other.committed == [2]


async def test_what_cannot_be_stored_at_all_is_the_trouble_of_its_own_room() -> None:
    class Picky(MemoryStore):
        async def append(self, group):  # type: ignore[no-untyped-def]
            if any(entry.room == "bad" for entry in group):
                raise StoreError("refused for good")
            return await super().append(group)

    store, bad, good = FaultyStore(Picky()), Room("bad"), Room("good")
    async with running(store) as journal:
        journal.put(bad, EDITS[0], [], 0)
        journal.put(good, EDITS[1], [], 0)
        await journal.settle()
        assert len(bad.unstorable) == 1
        assert bad.committed == []
        assert good.committed == [2]
        assert journal.bytes_waiting == 0


async def test_a_commit_that_takes_too_long_is_trouble() -> None:
    store, room = FaultyStore(MemoryStore()), Room("a")
    now = 0.0
    async with running(store, JournalSettings(stall_s=5), lambda: now) as journal:
        fault = store.stall("append")
        journal.put(room, EDITS[0], [], 0)
        await fault.reached.wait()
        assert journal.trouble is None
        now = 6.0
        assert journal.trouble is not None
        fault.clear()
        await journal.settle()
        assert journal.trouble is None


async def test_closing_commits_what_is_left() -> None:
    store, room = FaultyStore(MemoryStore()), Room("a")
    async with running(store) as journal:
        for edit in EDITS:
            journal.put(room, edit, [], 0)
        journal.close()
        await journal.settle()
        assert room.committed[-1] == len(EDITS)


async def test_commits_under_load_keep_their_distance_and_the_first_after_quiet_does_not_wait() -> None:
    store, room = FaultyStore(MemoryStore()), Room("a")
    loop = asyncio.get_running_loop()
    async with running(store, JournalSettings(commit_interval_ms=50), loop.time) as journal:
        journal.put(room, EDITS[0], [], 0)
        await journal.settle()
        for edit in EDITS[1:11]:
            journal.put(room, edit, [], 0)
            await asyncio.sleep(0)
        await journal.settle()
        assert room.committed == [1, 11]


async def test_trouble_begins_after_as_many_failures_as_were_asked_for_and_ends_with_a_success() -> None:
    room = Room("a")
    settings = JournalSettings(failures_until_unready=3, retry_min_ms=1, retry_max_ms=1)
    seen = []

    class Watching(MemoryStore):
        async def append(self, group):  # type: ignore[no-untyped-def]
            seen.append(journal.trouble)
            return await super().append(group)

    store = FaultyStore(Watching())
    async with running(store, settings) as journal:
        store.fail_after("append", times=4)
        journal.put(room, EDITS[0], [], 0)
        await journal.settle()
        assert [trouble is None for trouble in seen] == [True, True, True, False, False]
        assert journal.trouble is None
