"""One socket of the plain dialect, between a socket that the test plays and real rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pycrdt import Doc, Text

from collab_server.access.gatekeeper import OpenGatekeeper
from collab_server.errors import MalformedError, PeerError
from collab_server.gateway.handshake import Headers, Request
from collab_server.gateway.lobby import Lobby
from collab_server.gateway.plain import PlainConnection
from collab_server.gateway.routing import room_of_path
from collab_server.gateway.sessions import Sessions
from collab_server.gateway.settings import GatewaySettings
from collab_server.wire import sync
from collab_server.wire.frame import Frame
from tests.support import frames
from tests.unit.hosting.house import House, house, stored_text, until


class PlayedSocket:
    """What a session sees of its socket."""

    def __init__(self) -> None:
        self.sent: list[sync.Message] = []
        self.closed: list[tuple[int, str]] = []
        self.is_paused = False

    def send(self, frame: Frame) -> None:
        self.sent.append(sync.decode(frame.data))

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


@asynccontextmanager
async def gateway_of(
    home: House, settings: GatewaySettings | None = None, now: list[float] | None = None
) -> AsyncIterator[Lobby]:
    now = now or [0.0]
    lobby = Lobby(
        home.registry,
        OpenGatekeeper(),
        Sessions(wall_clock_ms=lambda: 0),
        settings or GatewaySettings(),
        home.metrics,
        clock=lambda: now[0],
    )
    try:
        yield lobby
    finally:
        await lobby.close()


def connect(lobby: Lobby) -> tuple[PlainConnection, PlayedSocket]:
    session = PlainConnection(lobby, Request("/room", Headers(b""), None, is_secure=False))
    socket = PlayedSocket()
    session.on_open(socket)  # type: ignore[arg-type]  # plays the part of one
    return session, socket


def an_edit(text: str) -> bytes:
    doc: Doc = Doc()  # type: ignore[type-arg]
    doc.get("t", type=Text).insert(0, text)
    return frames.update(doc.get_update())


async def test_who_writes_and_leaves_before_the_room_is_open_has_its_edit_saved() -> None:
    async with house() as home, gateway_of(home) as gateway:
        session, _ = connect(gateway)
        session.on_binary(an_edit("bye"))
        session.on_close(1000, clean=True)
        await until(lambda: home.registry.get("room"))
        host = home.registry.get("room")
        assert host is not None
        await until(lambda: not gateway.is_bringing_in)
        assert not host.peers
        host.flush()
        await home.journal.settle()
        assert await stored_text(home.store, "room") == "bye"


async def test_who_sends_nonsense_and_leaves_before_the_room_is_open_leaves_nothing_behind() -> None:
    async with house() as home, gateway_of(home) as gateway:
        session, _ = connect(gateway)
        session.on_binary(frames.update(b"\xff\xff"))
        session.on_close(1006, clean=False)
        await until(lambda: home.registry.get("room"))
        host = home.registry.get("room")
        assert host is not None
        await until(lambda: not gateway.is_bringing_in)
        assert not host.peers
        assert not host.room.members_count


async def test_who_sends_nonsense_before_the_room_is_open_is_told_so_once() -> None:
    async with house() as home, gateway_of(home) as gateway:
        session, socket = connect(gateway)
        for _ in range(3):
            session.on_binary(frames.update(b"\xff\xff"))
        await until(lambda: socket.closed)
        assert [code for code, _ in socket.closed] == [4400]
        session.on_close(4400, clean=True)
        host = home.registry.get("room")
        assert host is not None
        assert not host.peers


async def test_a_fault_while_a_room_is_opened_closes_the_socket(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_room: str) -> None:
        raise RuntimeError("a fault of ours")

    async with house() as home, gateway_of(home) as gateway:
        monkeypatch.setattr(home.store, "load", broken)
        _, socket = connect(gateway)
        await until(lambda: socket.closed)
        assert [code for code, _ in socket.closed] == [1011]


async def test_what_waits_for_a_room_to_open_is_bounded() -> None:
    async with house() as home, gateway_of(home, GatewaySettings(frame_bytes_max=1000)) as gateway:
        session, _ = connect(gateway)
        session.on_binary(bytes(1000))
        session.on_binary(bytes(1000))
        with pytest.raises(PeerError):
            session.on_binary(b"\0")


async def test_reading_is_paused_until_the_room_is_open() -> None:
    async with house() as home, gateway_of(home) as gateway:
        _, socket = connect(gateway)
        assert socket.is_paused
        await until(lambda: not socket.is_paused)
        assert home.registry.rooms_count == 1


async def test_who_says_nothing_is_closed_and_who_spoke_is_not() -> None:
    now = [0.0]
    async with house() as home, gateway_of(home, now=now) as gateway:
        quiet, quiet_socket = connect(gateway)
        talker, talker_socket = connect(gateway)
        await until(lambda: not talker_socket.is_paused and not quiet_socket.is_paused)
        talker.on_binary(frames.step1())
        now[0] = 31.0
        gateway.close_late(now[0])
        assert [code for code, _ in quiet_socket.closed] == [4408]
        assert not talker_socket.closed
        assert quiet not in gateway.silent


async def test_whoever_got_nothing_since_the_last_turn_gets_a_harmless_frame() -> None:
    async with house() as home, gateway_of(home) as gateway:
        session, socket = connect(gateway)
        await until(lambda: not socket.is_paused)
        session.keep_alive()
        before = len(socket.sent)
        session.keep_alive()
        assert socket.sent[before:] == [sync.Awareness(b"\x00")]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/trip-1", "trip-1"),
        ("/a/b/c", "a/b/c"),
        ("/a%2Fb", "a/b"),
        ("//a", "/a"),
        ("/a/", "a/"),
        ("/..", ".."),
        ("/a%20b+c", "a b+c"),
        ("/%F0%9F%8C%8D", "\N{EARTH GLOBE EUROPE-AFRICA}"),
        ("/100%", "100%"),
        ("/" + "a" * 512, "a" * 512),
    ],
)
def test_a_room_is_the_rest_of_the_path(path: str, name: str) -> None:
    assert room_of_path(path, 512) == name


@pytest.mark.parametrize("path", ["/", "", "/?x=y", "/%00", "/a%FF", "/" + "a" * 513, "/" + "%C3%A9" * 257])
def test_a_name_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(MalformedError):
        room_of_path(path, 512)


async def test_a_room_that_is_deleted_while_somebody_joins_sends_it_away() -> None:
    async with house() as home, gateway_of(home) as gateway:
        first, first_socket = connect(gateway)
        await until(lambda: not first_socket.is_paused)
        first.on_binary(an_edit("here"))
        host = home.registry.get("room")
        assert host is not None
        host.flush()
        await home.journal.settle()
        _, joiner_socket = connect(gateway)
        await home.documents.delete("room")
        await until(lambda: joiner_socket.closed and first_socket.closed)
        assert [code for code, _ in joiner_socket.closed] == [4404]
        assert [code for code, _ in first_socket.closed] == [4404]
        await asyncio.sleep(0)
        assert home.registry.get("room") is None


async def test_who_makes_everybody_wait_with_heavy_messages_is_read_more_slowly() -> None:
    async with house() as home:
        turns = iter(range(1000))
        gateway = Lobby(
            home.registry,
            OpenGatekeeper(),
            Sessions(wall_clock_ms=lambda: 0),
            GatewaySettings(message_rate_max_per_s=100, message_burst_max=1000),
            home.metrics,
            clock=lambda: 0.0,
            stopwatch=lambda: next(turns) * 0.2,
        )
        session, socket = connect(gateway)
        await until(lambda: not socket.is_paused)
        session.on_binary(an_edit("short"))
        assert not socket.is_paused
        session.on_binary(an_edit("long" * 10_000))
        assert socket.is_paused
        session.on_close(1000, clean=True)
        await gateway.close()
