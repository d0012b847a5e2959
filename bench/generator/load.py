"""The share of a run that one generator process carries: its rooms, its members, and their schedule."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError
from bench.generator.checking import Content
from bench.generator.dialects import RoomDialect, dialect_for
from bench.generator.edits import seed_updates
from bench.generator.ledger import RoomBooks
from bench.generator.member import Connection, Member
from bench.generator.pacer import Pacer
from bench.generator.replay import Part, Session, prepare, read_session
from bench.generator.sources import allow_files, open_socket, source_address
from bench.generator.tally import Tally
from bench.generator.visitor import Visitor, fill, leave, reach, read_document
from bench.profile import Cumulative, arrivals, client_lines, presence, rate_lines, stage_starts
from bench.scenario import Scenario
from bench.target import Dialect, Target, address_of, is_loopback

SETTLE_POLL_S: Final = 0.05
_LEAVE_POLL_S: Final = 0.1
_LOOP_LAG_EVERY_S: Final = 0.02
_SEED_CLIENT: Final = 4_000_000_000
_SEED_UPDATE_BYTES: Final = 256 * 1024
_FILLING_AT_ONCE: Final = 8
_REPLICAS_MIN: Final = 4
"""Replicas of a room that are compared, whatever it costs."""
_COMPLAINTS_MAX: Final = 5
_SHARED_UPDATES_MAX: Final = 3
_BYTES_PER_WORK: Final = 64


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of the run is ours."""

    index: int
    """The number of this process, among all of the run."""
    count: int
    run_id: str
    room_prefix: str
    check_replicas_max: int
    """Replicas of this process that are compared at the end."""
    check_work_max: int = 400_000
    """Updates that the comparison applies, all replicas together, a large one counting for several: 10 us
    each. Past it only some replicas of a room are compared."""
    keep_bytes_max: int = 4 * 1024 * 1024
    """Longer messages are counted and not kept."""
    process: int = 0
    """The number of this process on its machine; decides on its source addresses."""


class Load:
    """Make it, ``prepare``, ``run``, ``finish``."""

    def __init__(self, scenario: Scenario, target: Target, share: Share) -> None:
        self.scenario = scenario
        self.target = target
        self.share = share
        self.seed = f"{scenario.seed}-{share.index}"
        self.query = target.query
        self.tally = Tally()
        self.start = 0.0
        """``time.monotonic()`` of the beginning of the first stage."""
        self.is_over = False
        self.connected = 0
        self.lost = 0
        self.leaving: dict[Member, float] = {}
        """Who goes as soon as it has got everything, and when its patience ends."""
        self.rooms: list[RoomBooks] = []
        self.members: list[Member] = []
        self.by_room: list[list[Member]] = []
        self._stage_starts = stage_starts(scenario.stages)
        self._addresses = [address_of(url) for url in target.urls]
        self._connecting: set[asyncio.Task[None]] = set()
        self._seeds: list[bytes] = []
        self._hosts: list[Visitor] = []
        loop = asyncio.get_running_loop()
        self._loop = loop
        self.pacer = Pacer(loop, self.tally)

    # -- before the run

    async def prepare(self) -> None:
        """Make rooms and members, check the limits of the system, fill the rooms.

        Raises:
            BenchError: It cannot be done.
        """
        scenario, share = self.scenario, self.share
        document = scenario.document
        if document is not None and document.bytes and self.target.dialect is Dialect.RELAY:
            raise BenchError("a bare relay has no documents: this scenario needs a server")
        session = self._session()
        mine = range(share.index, scenario.rooms, share.count)
        allow_files(len(mine) * -(-scenario.clients // scenario.rooms))
        for url in self.target.urls:
            await reach(url)
        check_every = max(1, -(-len(mine) * scenario.clients_per_room // max(1, share.check_replicas_max)))
        for at, room in enumerate(mine):
            self._make_room(room, session, is_checked=at % check_every == 0 and share.check_replicas_max > 0)
        if document is not None and document.bytes:
            self._seeds = seed_updates(
                _SEED_CLIENT, scenario.roots[0], document.bytes, document.piece_chars, _SEED_UPDATE_BYTES
            )
            await self._fill_rooms(keeps_open=not document.rest_s)
            await asyncio.sleep(document.rest_s)
        self._schedule(session)

    def _session(self) -> Session | None:
        edits = self.scenario.edits
        if edits is None or not edits.replay:
            return None
        return prepare(read_session(Path(edits.replay)), edits.timing, edits.gap_max_s)

    def _make_room(self, number: int, session: Session | None, *, is_checked: bool) -> None:
        scenario, share = self.scenario, self.share
        name = f"{share.room_prefix}-{share.run_id}-{number}"
        room = RoomBooks(name, dialect_for(self.target.dialect, name), is_checked=is_checked)
        ranks = range(number, scenario.clients, scenario.rooms)
        dice = random.Random(f"{scenario.seed}-room-{number}")  # noqa: S311 - a schedule, not a secret
        ids = dice.sample(range(1, _SEED_CLIENT), len(ranks))
        members = [Member(self, room, at, rank, ids[at]) for at, rank in enumerate(ranks)]
        root = scenario.roots[0]
        if session is not None:
            for member, person in zip(members, range(len(session.clients)), strict=False):
                member.writes(root, Part(session, person))
        elif scenario.edits is not None or scenario.pastes is not None:
            writers = max(
                _at_least_one(scenario.edits.writers, len(members)) if scenario.edits else 0,
                _at_least_one(scenario.pastes.writers, len(members)) if scenario.pastes else 0,
            )
            for member in members[:writers]:
                member.writes(root, None)
        if scenario.cursors is not None:
            movers = _at_least_one(scenario.cursors.clients, len(members))
            for member in members if scenario.cursors.presence else members[:movers]:
                member.cursor = room.add_cursor(member.client)
        self.rooms.append(room)
        self.members += members
        self.by_room.append(members)

    async def _fill_rooms(self, *, keeps_open: bool) -> None:
        """Write the document into all rooms, some at a time.

        A server that keeps rooms in memory only forgets one that nobody is in: somebody stays until the first
        stage is over.
        """
        gate = asyncio.Semaphore(_FILLING_AT_ONCE)

        async def fill_one(room: RoomBooks) -> None:
            async with gate:
                visitor = await fill(self.target.urls[0], self.query, room.dialect, self._seeds)
                if keeps_open:
                    self._hosts.append(visitor)
                else:
                    await leave(visitor)

        await asyncio.gather(*(fill_one(room) for room in self.rooms))

    def _schedule(self, session: Session | None) -> None:
        scenario = self.scenario
        clients, rates = client_lines(scenario.stages), rate_lines(scenario.stages)
        end_s = scenario.duration_s
        for member in self.members:
            for come_s, leave_s in presence(clients, member.rank, scenario.clients):
                self.pacer.once(come_s, member.come)
                if leave_s < end_s:
                    self.pacer.once(leave_s, member.leave)
        for members in self.by_room:
            self._schedule_room(members, rates, session)
        self._schedule_cuts()
        self.pacer.add(iter((scenario.stages[0].duration_s,)), self._dismiss_hosts, is_timed=False)

    def _dismiss_hosts(self, _due_s: float) -> None:
        for visitor in self._hosts:
            visitor.close()
        self._hosts.clear()

    def _schedule_room(self, members: list[Member], rates: Any, session: Session | None) -> None:
        scenario = self.scenario
        edits, cursors, pastes = scenario.edits, scenario.cursors, scenario.pastes
        size = len(members)
        if edits is not None and session is not None:
            whole = Cumulative(rates, edits.rate_per_s * len(session.clients))
            for person, member in enumerate(members[: len(session.clients)]):
                self._follow(iter(Part(session, person).times(whole)), member.play)
        elif edits is not None and edits.rate_per_s:
            each = Cumulative(rates, edits.rate_per_s)
            for member in members[: _at_least_one(edits.writers, size)]:
                dice = _dice(scenario.seed, member.rank, "edits")
                times = arrivals(
                    each, edits.arrival, dice,
                    burst_messages=edits.burst_messages, burst_rate_per_s=edits.burst_rate_per_s,
                )  # fmt: skip
                self._follow(times, member.edit)
        if pastes is not None and pastes.rate_per_s:
            each = Cumulative(rates, pastes.rate_per_s)
            for member in members[: _at_least_one(pastes.writers, size)]:
                dice = _dice(scenario.seed, member.rank, "pastes")
                self._follow(arrivals(each, pastes.arrival, dice), member.paste)
        if cursors is None:
            return
        movers = _at_least_one(cursors.clients, size) if cursors.rate_per_s else 0
        each = Cumulative(rates, cursors.rate_per_s)
        for at, member in enumerate(members):
            dice = _dice(scenario.seed, member.rank, "cursors")
            if at < movers:
                times = arrivals(
                    each, cursors.arrival, dice,
                    burst_messages=cursors.burst_messages, burst_rate_per_s=cursors.burst_rate_per_s,
                )  # fmt: skip
                self._follow(times, member.move_cursor)
            if member.cursor is not None:
                first_s = dice.uniform(0, cursors.renew_s)
                self._follow(itertools.count(first_s, cursors.renew_s), member.renew)

    def _schedule_cuts(self) -> None:
        scenario = self.scenario
        reconnects = scenario.reconnects
        pause_s = 1.0 if reconnects is None else reconnects.pause_s
        for stage, begin_s in zip(scenario.stages, self._stage_starts, strict=False):
            if stage.cut:
                for member in self.members:
                    dice = _dice(scenario.seed, member.rank, f"cut-{begin_s}")
                    if dice.random() < stage.cut:
                        self._cut_at(iter((begin_s,)), member, pause_s, dice)
        if reconnects is not None and reconnects.rate_per_s:
            each = Cumulative(rate_lines(scenario.stages), reconnects.rate_per_s)
            for member in self.members:
                dice = _dice(scenario.seed, member.rank, "reconnects")
                gaps = _poisson(each, dice)
                self._cut_at(gaps, member, pause_s, dice)

    def _cut_at(self, times: Iterator[float], member: Member, pause_s: float, dice: random.Random) -> None:
        def cut(due_s: float) -> None:
            member.cut(pause_s * dice.uniform(0.5, 1.5), due_s)

        self._follow(times, cut, is_timed=False)  # all at once, when a stage begins with it

    def _follow(self, times: Iterator[float], act: Callable[[float], None], *, is_timed: bool = True) -> None:
        """Follow a schedule to the end of the stages."""
        end_s = self.scenario.duration_s
        self.pacer.add(itertools.takewhile(lambda at_s: at_s < end_s, times), act, is_timed=is_timed)

    # -- the run

    async def run(self, start: float, stopped: asyncio.Event) -> None:
        """Carry the load from ``start`` on, until the stages are over or ``stopped``."""
        self.start = start
        self.pacer.start(start)
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(self._watch_loop())
            leaver = tasks.create_task(self._let_leave())
            try:
                async with asyncio.timeout_at(
                    self._loop.time() + start - time.monotonic() + self.scenario.duration_s
                ):
                    await stopped.wait()
            except TimeoutError:
                pass
            watcher.cancel()
            leaver.cancel()

    def stage_at(self, due_s: float) -> int:
        """The number of the stage in which something was due."""
        return min(bisect.bisect_right(self._stage_starts, due_s), len(self.scenario.stages)) - 1

    async def _watch_loop(self) -> None:
        """How late this loop runs what is to be run: what a receiver's time stamp is late by, at worst."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LOOP_LAG_EVERY_S)
            self.tally.time("loop_lag", max(0.0, time.monotonic() - before - _LOOP_LAG_EVERY_S))

    async def _let_leave(self) -> None:
        while True:
            await asyncio.sleep(_LEAVE_POLL_S)
            now = time.monotonic()
            for member, deadline in list(self.leaving.items()):
                if member.try_to_leave(must=now > deadline):
                    self.leaving.pop(member, None)

    def address(self, member: Member) -> tuple[str, int, str]:
        """Host, port and path for a member."""
        return self._addresses[member.number % len(self._addresses)]

    def connect(self, member: Member) -> None:
        """Open a connection for a member."""
        task = self._loop.create_task(self._connect(member))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, member: Member) -> None:
        host, port, _ = self.address(member)
        source = None
        if is_loopback(host):
            source = source_address(self.share.process, member.rank // self.share.count)
        # The first of a room keep what they get, whatever its size: they are compared.
        connection = Connection(member, self.share.keep_bytes_max if member.number >= 2 else 1 << 62)
        try:
            sock = open_socket(source)
            try:
                await self._loop.sock_connect(sock, (host, port))
                member.connection = connection
                await self._loop.create_connection(lambda: connection, sock=sock)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            member.connection = None
            member.failed_to_connect(error)

    # -- after the run

    async def settle(self) -> None:
        """Wait until everybody has got everything, or patience ends."""
        deadline = time.monotonic() + self.scenario.settle_s
        while time.monotonic() < deadline:
            for member in list(self.leaving):
                if member.try_to_leave(must=False):
                    self.leaving.pop(member, None)
            waiting = any(member.is_present and not member.is_synced for member in self.members)
            if not waiting and not self.leaving and not self._lacking():
                break
            await asyncio.sleep(SETTLE_POLL_S)

    def _lacking(self) -> bool:
        for members in self.by_room:
            present = {member.client for member in members if member.is_present}
            for member in members:
                if member.is_present and (member.lacks() or self._lacks_states(member, present)):
                    return True
        return False

    def _lacks_states(self, member: Member, present: set[int]) -> int:
        if not member.room.cursors or member.knowledge is None:
            return 0
        return member.knowledge.lacks_states(member.cursor, present)

    async def finish(self) -> dict[str, Any]:
        """Close the books, compare the replicas, and go."""
        self.is_over = True
        self.pacer.stop()
        self._dismiss_hosts(0.0)
        for member in list(self.leaving):
            member.try_to_leave(must=True)
        awareness_lost = absent = 0
        for members in self.by_room:
            present = {member.client for member in members if member.is_present}
            for member in members:
                if member.is_present:
                    self.lost += member.lacks()
                    awareness_lost += self._lacks_states(member, present)
                    absent += not member.is_synced
        compared, unconverged, complaints = await self._compare()
        for member in self.members:
            if member.connection is not None:
                self.tally.bytes_received += member.connection.bytes_received
                member.connection.member = None
                member.connection.close()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        await asyncio.sleep(0.05)
        return {
            "lost": self.lost,
            "awareness_lost": awareness_lost,
            "absent": absent,
            "replicas_compared": compared,
            "unconverged": unconverged,
            "complaints": {**self.tally.complaints, **complaints},
        }

    async def _compare(self) -> tuple[int, int, dict[str, int]]:
        """How many replicas were compared, how many are not what was written, and which."""
        compared = unconverged = 0
        complaints: dict[str, int] = {}
        budget = self.share.check_work_max
        for room, members in zip(self.rooms, self.by_room, strict=True):
            if not room.is_checked or not (room.authors or self._seeds):
                continue
            if budget <= 0:
                break
            truth = [*self._seeds, *(update for _, update in room.written)]
            replicas: list[tuple[str, list[bytes]]] = [("what was written", truth)]
            newcomer = await self._newcomer(room.dialect)
            if newcomer is not None:
                replicas.append(("a newcomer", [newcomer]))
            replicas += [
                (f"client {member.rank}", [*member.received_updates, *member.own_updates()])
                for member in members
                if member.is_present and member.received_updates is not None and member.is_synced
            ]
            contents = _Contents(self.scenario.roots)
            wanted = contents.of(truth)
            for number, (who, updates) in enumerate(replicas[1:]):
                if contents.work > budget and number >= _REPLICAS_MIN:
                    break
                compared += 1
                if contents.of(updates) != wanted:
                    unconverged += 1
                    if len(complaints) < _COMPLAINTS_MAX:
                        complaints[f"{who} of room {room.name} holds another document"] = 1
                await asyncio.sleep(0)
            budget -= contents.work
        return compared, unconverged, complaints

    async def _newcomer(self, dialect: RoomDialect) -> bytes | None:
        if not dialect.has_server_document:
            return None
        try:
            return await read_document(self.target.urls[0], self.query, dialect)
        except OSError:
            return b"\x00\x00"  # no document is another document


class _Contents:
    """The contents of replicas. Those that got the very same bytes, as many joiners do, are one."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        self._known: dict[tuple[int, ...], Content | None] = {}
        self.work = 0

    def of(self, updates: list[bytes]) -> Content | None:
        """The content; None when it cannot be read."""
        if len(updates) > _SHARED_UPDATES_MAX:
            return self._build(updates)
        key = tuple(id(update) for update in updates)
        if key not in self._known:
            self._known[key] = self._build(updates)
        return self._known[key]

    def _build(self, updates: list[bytes]) -> Content | None:
        self.work += len(updates) + sum(len(update) for update in updates) // _BYTES_PER_WORK
        try:
            return Content.of(updates, self._roots)
        except ValueError:
            return None


def _at_least_one(share: float, count: int) -> int:
    return min(count, max(1, round(share * count))) if share > 0 else 0


def _dice(seed: int, rank: int, purpose: str) -> random.Random:
    return random.Random(f"{seed}-{rank}-{purpose}")  # noqa: S311 - a schedule, not a secret


def _poisson(cumulative: Cumulative, dice: random.Random) -> Iterator[float]:
    count = dice.expovariate(1.0)
    while (at_s := cumulative.time_at(count)) is not None:
        yield at_s
        count += dice.expovariate(1.0)
