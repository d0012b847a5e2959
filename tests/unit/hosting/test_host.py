import asyncio

import pytest

from collab_server.errors import BusyError, CloseCode, PeerError
from collab_server.hosting.settings import Ack, HostingSettings, JournalSettings
from collab_server.room.room import Room
from collab_server.room.settings import RoomSettings
from collab_server.telemetry.metrics import Kind
from collab_server.wire import sync
from collab_server.wire.awareness import AwarenessEntry, encode_awareness
from collab_server.wire.frame import Frame
from tests.unit.hosting.house import house, stored_text, until


async def test_an_edit_reaches_the_others_and_the_store_and_not_its_author() -> None:
    async with house() as home:
        ada, bob = await home.enter("r"), await home.enter("r")
        update = ada.write("hello")
        await until(lambda: str(bob.text) == "hello" and ada.host.is_saved)
        assert bob.got(sync.Update) == [sync.Update(update)]
        assert ada.got(sync.Update) == []
        assert await stored_text(home.store, "r") == "hello"


async def test_a_joiner_is_greeted_with_step_1_and_answered_with_what_it_lacks() -> None:
    async with house() as home:
        ada = await home.enter("r")
        ada.write("hello")
        bob = await home.enter("r")
        assert isinstance(bob.messages[0], sync.SyncStep1)
        assert str(bob.text) == "hello"
        await asyncio.sleep(0)
        assert bob.got(sync.Update) == []


async def test_saved_is_said_after_the_commit_and_not_before() -> None:
    async with house() as home:
        ada = await home.enter("r")
        stall = home.store.stall("append")
        ada.write("hello")
        ada.ask(b"1")
        await stall.reached.wait()
        ada.write("world")
        ada.ask(b"2")
        await asyncio.sleep(0.01)
        assert ada.answers == []
        stall.clear()
        await until(lambda: ada.answers == [b"1", b"2"])
        assert await stored_text(home.store, "r") == "helloworld"


async def test_saved_is_said_at_once_when_nothing_is_waiting() -> None:
    async with house() as home:
        ada = await home.enter("r")
        ada.ask(b"1")
        assert ada.answers == [b"1"]


async def test_an_edit_that_brings_nothing_new_is_answered_for_when_the_first_one_is_committed() -> None:
    async with house() as home:
        ada, bob = await home.enter("r"), await home.enter("r")
        stall = home.store.stall("append")
        update = ada.write("hello")
        await stall.reached.wait()
        bob.host.receive_update(bob, update)
        bob.ask(b"1")
        assert bob.answers == []
        stall.clear()
        await until(lambda: bob.answers == [b"1"])


async def test_where_applied_is_enough_saved_is_said_while_the_store_is_away() -> None:
    async with house(HostingSettings(ack=Ack.APPLIED)) as home:
        home.store.fail_before("append")
        ada = await home.enter("r")
        ada.write("hello")
        ada.ask(b"1")
        assert ada.answers == [b"1"]


async def test_who_asked_for_an_echo_gets_it_after_the_commit() -> None:
    async with house() as home:
        ada = await home.enter("r", wants_echo=True)
        stall = home.store.stall("append")
        update = ada.write("hello")
        await stall.reached.wait()
        assert ada.got(sync.Update) == []
        stall.clear()
        await until(lambda: ada.got(sync.Update) == [sync.Update(update)])


async def test_a_full_socket_gets_one_difference_when_it_has_drained() -> None:
    async with house() as home:
        ada, bob = await home.enter("r"), await home.enter("r")
        bob.is_full = True
        home_count = len(bob.messages)
        bob.host.peer_full(bob)
        for _ in range(20):
            ada.write("x")
            await asyncio.sleep(0.001)
        bob.ask(b"1")
        bob.catch_up()
        assert len(bob.messages) == home_count
        bob.is_full = False
        bob.host.peer_drained(bob)
        await until(lambda: str(bob.text) == "x" * 20 and bob.answers == [b"1"])
        assert len(bob.got(sync.Update) + bob.got(sync.SyncStep2)) <= 2 + home_count
        ada.write("!")
        await until(lambda: str(bob.text).endswith("!"))


async def test_answers_that_nobody_reads_are_bounded() -> None:
    async with house(HostingSettings(held_frames_max=3)) as home:
        bob = await home.enter("r")
        bob.host.peer_full(bob)
        for _ in range(4):
            bob.ask(b"?")
        assert [error.close_code for error in bob.closed] == [CloseCode.OVERLOADED]


async def test_an_edit_past_the_bound_of_the_journal_is_refused_and_reading_goes_on() -> None:
    settings = JournalSettings(room_journal_bytes_max=10, retry_min_ms=1, retry_max_ms=2)
    async with house(journal_settings=settings) as home:
        ada, bob = await home.enter("r"), await home.enter("r")
        stall = home.store.stall("append")
        ada.write("hello")
        await stall.reached.wait()
        with pytest.raises(PeerError) as refused:
            bob.write("no")
        assert refused.value.close_code == CloseCode.STORE_UNAVAILABLE
        carol = await home.enter("r")
        assert str(carol.text) == "hello"
        stall.clear()
        await home.journal.settle()
        carol.write("!")
        await until(lambda: carol.host.is_saved)
        assert await stored_text(home.store, "r") == "hello!"


async def test_a_client_that_writes_and_leaves_at_once_has_its_edit_saved() -> None:
    async with house() as home:
        ada = await home.enter("r")
        ada.write("hello")
        ada.host.detach(ada, goodbye=True)
        await until(lambda: ada.host.is_saved)
        assert await stored_text(home.store, "r") == "hello"


@pytest.mark.parametrize("broken", ["flush", "receive_update"])
async def test_a_room_that_breaks_is_opened_again_and_others_do_not_notice(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    async with house() as home:
        ada, other = await home.enter("r"), await home.enter("s")
        ada.write("kept")
        await until(lambda: ada.host.is_saved)
        sound = getattr(Room, broken)

        def break_one(room: Room, *args: object, **kwargs: object) -> object:
            if room.name == "r":
                raise ZeroDivisionError
            return sound(room, *args, **kwargs)

        monkeypatch.setattr(Room, broken, break_one)
        ada.write("lost")
        await until(lambda: ada.closed)
        assert [error.close_code for error in ada.closed] == [CloseCode.RESET]
        monkeypatch.undo()
        other.write("fine")
        await until(lambda: other.host.is_saved)
        assert await stored_text(home.store, "s") == "fine"
        again = await home.enter("r")
        assert again.host is not ada.host
        assert str(again.text) == "kept"


async def test_answers_that_nobody_reads_are_bounded_in_bytes() -> None:
    async with house(HostingSettings(held_bytes_max=100)) as home:
        bob = await home.enter("r")
        bob.host.peer_full(bob)
        bob.ask(b"?" * 60)
        assert bob.closed == []
        bob.ask(b"?" * 60)
        assert [error.close_code for error in bob.closed] == [CloseCode.OVERLOADED]


async def test_presence_is_said_before_an_edit_that_fills_the_socket() -> None:
    async with house() as home:
        ada, bob = await home.enter("r"), await home.enter("r")
        await asyncio.sleep(0)
        bob.messages.clear()
        ada.host.receive_awareness(ada, encode_awareness([AwarenessEntry(ada.member.id, 1, "{}")]))
        ada.write("hello")
        await until(lambda: bob.got(sync.Update))
        assert [type(message) for message in bob.messages] == [sync.Awareness, sync.Update]


async def test_those_who_come_for_a_long_document_in_the_same_moment_share_one_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with house() as home:
        first = await home.enter("room")
        first.write("x" * 100_000)
        first.host.flush()
        frames: list[Frame] = []
        for _ in range(3):
            joiner = await home.enter("room")
            with monkeypatch.context() as patch:
                patch.setattr(joiner, "send", frames.append)
                first.host.receive_step1(joiner, b"\x00")
        assert len({id(frame) for frame in frames}) == 1
        first.write("y")
        first.host.flush()
        late = await home.enter("room")
        assert str(late.text).endswith("y")


async def test_what_is_sent_and_who_is_refused_is_counted_by_kind() -> None:
    async with house(room_settings=RoomSettings(members_max=1)) as home:
        client = await home.enter("room")
        client.ask(b"saved?")
        sent = home.metrics.sent
        kinds = (Kind.SYNC_STEP_1, Kind.SYNC_STEP_2, Kind.SYNC_STATUS)
        assert [sent[kind].messages for kind in kinds] == [1, 1, 1]
        with pytest.raises(BusyError):
            await home.enter("room")
        assert (
            home.metrics.registry.get_sample_value(
                "collab_connections_refused_total", {"reason": "members_max"}
            )
            == 1
        )


async def test_nothing_is_sent_on_top_of_the_difference_for_a_socket_that_has_drained() -> None:
    async with house() as home:
        ada, bob = await home.enter("r"), await home.enter("r")
        bob.host.peer_full(bob)
        ada.host.receive_awareness(ada, encode_awareness([AwarenessEntry(ada.member.id, 1, "{}")]))
        ada.write("hello")
        await until(lambda: ada.host.is_saved)
        bob.ask(b"1")
        bob.messages.clear()
        bob.host.peer_drained(bob)
        assert [type(message) for message in bob.messages] == [sync.SyncStatus, sync.Awareness, sync.Update]
