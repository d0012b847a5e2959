"""Strangers on both dialects, with every role, in one house; in the next room two people go on writing.

It is the server without its sockets: drivers, sessions, rooms, hosting and a store in memory. Whatever the
strangers send, nothing but a ``PeerError`` comes out of it, nothing is logged as an error, what is kept stays
within its bounds, and the other room neither hears nor loses anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import structlog
from pycrdt import Doc, Text

from collab_server.access.identity import Role
from collab_server.errors import PeerError
from collab_server.gateway.settings import GatewaySettings
from collab_server.room.settings import RoomSettings
from collab_server.ydoc.inspection import inspect
from tests.fuzz.material import Material
from tests.support import frames
from tests.support.muxframes import told
from tests.unit.gateway.played import Place, PlayedSocket, admission, place
from tests.unit.hosting.house import house, until

_ROOMS = ("attacked", "attacked-too")
_ADDRESSES = (*_ROOMS, "attacked\0s1", "attacked\0s2", "", "x" * 600, "not\0for\0you", "denied")
_TOKENS = ("owner", "editor", "commenter", "narrow", "viewer", "nobody", "")
_SOCKETS = 8
_ROOM_BYTES_MAX = 512 * 1024
_ROOM_SETTINGS = RoomSettings(
    room_bytes_max=_ROOM_BYTES_MAX, awareness_bytes_max=64 * 1024, awareness_clients_max=100
)
_GATEWAY_SETTINGS = GatewaySettings(message_rate_max_per_s=10**9, message_burst_max=10**9)


class Innocent:
    """Somebody who writes into the next room, and a witness who reads along."""

    def __init__(self, here: Place) -> None:
        self.doc: Doc[Any] = Doc(client_id=99)
        self.text = self.doc.get("notes", type=Text)
        self.writer, self.witness = (here.connect("/innocent?token=editor") for _ in range(2))

    async def settle(self) -> None:
        """Both are in."""
        for socket in (self.writer, self.witness):
            await until(lambda socket=socket: socket.frames)  # type: ignore[misc]
            socket.say(frames.step1())

    def write(self, text: str) -> None:
        before = self.doc.get_state()
        self.text += text
        self.writer.say(frames.update(self.doc.get_update(before)))

    async def check(self) -> None:
        """The witness has all of it, and nothing else."""
        for _ in range(2_000):
            seen: Doc[Any] = Doc()
            for frame in self.witness.frames:
                if frame[:2] in {b"\x00\x01", b"\x00\x02"}:
                    seen.apply_update(frames.read_var_bytes(frame, 2)[0])
            if str(seen.get("notes", type=Text)) == str(self.text):
                break
            await asyncio.sleep(0.005)
        else:
            raise AssertionError("the witness in the next room does not see what was written")
        assert seen.get_state() == self.doc.get_state(), "somebody else's edits came into the next room"
        assert not self.writer.closed
        assert not self.witness.closed


async def run(seed: int, rounds: int) -> None:
    """So many messages of one seed."""
    material = Material(seed)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    tokens = {
        "owner": admission("olga", Role.OWNER),
        "editor": admission("ed", Role.EDITOR),
        "commenter": admission("cora", Role.COMMENTER, roots=frozenset({"comments"})),
        "narrow": admission("ned", Role.EDITOR, roots=frozenset({"notes"})),
        "viewer": admission("vera", Role.VIEWER),
    }
    with structlog.testing.capture_logs([structlog.processors.format_exc_info]) as logged:
        async with (
            house(room_settings=_ROOM_SETTINGS) as home,
            place(home, _GATEWAY_SETTINGS, admits_anonymous=True, **tokens) as here,
        ):
            innocent = Innocent(here)
            await innocent.settle()
            strangers = [_stranger(material, here) for _ in range(_SOCKETS)]
            for number in range(rounds):
                at = material.dice.randrange(_SOCKETS)
                stranger = strangers[at] = _act(material, here, strangers[at])
                stranger.frames[:] = stranger.frames[-100:]
                if number % 10 == 0:
                    await asyncio.sleep(0)
                if number % 200 == 0:
                    innocent.write(f"{number} ")
                    _check_bounds(home)
                here.now += 0.001
            innocent.write("the end")
            await innocent.check()
            for stranger in strangers:
                _check_told(stranger)
                stranger.hang_up()
            assert len(here.sessions) == 2, "only the innocent are left"
    bad = [entry for entry in logged if entry["log_level"] in {"error", "critical"}]
    assert not bad, bad[0].get("exception", bad[0])
    assert not complaints, complaints[0]


def _stranger(material: Material, here: Place) -> PlayedSocket:
    token = material.dice.choice(_TOKENS)
    if material.dice.random() < 0.5:
        return here.connect(f"/?token={token}" if token else "/")
    return here.connect(f"/{material.dice.choice(_ROOMS)}?token={token}")


def _act(material: Material, here: Place, stranger: PlayedSocket) -> PlayedSocket:
    """One thing that a stranger does; whoever is in the stranger's place then."""
    dice = material.dice
    if stranger.closed or dice.random() < 0.005:
        stranger.hang_up(clean=dice.random() < 0.5)
        return _stranger(material, here)
    if stranger.connection.request.path.startswith("/?") or stranger.connection.request.path == "/":
        data = material.multiplexed(_ADDRESSES, _TOKENS)
    else:
        data = material.plain()
    action = dice.random()
    if action < 0.04:
        try:
            if action < 0.02:
                stranger.connection.on_full()
            else:
                stranger.connection.on_drained()
        except PeerError as error:  # a step 1 that waited may be broken: the transport closes for it
            stranger.close(error.close_code, error.reason)
    else:
        # A bent frame mostly ends its socket: with few of them the others get further.
        stranger.say(material.bent(data) if dice.random() < 0.2 else data)
    return stranger


def _check_bounds(home: Any) -> None:
    for name in _ROOMS:
        host = home.registry.get(name)
        if host is None:
            continue
        whole = host.room.log.encode()
        inspect(whole)
        assert len(whole) <= 2 * _ROOM_BYTES_MAX, len(whole)
        assert len(host.room.query_awareness() or b"") <= 2 * 64 * 1024


def _check_told(stranger: PlayedSocket) -> None:
    """What the server sent can be read."""
    is_multiplexed = stranger.connection.request.path.partition("?")[0] == "/"
    for frame in stranger.frames:
        if is_multiplexed:
            # The address is the client's own, also where it is no text: it gets back what it chose.
            with contextlib.suppress(UnicodeDecodeError):
                told(frame)
        elif frame[:2] in {b"\x00\x01", b"\x00\x02"}:
            inspect(frames.read_var_bytes(frame, 2)[0])
