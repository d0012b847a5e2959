import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise

from collab_server.errors import CloseCode
from collab_server.hosting.janitor import Janitor, NoticeReader, StoreWatch
from collab_server.hosting.settings import HostingSettings
from persistence.base import Append, NoticeKind
from tests.unit.hosting.house import House, eventually, house, is_compacted, stored_text, until
from tests.unit.hosting.test_registry import edit

EAGER = HostingSettings(store_notice_poll_ms=1, store_timeout_s=0.05, compact_after_updates=3)


@asynccontextmanager
async def running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def notices(home: House) -> NoticeReader:
    return NoticeReader(home.store, home.registry, EAGER)


async def test_an_import_past_the_server_reaches_those_who_are_connected() -> None:
    async with house(EAGER) as home:
        ada = await home.enter("r")
        async with running(notices(home).run()):
            await asyncio.sleep(0.01)
            await home.store.append([Append("r", edit("imported"))])
            await home.store.notify("r", NoticeKind.CHANGED)
            await until(lambda: str(ada.text) == "imported")


async def test_a_deletion_past_the_server_sends_the_members_away() -> None:
    async with house(EAGER) as home:
        ada = await home.enter("r")
        ada.write("hello")
        await until(lambda: ada.host.is_saved)
        async with running(notices(home).run()):
            await asyncio.sleep(0.01)
            await home.store.delete("r")
            await until(lambda: ada.closed)
        assert ada.closed[0].close_code == CloseCode.DELETED


async def test_notices_are_read_again_when_the_store_is_back() -> None:
    async with house(EAGER) as home:
        ada = await home.enter("r")
        async with running(notices(home).run()):
            await asyncio.sleep(0.01)
            fault = home.store.fail_before("notices")
            await fault.reached.wait()
            await home.store.append([Append("r", edit("imported"))])
            await home.store.notify("r", NoticeKind.CHANGED)
            await asyncio.sleep(0.01)
            assert str(ada.text) == ""
            fault.clear()
            await until(lambda: str(ada.text) == "imported")


async def test_a_room_with_many_rows_is_compacted_while_it_is_open_and_goes_on() -> None:
    async with house(EAGER) as home:
        ada, bob = await home.enter("r"), await home.enter("r")
        for word in "abc":
            ada.write(word)
            await until(lambda: ada.host.is_saved)
        janitor = Janitor(home.registry, home.compactor, EAGER, clock=asyncio.get_running_loop().time)
        janitor.walk()
        await until(lambda: ada.host.rows_since_compaction == 0)
        await eventually(lambda: is_compacted(home.store, "r"))
        bob.write("d")
        await until(lambda: str(ada.text) == str(bob.text) and bob.host.is_saved)
        assert await stored_text(home.store, "r") == str(ada.text)


async def test_a_store_that_would_not_take_a_write_is_trouble_until_it_does() -> None:
    async with house(EAGER) as home:
        watch = StoreWatch(home.store, EAGER, home.metrics)
        await watch.check()
        assert watch.trouble is None
        fault = home.store.fail_before("ping")
        await watch.check()
        assert watch.trouble is not None
        assert home.metrics.registry.get_sample_value("collab_store_up") == 0
        fault.clear()
        await watch.check()
        assert watch.trouble is None
        assert home.metrics.registry.get_sample_value("collab_store_up") == 1


async def test_a_store_that_does_not_answer_is_trouble() -> None:
    async with house(EAGER) as home:
        watch = StoreWatch(home.store, EAGER, home.metrics)
        fault = home.store.stall("ping")
        await watch.check()
        assert watch.trouble is not None
        fault.clear()


async def test_a_notice_that_comes_while_its_room_is_being_opened_is_heeded() -> None:
    async with house(EAGER) as home:
        reader = notices(home)
        async with running(reader.run()):
            await until(lambda: reader._after is not None)
            stall = home.store.stall("load", times=1, after=True)
            joining = asyncio.create_task(home.enter("r"))
            await stall.reached.wait()  # the room was read, and is not open yet
            await home.store.append([Append("r", edit("imported"))])
            await home.store.notify("r", NoticeKind.CHANGED)
            seen = reader._after
            await until(lambda: reader._after != seen)
            stall.clear()
            ada = await joining
            await until(lambda: str(ada.text) == "imported")


async def test_one_failed_ping_is_no_trouble_where_two_were_asked_for() -> None:
    settings = HostingSettings(failures_until_unready=2)
    async with house(settings) as home:
        watch = StoreWatch(home.store, settings, home.metrics)
        fault = home.store.fail_before("ping")
        await watch.check()
        assert watch.trouble is None
        await watch.check()
        assert watch.trouble is not None
        fault.clear()
        await watch.check()
        assert watch.trouble is None


async def test_others_have_a_turn_between_two_compactions() -> None:
    async with house(EAGER) as home:
        rooms = [f"r{n}" for n in range(20)]
        for room in rooms:
            await home.store.append([Append(room, edit("a")), Append(room, edit("b"))])
            home.compactor.request(room)
        done_by_turn = [0]
        while done_by_turn[-1] < len(rooms):
            await asyncio.sleep(0)
            done_by_turn.append(sum([await is_compacted(home.store, room) for room in rooms]))
        assert max(after - before for before, after in pairwise(done_by_turn)) <= 1


async def test_rooms_that_come_due_together_leave_most_of_the_time_to_others() -> None:
    rows, row_s = 200, 40e-6
    loop = asyncio.get_running_loop()
    async with house() as home:
        for room in ("one", "two", "three"):
            await home.store.append([Append(room, edit("x"), (), 5) for _ in range(rows)])
        ends: list[float] = []
        home.compactor.on_compacted = lambda _room, _compacted: ends.append(loop.time())
        for room in ("one", "two", "three"):
            home.compactor.request(room)
        await until(lambda: len(ends) == 3)
    rest_s = 0.9 * rows * row_s  # clocks are coarse
    assert ends[1] - ends[0] >= rest_s
    assert ends[2] - ends[1] >= rest_s
