import asyncio

import pytest
from pycrdt import Doc, Text

from collab_server.errors import BusyError, CloseCode, GoneError, PeerError
from collab_server.hosting.settings import HostingSettings, JournalSettings
from persistence.base import Append
from persistence.errors import StoreUnavailableError
from tests.unit.hosting.house import House, eventually, house, is_compacted, stored_text, until

SOON = HostingSettings(room_quiet_evict_s=0.01)


def edit(text: str, client_id: int = 99) -> bytes:
    doc: Doc = Doc(client_id=client_id)  # type: ignore[type-arg]
    doc["t"] = Text(text)
    return doc.get_update()


async def refusal(home: House, room: str) -> CloseCode:
    with pytest.raises(PeerError) as refused:
        await home.enter(room)
    return refused.value.close_code


async def test_forty_that_come_at_once_share_one_load() -> None:
    async with house() as home:
        await home.store.append([Append("r", edit("hello"))])
        stall = home.store.stall("load")
        clients = [asyncio.create_task(home.enter("r")) for _ in range(40)]
        await stall.reached.wait()
        stall.clear()
        entered = await asyncio.gather(*clients)
        assert stall.hits == 1
        assert {str(client.text) for client in entered} == {"hello"}
        assert len({id(client.host) for client in entered}) == 1


async def test_a_quiet_room_is_saved_and_closed_and_opens_as_it_was() -> None:
    async with house(SOON) as home:
        ada = await home.enter("r")
        ada.write("hello")
        ada.host.detach(ada, goodbye=True)
        await until(lambda: home.registry.rooms_count == 0)
        assert await stored_text(home.store, "r") == "hello"
        assert str((await home.enter("r")).text) == "hello"


async def test_a_room_whose_edits_are_not_committed_is_not_closed() -> None:
    async with house(SOON) as home:
        fault = home.store.fail_before("append")
        ada = await home.enter("r")
        ada.write("hello")
        ada.host.detach(ada, goodbye=True)
        await asyncio.sleep(0.1)
        assert home.registry.rooms_count == 1
        assert str((await home.enter("r")).text) == "hello"
        fault.clear()


async def test_a_room_that_somebody_came_back_to_stays_open() -> None:
    async with house(HostingSettings(room_quiet_evict_s=0.05)) as home:
        ada = await home.enter("r")
        ada.host.detach(ada, goodbye=True)
        bob = await home.enter("r")
        await asyncio.sleep(0.15)
        assert bob.host is ada.host
        assert home.registry.get("r") is bob.host


async def test_a_deleted_document_cannot_be_opened() -> None:
    async with house() as home:
        await home.store.append([Append("r", edit("hello"))])
        await home.store.delete("r")
        with pytest.raises(GoneError):
            await home.enter("r")


async def test_while_the_store_is_away_a_room_cannot_be_opened_and_later_it_can() -> None:
    async with house() as home:
        fault = home.store.fail_before("load", error=StoreUnavailableError("gone"))
        assert await refusal(home, "r") == CloseCode.STORE_UNAVAILABLE
        fault.clear()
        await home.enter("r")


async def test_a_stored_document_that_cannot_be_read_stays_closed() -> None:
    async with house() as home:
        await home.store.append([Append("r", b"\xff\xff no update")])
        assert await refusal(home, "r") == CloseCode.STORE_UNAVAILABLE
        await home.enter("s")


async def test_rooms_have_a_bound_and_an_open_one_can_still_be_joined() -> None:
    async with house(HostingSettings(rooms_max=2)) as home:
        await home.enter("a")
        await home.enter("b")
        assert await refusal(home, "c") == CloseCode.OVERLOADED
        await home.enter("a")


async def test_a_node_that_drains_opens_no_room_and_has_saved_everything() -> None:
    async with house() as home:
        ada = await home.enter("r")
        ada.write("hello")
        await home.registry.drain()
        assert await stored_text(home.store, "r") == "hello"
        assert await refusal(home, "s") == CloseCode.SERVICE_RESTART


async def test_a_joiner_that_gives_up_does_not_take_the_room_away_from_the_others() -> None:
    async with house() as home:
        stall = home.store.stall("load")
        first = asyncio.create_task(home.enter("r"))
        second = asyncio.create_task(home.enter("r"))
        await stall.reached.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        stall.clear()
        assert (await second).closed == []


async def test_a_room_is_not_read_before_its_last_life_is_committed() -> None:
    async with house() as home:
        ada = await home.enter("r")
        stall = home.store.stall("append")
        ada.write("hello")
        await stall.reached.wait()
        ada.host.end(BusyError("broken", CloseCode.RESET))
        again = asyncio.create_task(home.enter("r"))
        await asyncio.sleep(0.01)
        assert not again.done()
        stall.clear()
        assert str((await again).text) == "hello"


async def test_opening_does_not_wait_for_ever_for_a_commit() -> None:
    settings = HostingSettings(settle_timeout_s=0.01)
    async with house(settings, JournalSettings(retry_min_ms=1, retry_max_ms=1)) as home:
        ada = await home.enter("r")
        fault = home.store.fail_before("append")
        ada.write("hello")
        await fault.reached.wait()
        ada.host.end(BusyError("broken", CloseCode.RESET))
        assert await refusal(home, "r") == CloseCode.STORE_UNAVAILABLE
        fault.clear()


async def test_many_rows_of_a_closed_room_become_one_snapshot() -> None:
    async with house(SOON) as home:
        ada = await home.enter("r")
        for word in ("one ", "two ", "three"):
            ada.write(word)
            await until(lambda: ada.host.is_saved)
        ada.host.detach(ada, goodbye=True)
        await eventually(lambda: is_compacted(home.store, "r"))
        assert await stored_text(home.store, "r") == "one two three"


async def test_documents_are_read_with_what_is_not_flushed_yet() -> None:
    async with house() as home:
        ada = await home.enter("r")
        ada.write("hello")
        update = await home.documents.read_update("r")
        assert update is not None
        doc: Doc = Doc()  # type: ignore[type-arg]
        doc.apply_update(update)
        assert str(doc.get("t", type=Text)) == "hello"


async def test_documents_that_are_not_open_are_read_from_the_store() -> None:
    async with house() as home:
        await home.store.append([Append("r", edit("a", 1)), Append("r", edit("b", 2))])
        update = await home.documents.read_update("r")
        assert update is not None
        doc: Doc = Doc()  # type: ignore[type-arg]
        doc.apply_update(update)
        assert sorted(str(doc.get("t", type=Text))) == ["a", "b"]
        assert await home.documents.read_update("nobody") is None


async def test_deleting_sends_the_members_away_for_good() -> None:
    async with house() as home:
        ada = await home.enter("r")
        ada.write("hello")
        await until(lambda: ada.host.is_saved)
        assert await home.documents.delete("r")
        assert [error.close_code for error in ada.closed] == [CloseCode.DELETED]
        assert await refusal(home, "r") == CloseCode.DELETED
        assert not await home.documents.delete("r")


async def test_a_room_that_nobody_waits_for_any_more_is_closed_again() -> None:
    async with house(HostingSettings(room_quiet_evict_s=0.01)) as home:
        stall = home.store.stall("load")
        joining = asyncio.create_task(home.enter("r"))
        await stall.reached.wait()
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        stall.clear()
        await until(lambda: home.registry.get("r"))
        await until(lambda: home.registry.get("r") is None)
