"""Through whole nodes, for ``bench.bus``: what the way to another node adds to the way to a neighbour.

In each room somebody types on the first node, and somebody reads on each node. Every edit is timed twice: at
the reader on the author's own node, and at that on another. The difference is what the hop adds, of the same
edit and in the same moment, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import statistics
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.busload import ROOM_RATE_PER_S, Server
from bench.errors import BenchError
from bench.generator.dialects import EMPTY_STATE_VECTOR, EMPTY_UPDATE, STEP_1, STEP_2, UPDATE, PlainDialect
from bench.generator.edits import Typist
from bench.generator.pacer import Alarm
from bench.generator.updates import walk
from bench.generator.websocket import WebSocketClient
from bench.offered import percentile
from bench.processes import cpu_s

CONNECT_AT_ONCE = 64
_CONNECT_LIMIT_S = 60.0
_SETTLE_S = 3.0
"""How long after a run edits may still come before they count as lost."""
_TURN_MAX = 16
"""Edits written in one turn of the generator; then it reads again."""
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Node:
    """A server process."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Hop:
    """What one run came to. CPU times are of one edit, without what the node uses when nothing happens."""

    nodes: int
    per_s: int
    same_p50_ms: float
    same_p99_ms: float
    hop_p50_ms: float
    hop_p99_ms: float
    added_p50_ms: float
    added_p99_ms: float
    sender_us: float
    receiver_us: float
    redis_us: float
    lost: int
    lag_p99_ms: float
    """How late the generator itself was."""

    @property
    def holds(self) -> bool:
        """Whether nodes and generator kept up."""
        return self.lost == 0 and self.hop_p99_ms < 50 and self.lag_p99_ms < 20


def median(hops: Sequence[Hop]) -> Hop:
    """The median of each figure over repeated runs."""
    columns = zip(*(dataclasses.astuple(hop) for hop in hops), strict=True)
    return Hop(*(statistics.median(column) for column in columns))


class _Client(WebSocketClient):
    """Somebody in a room."""

    __slots__ = ("_dialect", "arrivals", "closed", "port", "synced")

    def __init__(self, port: int, room: str) -> None:
        super().__init__()
        self.port = port
        self._dialect = PlainDialect(room)
        self.arrivals: array[float] = array("d")
        """When each clock of the room's only author came."""
        self.synced = asyncio.get_running_loop().create_future()
        self.closed: int | None = None

    def request_target(self) -> tuple[str, str]:
        """Where the room is."""
        return f"127.0.0.1:{self.port}", self._dialect.target("", "")

    def on_open(self) -> None:
        """Ask for the document."""
        self.send(self._dialect.step1(EMPTY_STATE_VECTOR))

    def on_message(self, message: bytes) -> None:
        """Note the time of each edit that is new."""
        kind, payload = self._dialect.read(message)
        if kind == STEP_1:
            self.send(self._dialect.step2(EMPTY_UPDATE))
            return
        if kind in {UPDATE, STEP_2}:
            now, arrivals = time.monotonic(), self.arrivals
            for _, _, end in walk(payload).ranges:
                arrivals.extend([now] * (end - len(arrivals)))
        if kind == STEP_2 and not self.synced.done():
            self.synced.set_result(None)

    def on_closed(self, code: int) -> None:
        """The server has sent us away."""
        self.closed = code
        if not self.synced.done():
            self.synced.set_exception(BenchError(f"a node ended a connection with {code}"))


class _Room:
    """An author and a reader on the first node, and a reader on each other one."""

    def __init__(self, name: str, nodes: Sequence[Node], dice: random.Random) -> None:
        self._typist = Typist(dice.getrandbits(31), "notes", dice)
        self._dialect = PlainDialect(name)
        self.author = _Client(nodes[0].port, name)
        self.readers = [_Client(node.port, name) for node in nodes]
        self.sent_at: array[float] = array("d")

    @property
    def clients(self) -> list[_Client]:
        """All of them."""
        return [self.author, *self.readers]

    def type(self) -> None:
        """One letter."""
        edit = self._typist.insert(1)
        self.sent_at.append(time.monotonic())
        self.author.send(self._dialect.update(edit.update))


class Crowd:
    """The people of some rooms on some nodes. They stay connected between runs."""

    def __init__(self, name: str, nodes: Sequence[Node], server: Server, per_s: int) -> None:
        """So many rooms as ``per_s`` needs."""
        dice = random.Random(name)  # noqa: S311 - the same clients in each run
        self._nodes = nodes
        self._server = server
        count = max(1, per_s // ROOM_RATE_PER_S)
        self._rooms = [_Room(f"bench-{name}-{number}", nodes, dice) for number in range(count)]
        self._idle_s = [0.0 for _ in nodes]
        """CPU time that each node uses in a second when nothing happens."""

    async def connect(self) -> None:
        """Connect everybody, some at a time.

        Raises:
            BenchError: A node will not have them.
        """
        loop = asyncio.get_running_loop()
        clients = [client for room in self._rooms for client in room.clients]
        try:
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                for start in range(0, len(clients), CONNECT_AT_ONCE):
                    group = clients[start : start + CONNECT_AT_ONCE]
                    for client in group:
                        await loop.create_connection(lambda one=client: one, "127.0.0.1", client.port)  # type: ignore[misc]
                    await asyncio.gather(*(client.synced for client in group))
        except (OSError, TimeoutError) as error:
            raise BenchError(f"clients cannot connect: {error or 'it takes too long'}") from error

    def close(self) -> None:
        """Let everybody go."""
        for room in self._rooms:
            for client in room.clients:
                client.close()

    def learn_idle(self, seconds: float, used_s: Sequence[float]) -> None:
        """What the nodes used while nothing happened."""
        self._idle_s = [used / seconds for used in used_s]

    def used_s(self) -> list[float]:
        """CPU time that each node has used."""
        return [process_s(node.pid) for node in self._nodes]

    async def measure(self, per_s: int, seconds: float) -> Hop:
        """One run."""
        firsts = [len(room.sent_at) for room in self._rooms]
        used_before, redis_before, began = self.used_s(), self._server.cpu_s(), time.monotonic()
        lags_s = await self._type(per_s, seconds)
        lost = await self._arrived()
        passed_s = time.monotonic() - began
        for room in self._rooms:
            for client in room.clients:
                if client.closed is not None:
                    raise BenchError(f"a node has ended a connection with {client.closed}")
        used = [
            after - before - idle * passed_s
            for before, after, idle in zip(used_before, self.used_s(), self._idle_s, strict=True)
        ]
        redis_s = self._server.cpu_s() - redis_before
        return self._sum_up(per_s, firsts, lags_s, lost, used, redis_s)

    async def _type(self, per_s: int, seconds: float) -> list[float]:
        """Each edit when it is due; by how much each was late."""
        loop, rooms = asyncio.get_running_loop(), self._rooms
        count, start = int(per_s * seconds), time.monotonic() + 0.05
        over: asyncio.Future[None] = loop.create_future()
        lags_s: list[float] = []

        def turn() -> None:
            for _ in range(_TURN_MAX):
                number = len(lags_s)
                if number == count:
                    over.set_result(None)
                    return
                lag_s = time.monotonic() - start - number / per_s
                if lag_s < 0:
                    alarm.set(start + number / per_s)
                    return
                lags_s.append(lag_s)
                rooms[number % len(rooms)].type()
            loop.call_soon(turn)

        alarm = Alarm(loop, turn)
        alarm.set(start)
        await over
        alarm.close()
        return lags_s

    async def _arrived(self) -> int:
        """Wait until everything has come everywhere; how much has not."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            missing = sum(
                max(0, len(room.sent_at) - len(reader.arrivals))
                for room in self._rooms
                for reader in room.readers
            )
            if not missing or time.monotonic() > deadline:
                return missing
            await asyncio.sleep(_POLL_S)

    def _sum_up(
        self,
        per_s: int,
        firsts: Sequence[int],
        lags_s: Sequence[float],
        lost: int,
        used_s: Sequence[float],
        redis_s: float,
    ) -> Hop:
        same: list[float] = []
        hops: list[float] = []
        added: list[float] = []
        for room, first in zip(self._rooms, firsts, strict=True):
            here, *elsewhere = (reader.arrivals for reader in room.readers)
            for number in range(first, min(len(room.sent_at), len(here))):
                same.append(here[number] - room.sent_at[number])
                for there in elsewhere:
                    if number < len(there):
                        hops.append(there[number] - room.sent_at[number])
                        added.append(there[number] - here[number])
        for times in (same, hops, added):
            times.sort()
        count = len(lags_s)

        def at(times: Sequence[float], share: float) -> float:
            return percentile(times, share) * 1000 if times else 0.0

        return Hop(
            nodes=len(self._nodes),
            per_s=per_s,
            same_p50_ms=at(same, 0.5),
            same_p99_ms=at(same, 0.99),
            hop_p50_ms=at(hops, 0.5),
            hop_p99_ms=at(hops, 0.99),
            added_p50_ms=at(added, 0.5),
            added_p99_ms=at(added, 0.99),
            sender_us=used_s[0] / count * 1e6,
            receiver_us=statistics.fmean(used_s[1:]) / count * 1e6 if len(used_s) > 1 else 0.0,
            redis_us=redis_s / count * 1e6,
            lost=lost,
            lag_p99_ms=at(sorted(lags_s), 0.99),
        )


def process_s(pid: int) -> float:
    """CPU time of all threads of a process: to the nanosecond where the kernel says it, else in ticks."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, IndexError):
        return cpu_s(pid)
