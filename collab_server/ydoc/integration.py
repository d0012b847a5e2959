"""Put structs behind each other in the order that causality asks for.

A struct can be taken in when the one before it of the same client is there, and its origin, right origin and
parent as well (yjs ``Item.getMissing``). Each client is advanced as far as it goes; when it needs another one
it is set aside until that one has come far enough. So the work is linear in the structs, whatever order they
come in.

One ``Integration`` is one attempt. Nothing that the document holds is changed before ``commit``, except
depths, which ``undo`` takes back.
"""

from __future__ import annotations

from heapq import heappop, heappush

from collab_server.errors import MalformedError
from collab_server.ydoc.content import GC, SKIP, TYPE
from collab_server.ydoc.idset import IdSet
from collab_server.ydoc.inspection import Inspected
from collab_server.ydoc.pending import RUN_OVERHEAD_BYTES, Pending, Run
from collab_server.ydoc.pieces import Chunk, ClientPieces
from collab_server.ydoc.structs import NOBODY, Struct, cut, read_struct, read_structs


class _Lane:
    """The runs of the update and the pending ones of one client, and where we stand in them."""

    __slots__ = ("arrived", "arrived_next", "at", "clock", "from_pending", "run", "waiting", "waiting_next")

    def __init__(self, arrived: list[Run], waiting: list[Run]) -> None:
        self.arrived = arrived
        self.arrived_next = 0
        self.waiting = waiting
        self.waiting_next = 0
        self.run: Run | None = None
        self.from_pending = False
        self.at = 0
        self.clock = 0

    def first_clock(self) -> int | None:
        """Where the next run begins; None when there is none."""
        arrived = self.arrived[self.arrived_next].clock if self.arrived_next < len(self.arrived) else None
        if self.waiting_next < len(self.waiting):
            waiting = self.waiting[self.waiting_next].clock
            if arrived is None or waiting < arrived:
                return waiting
        return arrived

    def take(self) -> Run:
        """Stand at the beginning of the next run."""
        first = self.first_clock()
        if self.arrived_next < len(self.arrived) and self.arrived[self.arrived_next].clock == first:
            run = self.arrived[self.arrived_next]
            self.arrived_next += 1
            self.from_pending = False
        else:
            run = self.waiting[self.waiting_next]
            self.waiting_next += 1
            self.from_pending = True
        self.run = run
        self.at = run.at
        self.clock = run.clock
        return run

    def rest(self) -> Run | None:
        """What is left of the run in which we stand."""
        run = self.run
        return None if run is None else Run(run.client, self.clock, run.end, run.data, self.at, run.until)


class Integration:
    """One attempt to bring runs of structs into a document."""

    def __init__(
        self,
        pieces: dict[int, ClientPieces],
        vector: dict[int, int],
        pending: Pending,
        depth_max: int,
        trusted: bool,
    ) -> None:
        self._pieces = pieces
        self._vector = vector
        self._pending = pending
        self._depth_max = depth_max
        self._trusted = trusted
        self._new_pieces: dict[int, ClientPieces] = {}
        self._depths_before: dict[int, tuple[int, int]] = {}
        self._lanes: dict[int, _Lane] = {}
        self._arrived: dict[int, list[Run]] = {}
        self._waits: dict[int, list[tuple[int, int]]] = {}
        self._blocked: dict[int, tuple[int, int]] = {}
        self.ends: dict[int, int] = {}
        """The clocks that were reached, of clients that came further."""
        self.chunks: dict[int, list[Chunk]] = {}
        """What was taken in."""
        self.whole = True
        """Whether every struct that arrived was taken in as it was."""
        self.released = False
        """Whether structs that were pending have been taken in."""
        self.left: list[Run] = []
        """What arrived, cannot be taken in yet, and was not pending before."""

    def run(self, arrived: list[Run]) -> None:
        """Take in what can be taken in.

        Raises:
            MalformedError: Something that arrived hangs too deep. Call ``undo`` then.
        """
        for run in arrived:
            self._arrived.setdefault(run.client, []).append(run)
        for runs in self._arrived.values():
            runs.sort()
        work = sorted(self._arrived)
        while work:
            client = work.pop()
            before = self._end(client)
            self._advance(client)
            after = self._end(client)
            if after > before:
                work.extend(self._freed(client, after))
        self._gather_left()

    def undo(self) -> None:
        """Take back what the document already shows of this attempt."""
        for client, (count, last) in self._depths_before.items():
            pieces = self._pieces.get(client)
            if pieces is not None:
                del pieces.depths[count:]
                del pieces.depth_clocks[count:]
                if count:
                    pieces.depths[-1] = last

    def weight_left(self) -> int:
        """What pending structs will weigh more, or less, after ``commit``, in bytes."""
        weight = sum(run.size + RUN_OVERHEAD_BYTES for run in self.left)
        for lane in self._lanes.values():
            weight -= sum(run.size + RUN_OVERHEAD_BYTES for run in lane.waiting[: lane.waiting_next])
            rest = lane.rest() if lane.from_pending else None
            if rest is not None:
                weight += rest.size + RUN_OVERHEAD_BYTES
        return weight

    def commit(self) -> None:
        """Make the document hold what was taken in, and keep the rest as pending."""
        self._pieces.update(self._new_pieces)
        self._vector.update(self.ends)
        pending = self._pending
        for client, lane in self._lanes.items():
            pending.release(client, lane.waiting_next, lane.rest() if lane.from_pending else None)
        for run in self.left:
            pending.insert(run)
        for client in self._lanes:
            runs = pending.runs.get(client)
            if not runs:
                continue
            on, clock = self._blocked.get(client, (client, runs[0].clock))
            pending.block(client, on, clock)

    def _end(self, client: int) -> int:
        end = self.ends.get(client)
        return self._vector.get(client, 0) if end is None else end

    def _freed(self, client: int, end: int) -> list[int]:
        """Who can go on, now that ``client`` has come to ``end``."""
        freed = [who for who in self._pending.waiting_for(client, end) if who not in self._lanes]
        waits = self._waits.get(client)
        while waits and waits[0][0] <= end:
            clock, who = heappop(waits)
            if self._blocked.get(who) == (client, clock):
                del self._blocked[who]
                freed.append(who)
        return freed

    def _advance(self, client: int) -> None:
        """Take in a client's structs up to the first one that must wait."""
        lane = self._lanes.get(client)
        if lane is None:
            lane = _Lane(self._arrived.get(client, []), self._pending.runs.get(client, []))
            self._lanes[client] = lane
        end = self._end(client)
        while True:
            run = lane.run
            if run is None:
                first = lane.first_clock()
                if first is None:
                    break
                if first > end:
                    self._block(client, client, first)
                    break
                run = lane.take()
                if run.end <= end:
                    lane.run = None
                    self.whole = False
                    continue
            end = self._take_run(client, lane, run, end)
            if lane.run is not None:
                break
        if end > self._end(client):
            self.ends[client] = end

    def _take_run(self, client: int, lane: _Lane, run: Run, end: int) -> int:
        """Take in one run from where we stand; the clock that was reached."""
        data, until = run.data, run.until
        while lane.at < until:
            struct = read_struct(data, lane.at, lane.clock)
            if struct.end > end:
                missing = self._missing(struct, client)
                if missing is not None:
                    self._block(client, *missing)
                    return end
                following = struct.until
                if struct.clock < end:
                    struct = cut(struct, client, end, struct.end)
                    self.whole = False
                if not self._place(struct, client, lane.from_pending):
                    self.whole = False
                    break
                if lane.from_pending:
                    self.released = True
                self._keep(client, struct)
                end = struct.end
                lane.at = following
            else:
                self.whole = False
                lane.at = struct.until
            lane.clock = struct.end
        lane.run = None
        return end

    def _missing(self, struct: Struct, client: int) -> tuple[int, int] | None:
        """The client and the clock that a struct waits for, if any."""
        other = struct.origin_client
        if other not in (NOBODY, client) and struct.origin_clock >= self._end(other):
            return other, struct.origin_clock + 1
        other = struct.right_client
        if other not in (NOBODY, client) and struct.right_clock >= self._end(other):
            return other, struct.right_clock + 1
        other = struct.parent_client
        if other not in (NOBODY, client) and struct.parent_clock >= self._end(other):
            return other, struct.parent_clock + 1
        return None

    def _block(self, client: int, on: int, clock: int) -> None:
        self._blocked[client] = (on, clock)
        heappush(self._waits.setdefault(on, []), (clock, client))

    def _pieces_of(self, client: int) -> ClientPieces:
        pieces = self._pieces.get(client) or self._new_pieces.get(client)
        if pieces is None:
            pieces = self._new_pieces[client] = ClientPieces(client)
        return pieces

    def _place(self, struct: Struct, client: int, from_pending: bool) -> bool:
        """Note how deep a struct hangs; False if it must be dropped.

        That is so when it hangs too deep and whoever sent it is not here to blame.
        """
        pieces = self._pieces_of(client)
        if struct.ref == GC:
            return True
        if struct.origin_client != NOBODY:
            if (
                struct.origin_client == client
                and struct.origin_clock == struct.clock - 1
                and struct.ref != TYPE
            ):
                return True
            depth = self._pieces_of(struct.origin_client).depth_at(struct.origin_clock)
        elif struct.right_client != NOBODY:
            depth = self._pieces_of(struct.right_client).depth_at(struct.right_clock)
        elif struct.parent_client != NOBODY:
            depth = self._pieces_of(struct.parent_client).depth_at(struct.parent_clock) + 1
        else:
            depth = 0
        if depth + (struct.ref == TYPE) > self._depth_max:
            if from_pending or self._trusted:
                return False
            raise MalformedError("shared types nested too deep")
        if client not in self._depths_before:
            depths = pieces.depths
            self._depths_before[client] = (len(depths), depths[-1] if depths else 0)
        pieces.set_depth(struct.clock, depth)
        return True

    def _keep(self, client: int, struct: Struct) -> None:
        chunks = self.chunks.setdefault(client, [])
        if not chunks or chunks[-1].data is not struct.data or chunks[-1].until != struct.at:
            chunks.append(Chunk(struct.data, struct.at, struct.clock))
        chunks[-1].grow(struct)

    def _gather_left(self) -> None:
        """Find what arrived and is neither taken in nor pending already."""
        ids: IdSet = self._pending.ids
        for client, lane in self._lanes.items():
            rest = None if lane.from_pending else lane.rest()
            runs = lane.arrived[lane.arrived_next :]
            if rest is not None:
                runs.insert(0, rest)
            for run in runs:
                self.whole = False
                if not ids.touches(client, run.clock, run.end):
                    self.left.append(run)
                elif not ids.covers(client, run.clock, run.end):
                    self.left.extend(_unknown_parts(run, ids))


def _unknown_parts(run: Run, ids: IdSet) -> list[Run]:
    """The structs of a run that are not wholly in a set of ids, as runs."""
    parts: list[Run] = []
    for struct in read_structs(run.data, run.at, run.until, run.clock):
        if ids.covers(run.client, struct.clock, struct.end):
            continue
        if parts and parts[-1].until == struct.at:
            parts[-1].until = struct.until
            parts[-1].end = struct.end
        else:
            parts.append(Run(run.client, struct.clock, struct.end, run.data, struct.at, struct.until))
    return parts


def runs_of(inspected: Inspected) -> list[Run]:
    """The structs of an update as runs without Skips."""
    runs: list[Run] = []
    for section in inspected.sections:
        if not section.gaps:
            runs.append(
                Run(section.client, section.clock, section.end, inspected.data, section.at, section.until)
            )
            continue
        current: Run | None = None
        for struct in read_structs(inspected.data, section.at, section.until, section.clock):
            if struct.ref == SKIP:
                current = None
            elif current is None:
                current = Run(
                    section.client, struct.clock, struct.end, inspected.data, struct.at, struct.until
                )
                runs.append(current)
            else:
                current.end, current.until = struct.end, struct.until
    return runs
