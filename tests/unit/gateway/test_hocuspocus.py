"""One multiplexed socket, between a socket that the test plays and real rooms."""

from __future__ import annotations

import pytest

from collab_server.access.identity import Role
from collab_server.errors import BusyError, CloseCode, NotAuthenticatedError, RefusedError
from collab_server.gateway.settings import GatewaySettings
from collab_server.room.settings import RoomSettings
from persistence.memory import MemoryStore
from tests.support import muxframes as mux
from tests.support.faulty_store import FaultyStore
from tests.unit.gateway.played import Writer, admission, place
from tests.unit.hosting.house import house, stored_text, until

EMPTY = b"\x00\x00"
"""An update of nothing."""


async def test_a_provider_is_welcomed_answered_and_asked_once_in_this_order() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("trip", "ann"), mux.step1("trip"))
        await socket.heard("trip", "step1")
        assert socket.told == [
            ("trip", "welcome", "read-write"),
            ("trip", "step2", EMPTY),
            ("trip", "step1", b"\x00"),
        ]
        socket.say(mux.step2("trip", EMPTY))
        assert socket.kinds("trip") == ["welcome", "step2", "step1", "status"]
        socket.say(mux.reply_step1("trip"))
        assert socket.kinds("trip")[4:] == ["step2"]


async def test_who_comes_later_is_told_who_is_here_before_it_asks() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        first, second = here.connect(), here.connect("/hocuspocus")
        first.say(mux.auth("trip", "ann"), mux.awareness("trip", (7, 1, {"name": "Ann"})))
        await first.heard("trip", "welcome")
        second.say(mux.auth("trip", "ann"))
        await second.heard("trip", "awareness")
        assert second.kinds("trip") == ["welcome", "awareness"]
        second.say(mux.query_awareness("trip"))
        assert second.kinds("trip") == ["welcome", "awareness", "awareness"]


async def test_an_edit_is_acknowledged_when_it_is_committed_and_not_before() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("trip", "ann"), mux.step1("trip"))
        await socket.heard("trip", "step1")
        fault = home.store.stall("append")
        writer = Writer()
        socket.say(mux.update("trip", writer.write("a")), mux.update("trip", writer.write("b")))
        await fault.reached.wait()
        assert socket.values("trip", "status") == []
        home.store.heal()
        await socket.heard("trip", "status", 2)
        assert socket.values("trip", "status") == [1, 1]
        assert await stored_text(home.store, "trip") == "ab"


async def test_documents_of_one_socket_are_let_in_each_by_itself() -> None:
    async with house() as home, place(home, ann=admission("ann"), eve=RefusedError("not yours")) as here:
        socket = here.connect()
        socket.say(mux.auth("a", "ann"), mux.auth("b", "eve"), mux.auth("c", "nobody"), mux.auth("d", "ann"))
        await socket.heard("d", "welcome")
        await socket.heard("c", "denied")
        assert socket.kinds("a") == ["welcome"]
        assert socket.values("b", "denied") == ["not yours"]
        assert socket.values("c", "denied") == ["no such token"]
        socket.say(mux.update("b", Writer().write("x")), mux.awareness("c", (1, 1, {})))
        socket.say(mux.update("a", Writer().write("x")))
        await socket.heard("a", "status")
        assert socket.kinds("b") == ["denied"]
        assert socket.kinds("c") == ["denied"]
        assert not socket.closed
        assert home.registry.get("b") is None


async def test_who_was_denied_may_try_again_with_another_token() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("trip", "wrong"), mux.step1("trip"))
        await socket.heard("trip", "denied")
        socket.say(mux.auth("trip", "ann"), mux.step1("trip"))
        await socket.heard("trip", "step1")
        assert socket.kinds("trip") == ["denied", "welcome", "step2", "step1"]


async def test_an_empty_token_stands_for_that_of_the_request() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        by_query, by_header = here.connect("/?token=ann"), here.connect("/", Authorization="Bearer ann")
        by_protocol = here.connect("/", Sec_WebSocket_Protocol="bearer, ann")
        for socket in (by_query, by_header, by_protocol):
            socket.say(mux.auth("trip"))
            await socket.heard("trip", "welcome")
        assert by_protocol.connection.request.subprotocol == "bearer"
        assert here.gatekeeper.asked == [("ann", "trip")] * 3


@pytest.mark.parametrize("path", ["/?token=ann", "/"])
async def test_a_client_that_sends_no_auth_is_opened_by_its_first_frame(path: str) -> None:
    async with house() as home, place(home, admits_anonymous=path == "/", ann=admission("ann")) as here:
        socket = here.connect(path)
        socket.say(mux.step1("trip"))
        await socket.heard("trip", "step1")
        assert socket.kinds("trip") == ["welcome", "step2", "step1"]


async def test_what_comes_before_the_token_waits_for_it_in_order() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        writer = Writer()
        socket.say(*(mux.update("trip", writer.write(letter)) for letter in "abc"))
        assert not here.gatekeeper.asked
        socket.say(mux.auth("trip", "ann"))
        await socket.heard("trip", "status", 3)
        assert await stored_text(home.store, "trip") == "abc"


async def test_two_sessions_of_a_document_on_one_socket_are_two_members() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        for address in ("trip\0one", "trip\0two"):
            socket.say(mux.auth(address, "ann", "4.8.0"), mux.step1(address))
            await socket.heard(address, "step1")
        host = home.registry.get("trip")
        assert host is not None
        assert len(host.peers) == 2
        update = Writer().write("hello")
        socket.say(mux.update("trip\0one", update))
        assert await socket.heard("trip\0two", "update") == update
        await socket.heard("trip\0one", "status")
        assert "update" not in socket.kinds("trip\0one")
        socket.say(mux.close("trip\0one"))
        assert len(host.peers) == 1


async def test_a_viewer_gets_1_for_what_is_known_and_0_for_what_is_new() -> None:
    async with house() as home, place(home, ann=admission("ann"), vic=admission("vic", Role.VIEWER)) as here:
        editor, viewer = here.connect(), here.connect()
        editor.say(mux.auth("trip", "ann"))
        viewer.say(mux.auth("trip", "vic"))
        assert await viewer.heard("trip", "welcome") == "readonly"
        update = Writer().write("hello")
        editor.say(mux.update("trip", update))
        await editor.heard("trip", "status")
        viewer.say(mux.step2("trip", update), mux.step2("trip", Writer(2).write("mine")))
        viewer.say(mux.update("trip", Writer(3).write("mine")))
        await viewer.heard("trip", "status", 3)
        assert viewer.values("trip", "status") == [1, 0, 0]
        assert not viewer.closed
        assert "close" not in viewer.kinds("trip")
        await home.journal.settle()
        assert await stored_text(home.store, "trip") == "hello"


@pytest.mark.parametrize("version", ["4.8.0", None])
async def test_who_may_write_elsewhere_only_is_told_to_reset_after_a_refused_edit(
    version: str | None,
) -> None:
    async with (
        house() as home,
        place(home, com=admission("com", Role.COMMENTER, roots=frozenset({"comments"}))) as here,
    ):
        socket = here.connect()
        socket.say(mux.auth("trip", "com", version), mux.step1("trip"), mux.auth("other", "com"))
        assert await socket.heard("trip", "welcome") == "read-write"
        await socket.heard("other", "welcome")
        socket.say(mux.step2("trip", Writer(2).write("mine")))
        assert socket.values("trip", "status") == [0]
        assert "close" not in socket.kinds("trip")
        socket.say(mux.update("trip", Writer(1).write("fine", "comments")))
        await socket.heard("trip", "status", 2)
        socket.say(mux.update("trip", Writer(3).write("mine")))
        assert socket.kinds("trip")[-2:] == ["status", "close"]
        assert socket.values("trip", "status") == [0, 1, 0]
        reason = socket.values("trip", "close")[0]
        assert isinstance(reason, str)
        assert reason.startswith("reset")
        host = home.registry.get("trip")
        assert host is not None
        assert not socket.closed
        if version is None:
            # It may not have understood that, and would be alone without knowing it.
            assert len(host.peers) == 1
            socket.say(mux.update("trip", Writer(3).write("mine")))
            assert socket.kinds("trip")[-2:] == ["close", "status"]
            socket.say(mux.close("trip"))
        assert not host.peers
        socket.say(mux.awareness("trip", (1, 1, {})), mux.auth("trip", "com"), mux.step1("trip"))
        await socket.heard("trip", "step1", 2)


async def test_a_token_is_renewed_while_the_client_goes_on() -> None:
    async with (
        house() as home,
        place(
            home,
            old=admission("ann", until_ms=1_060_000),
            new=admission("ann", Role.VIEWER, until_ms=2_000_000),
        ) as here,
    ):
        socket = here.connect()
        socket.say(mux.auth("trip", "old"), mux.step1("trip"))
        await socket.heard("trip", "step1")
        here.now_ms = 1_029_999
        here.sessions.tick()
        assert "token wanted" not in socket.kinds("trip")
        here.now_ms = 1_030_000
        here.sessions.tick()
        here.sessions.tick()
        assert socket.kinds("trip").count("token wanted") == 1
        socket.say(mux.auth("trip", "new"))
        assert await socket.heard("trip", "welcome", 2) == "readonly"
        socket.say(mux.update("trip", Writer().write("x")))
        assert await socket.heard("trip", "status") == 0
        here.now_ms = 1_060_000
        here.sessions.tick()
        assert "denied" not in socket.kinds("trip")
        here.now_ms = 2_000_000
        here.sessions.tick()
        assert socket.values("trip", "denied") == ["the token has run out"]
        assert not socket.closed


async def test_a_token_that_runs_out_ends_its_document_and_no_other() -> None:
    async with (
        house() as home,
        place(home, short=admission("ann", until_ms=1_010_000), long=admission("ann")) as here,
    ):
        socket, plain = here.connect(), here.connect("/b?auth=short")
        socket.say(mux.auth("a", "short"), mux.auth("b", "long", "4.8.0"), mux.auth("c", "short"))
        for address in "abc":
            await socket.heard(address, "welcome")
        await until(lambda: len(here.sessions) == 4)
        here.now_ms = 1_010_000
        here.sessions.tick()
        assert socket.kinds("a") == ["welcome", "denied", "close"]
        assert socket.kinds("b") == ["welcome"]
        assert socket.kinds("c") == ["welcome", "denied", "close"]
        assert not socket.closed
        assert [code for code, _ in plain.closed] == [4401]
        plain.hang_up()
        assert len(here.sessions) == 1
        socket.say(mux.update("b", Writer().write("x")))
        await socket.heard("b", "status")


async def test_a_short_token_is_asked_for_at_half_its_time() -> None:
    async with house() as home, place(home, short=admission("ann", until_ms=1_010_000)) as here:
        socket = here.connect()
        socket.say(mux.auth("a", "short"))
        await socket.heard("a", "welcome")
        here.sessions.tick()
        assert socket.kinds("a") == ["welcome"]
        here.now_ms = 1_005_000
        here.sessions.tick()
        assert socket.kinds("a") == ["welcome", "token wanted"]


async def test_a_bad_new_token_ends_the_document_but_one_that_nobody_can_judge_does_not() -> None:
    async with (
        house() as home,
        place(
            home,
            ann=admission("ann"),
            away=BusyError("the application does not answer"),
            bob=admission("bob"),
        ) as here,
    ):
        socket = here.connect()
        for address in "abc":
            socket.say(mux.auth(address, "ann"))
            await socket.heard(address, "welcome")
        socket.say(mux.auth("a", "away"), mux.auth("b", "wrong"), mux.auth("c", "bob"))
        await socket.heard("b", "denied")
        assert await socket.heard("c", "denied") == "the new token is somebody else's"
        assert socket.kinds("a") == ["welcome"]
        assert len(here.sessions) == 1


async def test_of_many_new_tokens_at_once_only_the_newest_is_judged() -> None:
    async with house() as home, place(home, ann=admission("ann"), last=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("trip", "ann"))
        await socket.heard("trip", "welcome")
        here.gatekeeper.open.clear()
        socket.say(mux.auth("trip", "ann"))
        await until(lambda: len(here.gatekeeper.asked) == 2)
        socket.say(*(mux.auth("trip", f"wrong {number}") for number in range(50)), mux.auth("trip", "last"))
        here.gatekeeper.open.set()
        await socket.heard("trip", "welcome", 3)
        assert [token for token, _ in here.gatekeeper.asked] == ["ann", "ann", "last"]


async def test_a_revoked_session_ends_also_while_its_room_is_being_opened() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        home.store.stall("load")
        socket = here.connect()
        socket.say(mux.auth("trip", "ann"), mux.update("trip", Writer().write("x")))
        await until(lambda: len(here.sessions))
        closed = here.sessions.close_where(
            lambda session: session.identity.user_id == "ann", NotAuthenticatedError("access was revoked")
        )
        assert closed == 1
        assert socket.values("trip", "denied") == ["access was revoked"]
        home.store.heal()
        await until(lambda: home.registry.get("trip"))
        host = home.registry.get("trip")
        assert host is not None
        await until(lambda: not here.lobby.is_bringing_in)
        assert not host.peers
        host.flush()
        await home.journal.settle()
        assert await stored_text(home.store, "trip") == ""
        assert not len(here.sessions)


async def test_who_is_let_into_nothing_in_time_is_closed_whatever_it_sends() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        busy, silent, let_in = here.connect(), here.connect(), here.connect()
        let_in.say(mux.auth("trip", "ann"))
        await let_in.heard("trip", "welcome")
        for second in range(10):
            here.now = float(second)
            busy.say(mux.auth("trip", "wrong"), b"\x09", mux.awareness("other", (1, 1, {})))
            here.lobby.close_late(here.now)
        assert not busy.closed
        here.now = 10.0
        here.lobby.close_late(here.now)
        assert [code for code, _ in busy.closed + silent.closed] == [4408, 4408]
        assert not let_in.closed


@pytest.mark.parametrize(
    "flood",
    [
        lambda number: mux.message("a", 1, bytes(10)),
        lambda number: mux.awareness(f"doc {number}", (1, 1, {})),
        lambda number: mux.message("a", 1, bytes(2000)),
    ],
    ids=["messages", "documents", "bytes"],
)
async def test_what_waits_without_a_token_is_bounded(flood: object) -> None:
    settings = GatewaySettings(
        unauthenticated_bytes_max=10_000, unauthenticated_messages_max=20, unauthenticated_documents_max=5
    )
    async with house() as home, place(home, settings) as here:
        socket = here.connect()
        sent = 0
        while not socket.closed and sent < 100:
            socket.say(flood(sent))  # type: ignore[operator]
            sent += 1
        assert [code for code, _ in socket.closed] == [4413]
        assert sent <= 21


async def test_who_has_a_token_is_read_no_more_while_too_much_waits_for_it() -> None:
    settings = GatewaySettings(unauthenticated_messages_max=10, unauthenticated_documents_max=3)
    async with house() as home, place(home, settings, ann=admission("ann")) as here:
        here.gatekeeper.open.clear()
        socket = here.connect()
        socket.say(mux.auth("a", "ann"), mux.auth("b", "ann"))
        assert not socket.is_paused
        socket.say(mux.auth("c", "ann"))
        assert socket.is_paused
        here.gatekeeper.open.set()
        await until(lambda: not socket.is_paused)
        here.gatekeeper.open.clear()
        writer = Writer()
        socket.say(mux.auth("d", "ann"), *(mux.update("d", writer.write(".")) for _ in range(12)))
        assert socket.is_paused
        here.gatekeeper.open.set()
        await socket.heard("d", "status", 12)
        assert not socket.is_paused
        assert not socket.closed


async def test_a_document_too_many_is_denied_and_the_others_stay() -> None:
    settings = GatewaySettings(documents_per_connection_max=2)
    async with house() as home, place(home, settings, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(*(mux.auth(address, "ann") for address in "abc"))
        await socket.heard("b", "welcome")
        assert socket.kinds("c") == ["denied"]
        socket.say(mux.close("a"), mux.auth("c", "ann"))
        await socket.heard("c", "welcome")


@pytest.mark.parametrize(
    "data",
    [
        mux.message("trip", 99),
        mux.message("trip", 6, b"\x02hi"),
        mux.message("trip", 8, b"\x01"),
        mux.message("trip", 0, b"\x07\x00"),
        mux.message("trip", 2, b"\x02\x02no"),
        b"",
        b"\x00",
        b"\xff\xff",
    ],
)
@pytest.mark.parametrize("when", ["first", "waiting", "live"])
async def test_a_frame_that_cannot_be_decoded_closes_the_socket(data: bytes, when: str) -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        if when == "waiting":
            socket.say(mux.step1("trip"))
        if when == "live":
            socket.say(mux.auth("trip", "ann"))
            await socket.heard("trip", "welcome")
        socket.say(data)
        assert [code for code, _ in socket.closed] == [4400]


async def test_nonsense_behind_the_token_closes_the_socket_when_the_room_is_open() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("trip", "ann"), mux.message("trip", 99))
        await until(lambda: socket.closed)
        assert [code for code, _ in socket.closed] == [4400]
        socket.hang_up()
        host = home.registry.get("trip")
        assert host is not None
        assert not host.peers


async def test_an_update_that_cannot_be_decoded_ends_its_document_only() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("bad", "ann"), mux.auth("good", "ann"))
        await socket.heard("good", "welcome")
        socket.say(mux.update("bad", b"\xff\xff"), mux.update("good", Writer().write("x")))
        await socket.heard("good", "status")
        assert socket.kinds("bad") == ["welcome", "denied"]
        assert not socket.closed


@pytest.mark.parametrize("address", ["", "\0one", "x" * 513, "trip\0" + "s" * 129])
async def test_an_address_that_names_no_room_is_denied(address: str) -> None:
    async with house() as home, place(home, admits_anonymous=True) as here:
        socket = here.connect()
        socket.say(mux.step1(address), mux.step1("trip"))
        await socket.heard("trip", "welcome")
        assert socket.kinds(address) == ["denied"]
        assert home.registry.rooms_count == 1


async def test_an_address_that_is_not_utf8_is_denied_as_it_came() -> None:
    async with house() as home, place(home, admits_anonymous=True) as here:
        socket = here.connect()
        socket.say(b"\x02\xff\xfe" + mux.step1("")[1:])
        assert socket.frames[0].startswith(b"\x02\xff\xfe\x02\x01")


async def test_who_leaves_a_document_is_gone_from_it_at_once_and_gets_no_answer() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        leaver, other = here.connect(), here.connect()
        for socket in (leaver, other):
            socket.say(mux.auth("trip", "ann"), mux.step1("trip"))
            await socket.heard("trip", "step1")
        leaver.say(mux.awareness("trip", (7, 1, {"name": "Ann"})))
        await other.heard("trip", "awareness")
        before = len(leaver.frames)
        leaver.say(mux.close("trip"))
        await other.heard("trip", "awareness", 2)
        assert other.values("trip", "awareness")[-1] == b"\x01\x07\x01\x04null"
        assert len(leaver.frames) == before
        assert len(here.sessions) == 1
        leaver.say(mux.auth("trip", "ann"), mux.step1("trip"))
        await leaver.heard("trip", "step1", 2)


async def test_a_document_that_is_left_and_entered_again_before_it_opens_is_entered_twice() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        home.store.stall("load")
        socket = here.connect()
        first, second = Writer(1), Writer(2)
        socket.say(mux.auth("trip", "ann"), mux.update("trip", first.write("a")), mux.close("trip"))
        socket.say(mux.auth("trip", "ann"), mux.update("trip", second.write("b")), mux.step1("trip"))
        home.store.heal()
        await socket.heard("trip", "step1")
        assert socket.kinds("trip").count("welcome") == 2
        await socket.heard("trip", "status")
        await home.journal.settle()
        assert sorted(await stored_text(home.store, "trip")) == ["a", "b"]
        assert len(here.sessions) == 1


async def test_a_bare_ping_gets_a_bare_pong() -> None:
    async with house() as home, place(home) as here:
        socket = here.connect()
        socket.say(b"\x09", b"\x0a")
        assert socket.frames == [b"\x0a"]
        socket.connection.on_full()
        socket.say(b"\x09")
        assert socket.frames == [b"\x0a"]


async def test_a_quiet_socket_gets_a_frame_that_every_provider_takes() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.connection.keep_alive()
        assert not socket.frames
        socket.say(mux.auth("a", "wrong"))
        await socket.heard("a", "denied")
        socket.connection.keep_alive()
        socket.connection.keep_alive()
        assert socket.told[1:] == [("a", "awareness", b"\x00")]
        socket.say(mux.auth("b", "ann"))
        await socket.heard("b", "welcome")
        socket.connection.keep_alive()
        socket.connection.keep_alive()
        assert socket.values("b", "awareness") == [b"\x00"]


async def test_a_deleted_document_is_closed_and_the_others_stay() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        for address in "ab":
            socket.say(mux.auth(address, "ann", "4.8.0"), mux.update(address, Writer().write("x")))
            await socket.heard(address, "status")
        await home.documents.delete("a")
        await socket.heard("a", "denied")
        assert socket.kinds("a")[-2:] == ["denied", "close"]
        assert not socket.closed
        socket.say(mux.auth("a", "ann"))
        await socket.heard("a", "denied", 2)
        socket.say(mux.update("b", Writer(2).write("y")))
        await socket.heard("b", "status", 2)


async def test_a_room_that_breaks_sends_the_socket_away_to_come_back() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("a", "ann"), mux.auth("b", "ann"))
        await socket.heard("b", "welcome")
        host = home.registry.get("a")
        assert host is not None
        host.end(BusyError("the room had to be opened again", CloseCode.RESET))
        assert [code for code, _ in socket.closed] == [4205]


async def test_a_store_that_is_away_closes_a_socket_that_has_nothing_else_and_denies_otherwise() -> None:
    store = FaultyStore(MemoryStore())
    async with house(store=store) as home, place(home, ann=admission("ann")) as here:
        busy, other = here.connect(), here.connect()
        busy.say(mux.auth("a", "ann"))
        await busy.heard("a", "welcome")
        store.fail_before("load")
        busy.say(mux.auth("b", "ann"))
        other.say(mux.auth("b", "ann"))
        await busy.heard("b", "denied")
        await until(lambda: other.closed)
        assert not busy.closed
        assert [code for code, _ in other.closed] == [4503]


async def test_a_crowded_room_takes_no_other_document_of_the_socket_along() -> None:
    """Whichever is first: all are on their way when the first of them is refused."""
    async with (
        house(room_settings=RoomSettings(members_max=1)) as home,
        place(home, ann=admission("ann")) as here,
    ):
        first, second = here.connect(), here.connect()
        first.say(mux.auth("crowded", "ann"))
        await first.heard("crowded", "welcome")
        here.gatekeeper.open.clear()
        second.say(mux.auth("crowded", "ann"), mux.auth("a", "ann"), mux.auth("b", "wrong"))
        here.gatekeeper.open.set()
        assert await second.heard("crowded", "denied") == "this room has as many members as it may"
        await second.heard("a", "welcome")
        await second.heard("b", "denied")
        assert not second.closed
        # When it is in nothing else any more, it is sent to try again.
        second.say(mux.close("a"))
        assert second.closed == [(1013, "this room has as many members as it may")]


@pytest.mark.parametrize("what", ["gives up", "tries again"])
async def test_a_document_that_was_put_off_sends_nobody_back_who_wants_it_no_more_or_has_it(
    what: str,
) -> None:
    async with (
        house(room_settings=RoomSettings(members_max=1)) as home,
        place(home, ann=admission("ann")) as here,
    ):
        first, second = here.connect(), here.connect()
        first.say(mux.auth("crowded", "ann"))
        await first.heard("crowded", "welcome")
        second.say(mux.auth("a", "ann"))
        await second.heard("a", "welcome")
        second.say(mux.auth("crowded", "ann"))
        await second.heard("crowded", "denied")
        if what == "gives up":
            second.say(mux.close("crowded"))
        else:
            first.hang_up()
            second.say(mux.auth("crowded", "ann"))
            await second.heard("crowded", "welcome")
            second.say(mux.close("crowded"))
        second.say(mux.close("a"))
        assert not second.closed


async def test_a_full_socket_gets_one_difference_for_each_document_when_it_has_drained() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        slow, writer = here.connect(), here.connect()
        for socket in (slow, writer):
            for address in "ab":
                socket.say(mux.auth(address, "ann"), mux.step1(address))
                await socket.heard(address, "step1")
        slow.connection.on_full()
        edits = {address: Writer() for address in "ab"}
        for letter in "xyz":
            for address, one in edits.items():
                writer.say(mux.update(address, one.write(letter)))
                await writer.heard(address, "status", len(one.text()))
        before = len(slow.frames)
        slow.connection.on_drained()
        assert [(one.address, one.kind) for one in slow.told[before:]] == [("a", "update"), ("b", "update")]
        reader = Writer(9)
        reader.apply(slow.values("a", "update")[0])
        assert reader.text() == "xyz"


async def test_a_message_that_nobody_keeps_goes_to_the_others_of_the_dialect() -> None:
    async with house() as home, place(home, ann=admission("ann"), vic=admission("vic", Role.VIEWER)) as here:
        sender, other, viewer, plain = (
            here.connect(),
            here.connect(),
            here.connect(),
            here.connect("/trip?auth=ann"),
        )
        for socket, token in ((sender, "ann"), (other, "ann"), (viewer, "vic")):
            socket.say(mux.auth("trip", token), mux.auth("elsewhere", token))
            await socket.heard("trip", "welcome")
            await socket.heard("elsewhere", "welcome")
        await until(lambda: plain.frames)
        count = len(plain.frames)
        sender.say(mux.stateless("trip", "hi 🌍"))
        assert other.values("trip", "stateless") == viewer.values("trip", "stateless") == ["hi 🌍"]
        assert not sender.values("trip", "stateless")
        assert not other.values("elsewhere", "stateless")
        assert len(plain.frames) == count
        viewer.connection.on_full()
        sender.say(mux.stateless("trip", "again"))
        assert other.values("trip", "stateless") == ["hi 🌍", "again"]
        assert viewer.values("trip", "stateless") == ["hi 🌍"]


async def test_a_stateless_message_over_its_bound_costs_its_sender_the_document() -> None:
    settings = GatewaySettings(stateless_bytes_max=10)
    async with house() as home, place(home, settings, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("trip", "ann"), mux.auth("other", "ann"))
        await socket.heard("other", "welcome")
        socket.say(mux.stateless("trip", "ü" * 6))
        assert socket.kinds("trip") == ["welcome", "denied"]
        assert not socket.closed


async def test_a_client_that_is_cut_off_leaves_all_its_documents() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(*(mux.auth(address, "ann") for address in "abc"))
        await socket.heard("c", "welcome")
        socket.hang_up(clean=False)
        assert not any(host.peers for host in home.registry.hosts)
        assert not len(here.sessions)


async def test_who_writes_and_hangs_up_before_the_document_is_open_has_its_edit_saved() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        socket = here.connect()
        socket.say(mux.auth("trip", "ann"), mux.update("trip", Writer().write("bye")))
        socket.hang_up()
        await until(lambda: home.registry.get("trip"))
        host = home.registry.get("trip")
        assert host is not None
        await until(lambda: not here.lobby.is_bringing_in)
        assert not host.peers
        host.flush()
        await home.journal.settle()
        assert await stored_text(home.store, "trip") == "bye"
        assert not len(here.sessions)


async def test_who_tells_no_version_hears_only_what_the_oldest_providers_know() -> None:
    """``hocuspocus_dart`` is a port of version 2.12, which throws at the rest: 4, 7, 9 and 10."""
    known = {
        "welcome",
        "denied",
        "token wanted",
        "step1",
        "step2",
        "update",
        "awareness",
        "status",
        "stateless",
    }
    async with (
        house() as home,
        place(home, admits_anonymous=True, short=admission("ann", until_ms=1_010_000)) as here,
    ):
        dart, other = here.connect("/?colour=red"), here.connect()
        dart.say(mux.step1("trip"), mux.awareness("trip", (7, 1, {"name": "Dart"})))
        await dart.heard("trip", "step1")
        dart.connection.on_text("dart ignores text, and so do we")
        dart.say(mux.step2("trip", EMPTY), mux.update("trip", Writer().write("from dart")))
        await dart.heard("trip", "status", 2)
        other.say(mux.auth("trip"), mux.step1("trip"), mux.update("trip", Writer(2).write("hi")))
        other.say(mux.stateless("trip", "hi"))
        await dart.heard("trip", "update")
        await dart.heard("trip", "stateless")
        dart.say(mux.auth("with a token", "short"))
        await dart.heard("with a token", "welcome")
        for here.now_ms in (1_005_000, 1_010_000):
            here.sessions.tick()
        await home.documents.delete("trip")
        await dart.heard("trip", "denied")
        for _ in range(2):
            dart.connection.keep_alive()
        assert {one.kind for one in dart.told} == known
        assert not dart.closed


@pytest.mark.parametrize("admits_anonymous", [False, True])
async def test_what_a_client_says_of_a_document_it_was_denied_waits_for_nothing(
    admits_anonymous: bool,
) -> None:
    settings = GatewaySettings(unauthenticated_messages_max=20)
    async with (
        house() as home,
        place(home, settings, admits_anonymous=admits_anonymous, ann=admission("ann")) as here,
    ):
        socket = here.connect()
        socket.say(mux.auth("good", "ann"), mux.auth("bad", "wrong"))
        await socket.heard("good", "welcome")
        await socket.heard("bad", "denied")
        socket.say(*(mux.awareness("bad", (1, clock, {})) for clock in range(100)))
        socket.say(mux.update("good", Writer().write("x")))
        await socket.heard("good", "status")
        assert socket.kinds("bad") == ["denied"]
        assert not socket.closed


async def test_documents_wait_for_their_turn_when_the_socket_fills_again_as_it_drains() -> None:
    async with house() as home, place(home, ann=admission("ann")) as here:
        slow, writer = here.connect(), here.connect()
        for socket in (slow, writer):
            for address in "ab":
                socket.say(mux.auth(address, "ann"), mux.step1(address))
                await socket.heard(address, "step1")
        slow.connection.on_full()
        for address in "ab":
            writer.say(mux.update(address, Writer().write("x")))
            await writer.heard(address, "status")
        slow.fills_at = len(slow.frames) + 1
        slow.connection.on_drained()
        assert ("update" in slow.kinds("a"), "update" in slow.kinds("b")) == (True, False)
        slow.connection.on_drained()
        assert "update" in slow.kinds("b")
