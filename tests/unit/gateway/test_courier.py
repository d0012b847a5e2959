"""Messages that nobody keeps: who gets them, and how they travel between nodes."""

from __future__ import annotations

import pytest

from collab_server.errors import MalformedError
from collab_server.gateway.courier import Audience, Letter
from tests.support import muxframes as mux
from tests.unit.gateway.played import PlayedSocket, admission, place
from tests.unit.hosting.house import house, until


@pytest.mark.parametrize(
    "letter",
    [Letter(""), Letter("hi 🌍"), Letter("x", Audience.USER, "ann"), Letter("x", Audience.SESSION, "ü")],
)
def test_a_letter_comes_back_from_its_bytes(letter: Letter) -> None:
    assert Letter.decode(letter.encode()) == letter


@pytest.mark.parametrize("data", [b"", b"\x03\x00\x00", b"\x00\x00\x05abc", b"\x00\x01\xff\x00"])
def test_what_is_no_letter_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Letter.decode(data)


async def test_the_server_can_speak_to_a_room_a_user_or_a_session() -> None:
    ann, bob = admission("ann", session="s1"), admission("bob", session="s2")
    async with house() as home, place(home, ann=ann, bob=bob) as here:
        published: list[tuple[str, bytes]] = []
        courier = here.lobby.courier
        courier.publish = lambda room, data: published.append((room, data))
        sockets: list[PlayedSocket] = []
        for token in ("ann", "ann", "bob"):
            sockets.append(here.connect())
            sockets[-1].say(mux.auth("trip", token), mux.auth("other", token))
            await sockets[-1].heard("trip", "welcome")
            await sockets[-1].heard("other", "welcome")
        plain = here.connect("/trip?auth=ann")
        await until(lambda: plain.frames)
        stay = courier._sessions.of_room("trip")[1]
        assert courier.announce("trip", "all") == 3
        assert courier.announce("trip", "ann's", user="ann") == 2
        assert courier.announce("trip", "bob's", session="s2") == 1
        assert courier.announce("trip", "one", session=here.sessions.id_of(stay)) == 1
        assert courier.announce("trip", "nobody's", user="eve") == 0
        assert courier.announce("empty", "nobody's") == 0
        assert [socket.values("trip", "stateless") for socket in sockets] == [
            ["all", "ann's"],
            ["all", "ann's", "one"],
            ["all", "bob's"],
        ]
        assert not any(socket.values("other", "stateless") for socket in sockets)
        assert len(published) == 6
        for socket in sockets:
            socket.frames.clear()
        for room, data in published:
            courier.receive(room, data)
        assert len(published) == 6
        assert sockets[2].values("trip", "stateless") == ["all", "bob's"]
