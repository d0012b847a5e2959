"""A small Yjs client with the habits of y-websocket, on a network that delays and breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from pycrdt import Array, Doc, Map, Text

from collab_server.errors import PeerError
from collab_server.hosting.host import Host
from collab_server.room.member import Member
from collab_server.wire import sync
from collab_server.wire.awareness import AwarenessBounds, AwarenessEntry, decode_awareness, encode_awareness
from collab_server.wire.frame import Frame
from collab_server.wire.lib0 import encode_var_uint, read_var_uint
from collab_server.wire.sync import PLAIN
from collab_server.ydoc.statevector import decode_state_vector

if TYPE_CHECKING:
    from tests.sim.node import SimNode

RENEW_S, OUTDATED_S, LOOK_S = 15.0, 30.0, 3.0
"""y-protocols ``awareness.js``: ``outdatedTimeout`` is 30 s, renewed at half of it, looked at at a tenth."""


class Link:
    """One connection: a peer of the host on one end, a client on the other, and delays between them."""

    _last_id = 0

    def __init__(self, client: SimClient, node: SimNode, random: Random) -> None:
        Link._last_id += 1
        self.member = Member(Link._last_id, PLAIN)
        self.node = node
        self.client = client
        self.is_full = False
        self.host: Host | None = None
        self.has_answered = False
        """Whether the client has told the server all that it has."""
        self._random = random
        self._open = True
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._up_at = self._down_at = 0.0
        self._before: list[Callable[[Host], None]] = []

    # the server's end

    def send(self, frame: Frame) -> None:
        self._down_at = max(self._loop.time() + self._random.uniform(0, 0.04), self._down_at + 1e-6)
        self._loop.call_at(self._down_at, self._arrive, frame.data)

    def close(self, error: PeerError) -> None:
        self._loop.call_soon(self.end_here, False)
        self._loop.call_later(0.01, self._closed)

    def joined(self, host: Host) -> None:
        if self._ended:
            return
        self.host = host
        host.attach(self)
        for said in self._before:
            self._say(said)

    def end_here(self, goodbye: bool) -> None:
        """The server notices that the connection has ended."""
        self._ended = True
        host, self.host = self.host, None
        if host is not None and self.node.is_alive:
            host.detach(self, goodbye=goodbye)

    # the client's end

    def say(self, said: Callable[[Host], None]) -> None:
        self._up_at = max(self._loop.time() + self._random.uniform(0, 0.04), self._up_at + 1e-6)
        self._loop.call_at(self._up_at, self._say, said)

    def leave(self) -> None:
        """Say goodbye."""
        self._open = False
        self._up_at = max(self._loop.time() + self._random.uniform(0, 0.04), self._up_at + 1e-6)
        self._loop.call_at(self._up_at, self.end_here, True)

    def cut(self, noticed_after_s: float) -> None:
        """The network is gone; the server notices some time later."""
        self._open = False
        self._before.clear()
        self._loop.call_later(noticed_after_s, self.end_here, False)
        self._cut = True

    _cut = False

    def _say(self, said: Callable[[Host], None]) -> None:
        if self._ended or self._cut or not self.node.is_alive:
            return
        if self.host is None:
            self._before.append(said)
            return
        try:
            said(self.host)
        except PeerError as error:
            self.close(error)

    def _arrive(self, frame: bytes) -> None:
        if self._open and self.node.is_alive:
            self.client.receive(self, frame)

    def _closed(self) -> None:
        if self._open:
            self._open = False
            self.client.lost(self)


class SimClient:
    """A document that is edited, connected or not."""

    def __init__(
        self, number: int, room: str, random: Random, on_saved: Callable[[SimClient, int], None]
    ) -> None:
        self.id = number
        self.room = room
        self.doc: Doc[Any] = Doc(client_id=number)
        self.text = self.doc.get("text", type=Text)
        self.list = self.doc.get("list", type=Array)
        self.map = self.doc.get("map", type=Map)
        self.link: Link | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.saved = 0
        """Its own clock up to which it was told that all is stored."""
        self.shown = True
        self.clocks: dict[int, int] = {number: 0}
        self.states: dict[int, str] = {number: '{"n":0}'}
        self.heard_at: dict[int, float] = {number: 0.0}
        self._random = random
        self._on_saved = on_saved
        self._applying = False
        self._watching = self.doc.observe(self._changed)

    @property
    def clock(self) -> int:
        """Its own clock in its document."""
        return decode_state_vector(self.doc.get_state()).get(self.id, 0)

    # -- connections

    def connect(self, node: SimNode) -> None:
        link = self.link = Link(self, node, self._random)
        state = self.doc.get_state()
        link.say(lambda host: host.receive_step1(link, state))
        for other in [other for other in self.states if other != self.id]:
            del self.states[other]  # as the provider does when a connection ends
        self._tell([self.id])
        self.connecting = asyncio.get_running_loop().create_task(self._enter(link))

    async def _enter(self, link: Link) -> None:
        try:
            async with link.node.registry.opened(self.room) as host:
                link.joined(host)
        except PeerError:
            self.lost(link)

    def lost(self, link: Link) -> None:
        if self.link is link:
            self.link = None

    def leave(self) -> None:
        if self.link is not None:
            self.link.leave()
            self.link = None

    def cut(self, noticed_after_s: float) -> None:
        if self.link is not None:
            self.link.cut(noticed_after_s)
            self.link = None

    def receive(self, link: Link, frame: bytes) -> None:
        if self.link is not link:
            return
        match sync.decode(frame):
            case sync.SyncStep1(vector):
                answer = self.doc.get_update(vector)
                link.say(lambda host: host.receive_update(link, answer, is_answer=True))
                link.has_answered = True
                self.ask()
            case sync.SyncStep2(update) | sync.Update(update):
                self._applying = True
                self.doc.apply_update(update)
                self._applying = False
            case sync.Awareness(payload):
                self._hear(payload)
            case sync.SyncStatus(payload):
                clock, _ = read_var_uint(payload, 0)
                self.saved = max(self.saved, clock)
                self._on_saved(self, clock)
            case _:
                pass

    # -- the document

    def edit(self) -> None:
        """Change something."""
        random = self._random
        length = len(str(self.text))
        with self.doc.transaction():
            match random.randrange(8):
                case 0 | 1 | 2:
                    self.text.insert(random.randint(0, length), random.choice(["ab", "c", "xyz"]))
                case 3 if length:
                    at = random.randrange(length)
                    del self.text[at]
                case 4:
                    self.list.append(Map({"n": random.randrange(99)}))
                case 5 if len(self.list):
                    del self.list[random.randrange(len(self.list))]
                case 6 if len(self.map):
                    del self.map[min(self.map.keys())]
                case _:
                    self.map[f"k{random.randrange(3)}"] = random.randrange(99)

    def ask(self) -> None:
        """Ask whether all is saved."""
        link = self.link
        if link is not None and link.has_answered:
            question = encode_var_uint(self.clock)
            link.say(lambda host: host.receive_sync_status(link, question))

    def _changed(self, event: Any) -> None:
        link = self.link
        if self._applying or link is None:
            return
        update = event.update
        link.say(lambda host: host.receive_update(link, update))

    # -- presence

    def show(self) -> None:
        """Say something new of itself."""
        self.clocks[self.id] += 1
        self.states[self.id] = f'{{"n":{self.clocks[self.id]}}}'
        self.heard_at[self.id] = asyncio.get_running_loop().time()
        self._tell([self.id])

    def look(self, now: float) -> None:
        """Renew what is old of its own, and forget who is silent."""
        if self.link is None:
            return
        if now - self.heard_at[self.id] >= RENEW_S:
            self.show()
        silent = [c for c in self.states if c != self.id and now - self.heard_at[c] >= OUTDATED_S]
        for client in silent:
            del self.states[client]
        self._tell(silent)

    def _hear(self, payload: bytes) -> None:
        now = asyncio.get_running_loop().time()
        changed = []
        for entry in decode_awareness(payload, AwarenessBounds()):
            clock = self.clocks.get(entry.client, 0)
            present = entry.client in self.states
            if not (clock < entry.clock or (clock == entry.clock and entry.state is None and present)):
                continue
            self.clocks[entry.client] = entry.clock
            if entry.state is not None:
                self.states[entry.client] = entry.state
                self.heard_at[entry.client] = now
            elif entry.client == self.id:
                self.clocks[self.id] += 1
                self.heard_at[self.id] = now
            else:
                self.states.pop(entry.client, None)
            changed.append(entry.client)
        self._tell(changed)

    def _tell(self, clients: list[int]) -> None:
        link = self.link
        if link is None or not clients:
            return
        entries = [AwarenessEntry(c, self.clocks[c], self.states.get(c)) for c in clients]
        payload = encode_awareness(entries)
        link.say(lambda host: host.receive_awareness(link, payload))
