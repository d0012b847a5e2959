"""A hosting layer for tests: real rooms, a memory store with faults, peers that remember what they got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pycrdt import Doc, Text

from collab_server.errors import PeerError
from collab_server.hosting.archive import ArchiveBounds
from collab_server.hosting.archives import Archives
from collab_server.hosting.compactor import Compactor
from collab_server.hosting.documents import Documents
from collab_server.hosting.history import History
from collab_server.hosting.host import Host
from collab_server.hosting.journal import Journal
from collab_server.hosting.registry import Registry
from collab_server.hosting.settings import HistorySettings, HostingSettings, JournalSettings
from collab_server.room.member import Member
from collab_server.room.settings import RoomSettings
from collab_server.telemetry.metrics import Metrics
from collab_server.wire import sync
from collab_server.wire.frame import Frame
from collab_server.wire.sync import PLAIN
from collab_server.ydoc.bounds import DEFAULT_BOUNDS
from persistence.memory import MemoryStore
from tests.support.faulty_store import FaultyStore


class InPlace:
    """Runs in this process what the server runs in a worker."""

    async def run(self, function, /, *args):  # type: ignore[no-untyped-def]
        return function(*args)


@dataclass
class WallClock:
    """A clock that a test moves."""

    now_ms: int = 1_000

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class House:
    store: FaultyStore
    journal: Journal
    compactor: Compactor
    registry: Registry
    documents: Documents
    settings: HostingSettings
    metrics: Metrics
    history: History
    archives: Archives
    clock: WallClock

    async def enter(self, room: str, **member: Any) -> Client:
        """A client that has joined a room and has synced with it."""
        async with self.registry.opened(room) as host:
            client = Client(host, **member)
            host.attach(client)
            client.catch_up()
        return client


class Client:
    """A peer that holds a document, as an application would, and writes its text ``t``."""

    _next_id = 0

    def __init__(self, host: Host, *, wants_echo: bool = False, user_id: str | None = None) -> None:
        Client._next_id += 1
        self.member = Member(Client._next_id, PLAIN, wants_echo=wants_echo, user_id=user_id)
        self.host = host
        self.doc: Doc = Doc(client_id=Client._next_id)  # type: ignore[type-arg]
        self.text = self.doc.get("t", type=Text)
        self.is_full = False
        self.messages: list[sync.Message] = []
        self.closed: list[PeerError] = []

    def send(self, frame: Frame) -> None:
        message = sync.decode(frame.data)
        self.messages.append(message)
        if isinstance(message, sync.Update | sync.SyncStep2):
            self.doc.apply_update(message.update)

    def close(self, error: PeerError) -> None:
        self.closed.append(error)
        self.host.detach(self, goodbye=False)

    def catch_up(self) -> None:
        self.host.receive_step1(self, self.doc.get_state())

    def write(self, text: str) -> bytes:
        """Append to the text, and send that edit."""
        before = self.doc.get_state()
        self.text += text
        update = self.doc.get_update(before)
        self.host.receive_update(self, update)
        return update

    def ask(self, question: bytes) -> None:
        self.host.receive_sync_status(self, question)

    def got(self, kind: type) -> list[sync.Message]:
        return [message for message in self.messages if isinstance(message, kind)]

    @property
    def answers(self) -> list[bytes]:
        return [message.payload for message in self.messages if isinstance(message, sync.SyncStatus)]


@asynccontextmanager
async def house(
    settings: HostingSettings | None = None,
    journal_settings: JournalSettings | None = None,
    room_settings: RoomSettings | None = None,
    store: FaultyStore | None = None,
    clock: Callable[[], float] | None = None,
    history_settings: HistorySettings | None = None,
    replica: FaultyStore | None = None,
) -> AsyncIterator[House]:
    settings = settings or HostingSettings()
    store = store or FaultyStore(MemoryStore())
    await store.open()
    metrics = Metrics()
    wall_clock = WallClock()
    history_settings = history_settings or HistorySettings(settle_timeout_s=2)
    loop = asyncio.get_running_loop()
    journal = Journal(
        store,
        journal_settings or JournalSettings(retry_min_ms=1, retry_max_ms=2),
        metrics,
        clock=clock or loop.time,
        random=lambda: 0.5,
    )
    compactor = Compactor(store, InPlace(), DEFAULT_BOUNDS, settings, metrics, history_settings)
    registry = Registry(
        store,
        journal,
        compactor,
        settings,
        room_settings or RoomSettings(),
        DEFAULT_BOUNDS,
        metrics,
        wall_clock_ms=wall_clock,
    )
    tasks = [asyncio.create_task(journal.run()), asyncio.create_task(compactor.run())]
    documents = Documents(store, registry, InPlace().run)
    history = History(
        store,
        registry,
        journal,
        compactor,
        InPlace(),
        InPlace(),
        history_settings,
        replica=replica,
        wall_clock_ms=wall_clock,
        random=lambda: 0.5,
    )
    archives = Archives(
        store,
        history,
        InPlace(),
        history_settings,
        ArchiveBounds(1024 * 1024, 512, DEFAULT_BOUNDS),
        replica=replica,
        wall_clock_ms=wall_clock,
    )
    try:
        yield House(
            store, journal, compactor, registry, documents, settings, metrics, history, archives, wall_clock
        )
    finally:
        store.heal()
        await registry.drain()
        await registry.close()
        journal.close()
        await asyncio.wait_for(tasks[0], 10)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


async def until(condition: Callable[[], object], timeout_s: float = 5) -> None:
    """Let the loop run until something holds; the time is a limit and no measure."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is not ours to signal
            await asyncio.sleep(0.001)


async def is_compacted(store: FaultyStore, room: str) -> bool:
    """Whether the store holds a snapshot of the room."""
    stored = await store.load(room)
    return stored is not None and stored.snapshot is not None


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float = 5) -> None:
    """The same as ``until`` for what has to be waited for itself."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 - as in ``until``
            await asyncio.sleep(0.001)


async def stored_text(store: FaultyStore, room: str) -> str:
    """The text ``t`` of what the store holds."""
    stored = await store.load(room)
    doc: Doc = Doc()  # type: ignore[type-arg]
    text = doc.get("t", type=Text)
    if stored is not None:
        if stored.snapshot is not None:
            doc.apply_update(stored.snapshot.data)
        for row in stored.updates:
            doc.apply_update(row.data)
    return str(text)
