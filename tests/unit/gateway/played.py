"""A gatekeeper, a wall clock and sockets that a test plays, around real rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Doc, Text

from collab_server.access.identity import ANONYMOUS, Admission, Caller, Identity, Role
from collab_server.errors import NotAuthenticatedError, PeerError
from collab_server.gateway.connection import Connection
from collab_server.gateway.gateway import Gateway
from collab_server.gateway.handshake import Headers, Request
from collab_server.gateway.lobby import Lobby
from collab_server.gateway.sessions import Sessions
from collab_server.gateway.settings import GatewaySettings
from collab_server.wire.frame import Frame
from tests.support.muxframes import Told, told
from tests.unit.hosting.house import House, until


@dataclass
class PlayedGatekeeper:
    """Knows some tokens; ``open`` is cleared to make everybody wait."""

    tokens: dict[str | None, Admission | PeerError] = field(default_factory=dict)
    admits_anonymous: bool = False
    asked: list[tuple[str | None, str]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        self.asked.append((token, room))
        await self.open.wait()
        answer = self.tokens.get(token, NotAuthenticatedError("no such token"))
        if isinstance(answer, PeerError):
            raise answer.with_traceback(None)
        return answer

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        return await self.admit(token, "*", caller)


def admission(
    user: str | None = None,
    role: Role = Role.EDITOR,
    *,
    roots: frozenset[str] | None = None,
    until_ms: int | None = None,
    session: str | None = None,
) -> Admission:
    """What a token of a user is worth."""
    identity = ANONYMOUS if user is None and session is None else Identity(user, session_id=session)
    return Admission(identity, role, roots, until_ms)


class PlayedSocket:
    """What a connection sees of its socket."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.frames: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.is_paused = False
        self.fills_at: int | None = None
        """After how many frames it is full, as from inside ``send``."""

    def send(self, frame: Frame) -> None:
        if not self.closed:
            self.frames.append(frame.data)
            if len(self.frames) == self.fills_at:
                self.connection.on_full()

    def close(self, code: int, reason: str) -> None:
        assert len(reason.encode()) <= 123
        self.closed.append((int(code), reason))

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    # what the test does

    def say(self, *messages: bytes) -> None:
        """Frames of the client, one after the other, as the transport hands them on."""
        for data in messages:
            if self.closed:
                return
            try:
                self.connection.on_binary(data)
            except PeerError as error:
                self.close(error.close_code, error.reason)

    def hang_up(self, *, clean: bool = True) -> None:
        self.connection.on_close(1000 if clean else 1006, clean)

    @property
    def told(self) -> list[Told]:
        return [told(data) for data in self.frames]

    def kinds(self, address: str) -> list[str]:
        """What was told of one document, in order."""
        return [one.kind for one in self.told if one.address == address]

    def values(self, address: str, kind: str) -> list[object]:
        return [one.value for one in self.told if (one.address, one.kind) == (address, kind)]

    async def heard(self, address: str, kind: str, count: int = 1) -> object:
        """Wait until something was told so often; what it carried the last time."""
        await until(lambda: len(self.values(address, kind)) >= count)
        return self.values(address, kind)[count - 1]


class Place:
    """A lobby of real rooms, whose gatekeeper and clocks the test plays."""

    def __init__(self, home: House, settings: GatewaySettings, gatekeeper: PlayedGatekeeper) -> None:
        self.home = home
        self.gatekeeper = gatekeeper
        self.now = 0.0
        self.now_ms = 1_000_000
        self.sessions = Sessions(node="n-", wall_clock_ms=lambda: self.now_ms)
        self.lobby = Lobby(
            home.registry, gatekeeper, self.sessions, settings, home.metrics, clock=lambda: self.now
        )

    def connect(self, path: str = "/", **headers: str) -> PlayedSocket:
        lines = [f"{name.replace('_', '-')}: {value}".encode() for name, value in headers.items()]
        offered = tuple(name.strip() for name in headers.get("Sec_WebSocket_Protocol", "").split(",") if name)
        request = Request(path, Headers(b"\r\n".join(lines)), None, is_secure=False, subprotocols=offered)
        connection = Gateway(self.lobby).connection(request)
        socket = PlayedSocket(connection)
        try:
            connection.on_open(socket)  # type: ignore[arg-type]  # plays the part of one
        except PeerError as error:
            socket.close(error.close_code, error.reason)
        return socket


@asynccontextmanager
async def place(
    home: House,
    settings: GatewaySettings | None = None,
    *,
    admits_anonymous: bool = False,
    **tokens: Admission | PeerError,
) -> AsyncIterator[Place]:
    gatekeeper = PlayedGatekeeper(admits_anonymous=admits_anonymous)
    gatekeeper.tokens.update(tokens)
    if admits_anonymous:
        gatekeeper.tokens[None] = admission()
    made = Place(home, settings or GatewaySettings(), gatekeeper)
    try:
        yield made
    finally:
        await made.lobby.close()


class Writer:
    """A document whose updates a test sends by hand."""

    def __init__(self, client_id: int = 1) -> None:
        self.doc: Doc[Any] = Doc(client_id=client_id)

    def write(self, text: str, root: str = "t") -> bytes:
        """Append to a text; the update of that edit alone."""
        before = self.doc.get_state()
        notes = self.doc.get(root, type=Text)
        notes += text
        return self.doc.get_update(before)

    def apply(self, update: object) -> None:
        assert isinstance(update, bytes)
        self.doc.apply_update(update)

    def text(self, root: str = "t") -> str:
        return str(self.doc.get(root, type=Text))
