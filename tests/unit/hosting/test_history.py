from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from pycrdt import Doc, Text

from collab_server.errors import BusyError, GoneError, HistoryError, HistoryFault
from collab_server.hosting.compactor import Compactor
from collab_server.hosting.folding import Past, fold
from collab_server.hosting.history import CURRENT, START
from collab_server.hosting.janitor import Janitor
from collab_server.hosting.retention import Retention
from collab_server.hosting.settings import HistorySettings, HostingSettings
from collab_server.hosting.versions import Version
from collab_server.ydoc.bounds import DEFAULT_BOUNDS
from persistence.base import Append, HistorySize, Snapshot, StoredDocument, UpdateRow
from persistence.history import DAY_MS, SegmentRule
from persistence.memory import MemoryDatabase, MemoryStore
from tests.support.faulty_store import FaultyStore
from tests.unit.hosting.house import (
    Client,
    House,
    InPlace,
    eventually,
    house,
    is_compacted,
    stored_text,
    until,
)
from tests.unit.hosting.test_registry import edit

SMALL = HistorySettings(rule=SegmentRule(updates_max=2, span_max_ms=60_000), settle_timeout_s=2)


def text_of(update: bytes) -> str:
    doc: Doc = Doc()  # type: ignore[type-arg]
    doc.apply_update(update)
    return str(doc.get("t", type=Text))


async def write(home: House, client: Client, text: str, *, at_ms: int | None = None) -> None:
    """Write, and wait until it is a row of its own."""
    if at_ms is not None:
        home.clock.now_ms = at_ms
    client.write(text)
    client.host.flush()
    await until(lambda: client.host.is_saved)


async def states(home: House, versions: list[Version]) -> list[str]:
    return [text_of((await home.history.read_version("r", version.id))[1]) for version in versions]


async def fault_of(call: Awaitable[object]) -> HistoryFault:
    with pytest.raises(HistoryError) as refused:
        await call
    return refused.value.fault


# -- compaction


async def test_compaction_cuts_history_and_every_version_is_what_it_was() -> None:
    async with house(history_settings=SMALL) as home:
        ada = await home.enter("r", user_id="ada")
        for number, word in enumerate("abcde"):
            await write(home, ada, word, at_ms=1000 + number)
        page = await home.history.versions("r")
        assert await states(home, list(page.versions)) == ["abcde", "abcd", "ab"]
        newest = page.versions[0]
        assert (newest.at_ms, newest.from_ms, newest.updates_count) == (1004, 1004, 1)
        assert [list(version.authors) for version in page.versions] == [["ada"]] * 3
        assert await stored_text(home.store, "r") == "abcde"


async def test_what_was_deleted_since_is_still_in_the_version_that_held_it() -> None:
    async with house(history_settings=SMALL) as home:
        ada = await home.enter("r")
        await write(home, ada, "secret")
        first = (await home.history.versions("r")).versions[0]
        before = ada.doc.get_state()
        del ada.text[0:6]
        ada.host.receive_update(ada, ada.doc.get_update(before))
        page = await home.history.versions("r")
        assert await states(home, list(page.versions)) == ["", "secret"]
        stored = await home.store.load("r")
        assert stored is not None
        assert stored.snapshot is not None
        assert b"secret" not in stored.snapshot.data
        assert text_of((await home.history.read_version("r", first.id))[1]) == "secret"


async def test_without_retention_nothing_is_kept() -> None:
    async with house(history_settings=HistorySettings(retention_days=0)) as home:
        ada = await home.enter("r")
        await write(home, ada, "a")
        assert (await home.history.versions("r")).versions == []
        assert await is_compacted(home.store, "r")
        assert (
            await fault_of(home.history.create_version("r", "one", pinned=False, author=None)) == "no_history"
        )
        made = await home.history.create_version("r", "one", pinned=True, author=None)
        assert text_of((await home.history.read_version("r", made.id))[1]) == "a"


def test_no_segment_begins_before_the_one_before_it_whatever_clocks_say() -> None:
    stored = StoredDocument(
        "r", None, [UpdateRow(1, edit("a"), ("ada",), 50), UpdateRow(2, edit("b", 7), (), 10)]
    )
    folded = fold(stored, Past(HistorySize(), until_ms=40, rule=SegmentRule(1)))
    assert [(made.from_ms, made.to_ms, made.authors) for made in folded.segments] == [
        (40, 40, ()),
        (50, 50, ("ada",)),
    ]


def test_a_checkpoint_comes_with_the_segment_that_outweighs_the_document() -> None:
    row = UpdateRow(1, edit("a"), (), 1)
    stored = StoredDocument("r", None, [row])
    assert fold(stored, Past(HistorySize())).checkpoint is None
    folded = fold(stored, Past(HistorySize(since_checkpoint_bytes=10**6)))
    assert folded.checkpoint is not None
    assert folded.checkpoint.data == folded.compacted.data
    assert folded.checkpoint.at_ms == 1


async def test_versions_stay_what_they_were_over_many_checkpoints() -> None:
    async with house(history_settings=SMALL) as home:
        ada = await home.enter("r")
        seen = []
        for number in range(12):
            await write(home, ada, str(number) * 3000, at_ms=number)
            await write(home, ada, "x", at_ms=number)
            before = ada.doc.get_state()
            del ada.text[0 : len(ada.text) - 10]
            ada.host.receive_update(ada, ada.doc.get_update(before))
            await home.history.refresh("r")
            seen.append(str(ada.text))
        assert (await home.store.history_size("r")).checkpoints_count > 1
        page = await home.history.versions("r", limit=100)
        found = await states(home, list(page.versions))
        assert [text for text in reversed(found) if text in seen] == seen


async def test_an_open_room_is_compacted_when_its_oldest_edit_has_waited_long_enough() -> None:
    async with house(HostingSettings(checkpoint_after_s=300)) as home:
        ada = await home.enter("r")
        await write(home, ada, "a")
        now = asyncio.get_running_loop().time()
        Janitor(home.registry, home.compactor, home.settings, clock=lambda: now + 200).walk()
        await asyncio.sleep(0.01)
        assert not await is_compacted(home.store, "r")
        Janitor(home.registry, home.compactor, home.settings, clock=lambda: now + 301).walk()
        await eventually(lambda: is_compacted(home.store, "r"))
        assert ada.host.uncompacted_since is None


async def test_a_room_that_opens_with_old_rows_counts_their_age() -> None:
    async with house(HostingSettings(checkpoint_after_s=300)) as home:
        home.clock.now_ms = 1_000_000
        await home.store.append([Append("r", edit("a"), at_ms=600_000)])
        ada = await home.enter("r")
        now = asyncio.get_running_loop().time()
        assert ada.host.uncompacted_since == pytest.approx(now - 400, abs=5)


# -- looking


async def test_pages_follow_each_other_without_gap_or_repetition() -> None:
    async with house(history_settings=SMALL) as home:
        ada = await home.enter("r")
        for number in range(7):
            await write(home, ada, str(number), at_ms=1000 + 10 * number)
            if number % 2:
                await home.history.create_version("r", f"n{number}", pinned=False, author="bob")
        whole = list((await home.history.versions("r", limit=100)).versions)
        for limit in range(1, 12):
            seen: list[Version] = []
            page = await home.history.versions("r", limit=limit)
            seen += page.versions
            while page.next is not None:
                page = await home.history.versions("r", page.next, limit)
                assert page.versions
                seen += page.versions
            assert seen == whole
        assert [version.at_ms for version in whole] == sorted((v.at_ms for v in whole), reverse=True)


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.x", "-1.2", "1.2.3", "9" * 30 + ".1", "\u0661.1"])
async def test_a_cursor_of_ones_own_making_is_refused(cursor: str) -> None:
    async with house() as home:
        await write(home, await home.enter("r"), "a")
        assert await fault_of(home.history.versions("r", cursor)) == HistoryFault.BAD_CURSOR


@pytest.mark.parametrize(
    "version", ["", "s", "v", "x1", "s-1", "s1.0", "s99", "v99", "s" + "9" * 40, "s\u0661"]
)
async def test_a_version_that_is_none_is_said_to_be_none(version: str) -> None:
    async with house() as home:
        ada = await home.enter("r")
        await write(home, ada, "a")
        await home.history.refresh("r")
        for call in (
            home.history.read_version("r", version),
            home.history.version("r", version),
            home.history.difference("r", version, CURRENT),
            home.history.restore("r", version_id=version),
            home.history.delete_version("r", version),
        ):
            assert await fault_of(call) in (HistoryFault.UNKNOWN_VERSION, HistoryFault.AUTOMATIC)


async def test_a_document_that_is_none_has_no_history_and_an_empty_open_room_an_empty_one() -> None:
    async with house() as home:
        assert await fault_of(home.history.versions("r")) == HistoryFault.UNKNOWN_DOCUMENT
        await home.enter("r")
        assert (await home.history.versions("r")).versions == ()
        assert await fault_of(home.history.read_at("r", 5)) == HistoryFault.UNKNOWN_DOCUMENT


async def test_another_documents_versions_are_not_found_under_this_one() -> None:
    async with house() as home:
        for room in ("r", "r2"):
            await write(home, await home.enter(room), room)
        await home.history.create_version("r2", "other", pinned=False, author=None)
        for version in (await home.history.versions("r2")).versions:
            assert await fault_of(home.history.read_version("r", version.id)) == HistoryFault.UNKNOWN_VERSION


async def test_the_document_at_a_time_is_that_of_the_last_version_until_then() -> None:
    async with house(history_settings=SMALL) as home:
        ada = await home.enter("r")
        for number, word in enumerate("abcd"):
            await write(home, ada, word, at_ms=1000 + 100 * number)
        assert text_of(await home.history.read_at("r", 5000)) == "abcd"
        assert text_of(await home.history.read_at("r", 1299)) == "ab"
        assert text_of(await home.history.read_at("r", 1100)) == "ab"
        assert await fault_of(home.history.read_at("r", 1099)) == HistoryFault.BEFORE_HISTORY


async def test_a_difference_says_what_was_written_and_by_whom() -> None:
    async with house(history_settings=SMALL) as home:
        ada, bob = await home.enter("r", user_id="ada"), await home.enter("r", user_id="bob")
        await write(home, ada, "one ", at_ms=10)
        await write(home, ada, "two ", at_ms=11)
        await write(home, bob, "three", at_ms=12)
        await home.history.refresh("r")
        newest, first = (await home.history.versions("r")).versions
        found = await home.history.difference("r", first.id, newest.id)
        assert (found["since"], found["to"], found["authors"]) == (first.id, newest.id, ["bob"])
        assert found["counts"]["inserted"] == 5
        assert await home.history.difference("r", to=newest.id) == found
        assert await home.history.difference("r") == found
        whole = await home.history.difference("r", START, CURRENT)
        assert (whole["since"], whole["authors"]) == (START, ["ada", "bob"])
        back = await home.history.difference("r", newest.id, first.id)
        assert back["counts"]["deleted"] == 5
        assert (await home.history.difference("r", to=first.id))["since"] == START


async def test_the_version_before_a_named_one_is_the_named_one_before_it() -> None:
    async with house(history_settings=SMALL) as home:
        ada = await home.enter("r")
        names = []
        for word in ("a", "bc"):
            await write(home, ada, word)
            names.append((await home.history.create_version("r", word, pinned=False, author=None)).id)
        found = await home.history.difference("r", to=names[1])
        assert (found["since"], found["counts"]["inserted"]) == (names[0], 2)
        assert (await home.history.difference("r", to=names[0]))["since"] == START


# -- naming


async def test_a_named_version_keeps_what_was_there_and_who_named_it() -> None:
    async with house() as home:
        ada = await home.enter("r")
        ada.write("plan A")
        home.clock.now_ms = 5000
        made = await home.history.create_version("r", "first plan", pinned=False, author="ada")
        await write(home, ada, " and B")
        found, update = await home.history.read_version("r", made.id)
        assert found == made
        assert (made.name, made.at_ms, list(made.authors), made.pinned) == (
            "first plan",
            5000,
            ["ada"],
            False,
        )
        assert text_of(update) == "plan A"


async def test_a_named_version_can_be_renamed_pinned_and_deleted() -> None:
    async with house() as home:
        await write(home, await home.enter("r"), "a")
        made = await home.history.create_version("r", "one", pinned=False, author=None)
        assert (await home.history.change_version("r", made.id, name="two", pinned=True)).name == "two"
        found = await home.history.version("r", made.id)
        assert (found.name, found.pinned) == ("two", True)
        assert not (await home.history.change_version("r", made.id, pinned=False)).pinned
        await home.history.delete_version("r", made.id)
        assert await fault_of(home.history.delete_version("r", made.id)) == HistoryFault.UNKNOWN_VERSION
        assert await fault_of(home.history.change_version("r", made.id, name="x")) == "unknown_version"


async def test_an_automatic_version_can_not_be_changed() -> None:
    async with house() as home:
        await write(home, await home.enter("r"), "a")
        (version,) = (await home.history.versions("r")).versions
        assert await fault_of(home.history.delete_version("r", version.id)) == HistoryFault.AUTOMATIC
        assert (
            await fault_of(home.history.change_version("r", version.id, pinned=True)) == "automatic_version"
        )


async def test_named_versions_are_bounded_in_number() -> None:
    async with house(history_settings=HistorySettings(versions_max=2)) as home:
        await write(home, await home.enter("r"), "a")
        for _ in range(2):
            await home.history.create_version("r", "x", pinned=False, author=None)
        assert (
            await fault_of(home.history.create_version("r", "x", pinned=False, author=None))
            == "too_many_versions"
        )


# -- going back


async def test_a_restore_is_seen_by_everybody_at_once_and_is_stored() -> None:
    async with house() as home:
        ada, bob = await home.enter("r"), await home.enter("r")
        await write(home, ada, "plan A")
        (version,) = (await home.history.versions("r")).versions
        await write(home, bob, " is no good")
        assert await home.history.restore("r", version_id=version.id, author="ada")
        assert str(ada.text) == str(bob.text) == "plan A"
        assert ada.host.is_saved
        assert await stored_text(home.store, "r") == "plan A"
        assert not await home.history.restore("r", version_id=version.id)
        page = await home.history.versions("r")
        assert await states(home, list(page.versions)) == ["plan A", "plan A is no good", "plan A"]
        assert list(page.versions[0].authors) == ["ada"]


async def test_undo_of_a_restore_is_another_restore() -> None:
    async with house() as home:
        ada = await home.enter("r")
        await write(home, ada, "one")
        (first,) = (await home.history.versions("r")).versions
        await write(home, ada, " two")
        await home.history.restore("r", version_id=first.id)
        undo = (await home.history.versions("r")).versions[1]
        await home.history.restore("r", version_id=undo.id)
        assert str(ada.text) == "one two"


async def test_a_document_that_nobody_is_in_can_be_restored_to_a_moment() -> None:
    async with house() as home:
        await home.store.append([Append("r", edit("old"), at_ms=10)])
        await home.history.refresh("r")
        ada = await home.enter("r")
        await write(home, ada, " and new", at_ms=20)
        ada.host.detach(ada, goodbye=True)
        ada.host.end(BusyError("quiet"))
        assert home.registry.get("r") is None
        assert await home.history.restore("r", at_ms=15)
        assert await stored_text(home.store, "r") == "old"


async def test_who_writes_while_a_restore_is_worked_out_loses_nothing() -> None:
    async with house() as home:
        ada = await home.enter("r")
        await write(home, ada, "keep ")
        (version,) = (await home.history.versions("r")).versions
        await write(home, ada, "drop ")

        class Meanwhile(InPlace):
            async def run(self, function, /, *args):  # type: ignore[no-untyped-def]
                result = function(*args)
                if function.__name__ == "restore":
                    ada.write("mine")
                return result

        home.history._patient_workers = Meanwhile()
        await home.history.restore("r", version_id=version.id)
        assert str(ada.text) == "keep mine"
        assert await stored_text(home.store, "r") == "keep mine"


async def test_a_restore_that_the_store_does_not_confirm_is_not_called_done() -> None:
    async with house(history_settings=HistorySettings(settle_timeout_s=0.05)) as home:
        ada = await home.enter("r")
        await write(home, ada, "a")
        (version,) = (await home.history.versions("r")).versions
        await write(home, ada, "b")
        await home.history.refresh("r")
        stall = home.store.stall("append")
        with pytest.raises(BusyError):
            await home.history.restore("r", version_id=version.id)
        assert stall.hits == 1
        stall.clear()
        await until(lambda: ada.host.is_saved)
        assert await stored_text(home.store, "r") == "a"


# -- the end


async def test_a_deleted_document_has_no_history_until_its_name_is_revived() -> None:
    async with house() as home:
        ada = await home.enter("r")
        await write(home, ada, "a")
        made = await home.history.create_version("r", "one", pinned=True, author=None)
        assert await home.documents.delete("r")
        for call in (
            home.history.versions("r"),
            home.history.read_version("r", made.id),
            home.history.restore("r", version_id=made.id),
            home.history.create_version("r", "two", pinned=True, author=None),
        ):
            with pytest.raises(GoneError):
                await call
        await home.documents.revive("r")
        bob = await home.enter("r")
        await write(home, bob, "new")
        page = await home.history.versions("r")
        assert await states(home, list(page.versions)) == ["new"]


async def test_a_store_that_is_away_is_told_as_busy() -> None:
    async with house() as home:
        await write(home, await home.enter("r"), "a")
        home.store.fail_before()
        for call in (home.history.versions("r"), home.history.read_at("r", 5), home.archives.export("r")):
            with pytest.raises(BusyError):
                await call


# -- the replica


async def test_versions_are_read_from_the_replica_as_far_as_it_has_come() -> None:
    database = MemoryDatabase()
    store = FaultyStore(MemoryStore(database))
    same, behind = FaultyStore(MemoryStore(database)), FaultyStore(MemoryStore())
    for replica in (same, behind):
        await replica.open()
    for replica, reads in ((same, 0), (behind, 1)):
        async with house(store=store, replica=replica) as home:
            ada = await home.enter("r")
            await write(home, ada, "a")
            version = (await home.history.versions("r")).versions[0]
            store.calls.clear()
            assert text_of((await home.history.read_version("r", version.id))[1]).startswith("a")
            assert store.calls["read_history"] == reads
            replica.fail_before()
            assert text_of((await home.history.read_version("r", version.id))[1]).startswith("a")
            assert store.calls["read_history"] == reads + 1
            assert await home.archives.export("r")


# -- retention


def retention(home: House, settings: HistorySettings) -> Retention:
    return Retention(home.store, InPlace(), settings, home.metrics, now_ms=home.clock, random=lambda: 0.5)


async def test_retention_folds_what_is_too_old_and_keeps_what_is_not() -> None:
    async with house(history_settings=SMALL) as home:
        ada = await home.enter("r")
        for day in range(6):
            await write(home, ada, str(day), at_ms=(100 + day) * DAY_MS)
            await home.history.create_version("r", f"day {day}", pinned=day == 1, author=None)
        home.clock.now_ms = (100 + 90 + 3) * DAY_MS
        await retention(home, SMALL).look()
        page = await home.history.versions("r", limit=100)
        kept = list(page.versions)
        assert [version.name for version in kept if version.is_named] == ["day 5", "day 4", "day 3", "day 1"]
        automatic = [version for version in kept if not version.is_named]
        assert await states(home, automatic) == ["012345", "01234", "0123"]
        assert (await home.history.difference("r", to=automatic[-1].id))["counts"]["inserted"] == 1
        assert await fault_of(home.history.read_at("r", 101 * DAY_MS)) == HistoryFault.BEFORE_HISTORY
        assert await stored_text(home.store, "r") == "012345"


async def test_retention_takes_old_names_where_no_segment_is_old() -> None:
    async with house(history_settings=SMALL) as home:
        ada = await home.enter("r")
        await write(home, ada, "a", at_ms=DAY_MS)
        await home.store.add_version("r", "old", None, 5, edit("x"), False)
        home.clock.now_ms = 91 * DAY_MS
        await home.history.refresh("r")
        await retention(home, SMALL).look()
        (left,) = (await home.history.versions("r")).versions
        assert not left.is_named


async def test_one_document_that_cannot_be_trimmed_does_not_keep_the_others() -> None:
    async with house(history_settings=SMALL) as home:
        for room in ("a", "b"):
            await write(home, await home.enter(room), room, at_ms=1)
            await home.history.refresh(room)
        home.clock.now_ms = 200 * DAY_MS
        home.store.fail_before("read_history", times=1)
        await retention(home, SMALL).look()
        counts = [(await home.store.history_size(room)).segments_count for room in ("a", "b")]
        assert counts == [1, 0]


async def test_the_look_for_old_history_comes_again_and_again() -> None:
    eager = HistorySettings(retention_interval_s=0.001)
    async with house(history_settings=eager) as home:
        task = asyncio.create_task(retention(home, eager).run())
        home.store.fail_before("expired", times=1)
        await until(lambda: home.store.calls["expired"] >= 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_compaction_that_lost_a_race_is_told() -> None:
    async with house() as home:
        await home.store.append([Append("r", edit("a"))])
        other = Compactor(home.store, InPlace(), DEFAULT_BOUNDS, home.settings, home.metrics)
        stall = home.store.stall("compact")
        losing = asyncio.create_task(home.compactor.compact("r"))
        await stall.reached.wait()
        stored = await home.store.inner.load("r")
        assert stored is not None
        await home.store.inner.compact("r", Snapshot(edit("a")), [row.id for row in stored.updates])
        stall.clear()
        assert not await losing
        assert await other.compact("r")
