"""What a room holds of its document: the bytes, and enough of an index to answer for them.

A ``DocumentLog`` knows for each client its structs in clock order (a few large chunks and a tail of recent
pieces), the set of deletions, the structs that wait for earlier ones, and how deep things hang. It never
builds a document. An edit costs a few comparisons; the whole is a few copies; a difference is a look into one
chunk of each client.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence

from collab_server.errors import MalformedError, TooBigError
from collab_server.wire.lib0 import encode_var_uint
from collab_server.ydoc.bounds import DEFAULT_BOUNDS, UNBOUNDED, Bounds
from collab_server.ydoc.idset import EMPTY as NO_IDS
from collab_server.ydoc.idset import IdSet, read_spans
from collab_server.ydoc.index import Contents, read_index, write_index
from collab_server.ydoc.inspection import HOLDS_TYPE, INSIDE, ROOT, Inspected, Section, inspect
from collab_server.ydoc.integration import Integration, runs_of
from collab_server.ydoc.pending import Pending, Run
from collab_server.ydoc.pieces import Chunk, ClientPieces, join_chunks
from collab_server.ydoc.squash import Squasher
from collab_server.ydoc.statevector import StateVector
from collab_server.ydoc.structs import Struct, read_struct, read_structs
from collab_server.ydoc.update import write_sections

_CHUNK_FROM_BYTES = 4096
"""What comes in one piece of this size becomes a chunk with marks, if nothing is in the tail before it."""

_REOPEN_BELOW_BYTES = 16384
"""A fold goes on in the last struct of the base when that is shorter than this; else it begins a new one."""


class Novelty:
    """What an update brought that was not known."""

    __slots__ = ("journal", "update")

    def __init__(self, update: bytes | None, journal: bytes | None) -> None:
        self.update = update
        """What is now part of the document and was not before, for the others; the same object that came in
        when that was all new. None if there is nothing."""
        self.journal = journal
        """What has to be stored: also structs that are pending now. None if there is nothing."""


_NOTHING_NEW = Novelty(None, None)


class DocumentLog:
    """One document as bytes. Not for use from several threads."""

    _CONTENT = (
        "_pieces",
        "_pending",
        "_encoded",
        "_nested",
        "_structs_bytes",
        "deletes",
        "tail_bytes",
    )
    """What ``adopt`` exchanges, beside the entries of the state vector."""

    def __init__(self, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self._pieces: dict[int, ClientPieces] = {}
        self._pending = Pending()
        self._encoded: bytes | None = b"\x00\x00"
        self._nested = False
        self._structs_bytes = 0
        self.state_vector: StateVector = {}
        """For each client the clock up to which everything is here. Live: do not change it."""
        self.deletes = IdSet()
        """What is deleted, whether or not it is known otherwise. Live: do not change it."""
        self.tail_bytes = 0
        """Bytes of structs that came since the last ``fold``."""
        self.advanced: set[int] | None = None
        """The clients that came further since somebody who set this took them out; None where nobody asks."""

    @classmethod
    def open(
        cls, base: bytes, index: bytes, tail: Sequence[bytes], bounds: Bounds = DEFAULT_BOUNDS
    ) -> DocumentLog:
        """The log of a stored document. With an index that fits, the base is not walked.

        What is stored was accepted once: bounds on size do not apply to it, and what hangs too deep is left
        out.

        Raises:
            MalformedError: The base or an update of the tail is not an update.
        """
        log = cls(bounds)
        contents = read_index(base, index) if index else None
        if contents is not None:
            log._take_contents(base, contents)
        elif base:
            log._add_trusted(base, keep_data=True)
        log.extend_trusted(tail)
        return log

    def extend_trusted(self, updates: Sequence[bytes]) -> None:
        """Take in updates that were accepted once.

        Bounds on size do not apply to them, and what hangs too deep is left out.
        """
        for update in updates:
            self._add_trusted(update)

    @property
    def pending_bytes(self) -> int:
        """Bytes of structs that wait for earlier ones."""
        return self._pending.bytes_total

    @property
    def bytes_total(self) -> int:
        """About what the document takes, encoded, and its pending structs, in bytes."""
        return self._structs_bytes + self.deletes.bytes_estimate + self._pending.bytes_total

    def add(self, inspected: Inspected, *, trusted: bool = False) -> Novelty:
        """Take in an update: drop what is known, add what is complete, keep what must wait.

        What is ``trusted`` was accepted once, here or on another node: bounds on size do not apply to it, and
        what hangs too deep is left out.

        Raises:
            MalformedError: Shared types would hang in each other deeper than the bounds allow.
            TooBigError: The document, or what waits in it, would be over its bound.
                After either the log is as it was before.
        """
        if not self._follows(inspected):
            return self._integrate(inspected, trusted=trusted)
        data, sections = inspected.data, inspected.sections
        spans = fresh = inspected.spans
        if spans:
            fresh = self._fresh_deletes(spans)
        if not sections and not fresh:
            return _NOTHING_NEW
        if trusted:
            try:
                self._append(sections, data)
            except MalformedError:
                return self._integrate(inspected, trusted=True)
        else:
            self._check_size(inspected)
            self._append(sections, data)
        if fresh:
            self._delete(fresh)
        self._encoded = None
        if fresh is not spans:
            brought = [
                (section.client, section.clock, section.count, data[section.at : section.until])
                for section in sections
            ]
            data = write_sections(brought, fresh)
        return Novelty(data, data)

    def encode(self) -> bytes:
        """The whole document as one update, without pending structs.

        The same object until something changes.
        """
        encoded = self._encoded
        if encoded is None:
            parts: list[bytes | memoryview] = [encode_var_uint(len(self._pieces))]
            for client in sorted(self._pieces, reverse=True):
                self._pieces[client].write_all(parts)
            parts.append(self.deletes.encode())
            encoded = self._encoded = b"".join(parts)
        return encoded

    def since(self, vector: Mapping[int, int], *, deletes: bool = True) -> bytes:
        """What somebody with this state vector lacks, and all deletions (yjs ``encodeStateAsUpdate``).

        A short struct that begins before the known clock is sent whole: clients take in what they lack of it.
        Without ``deletes`` the deletions are left out: the other has them already.
        """
        if not vector and deletes:
            return self.encode()
        behind = [client for client, end in self.state_vector.items() if vector.get(client, 0) < end]
        behind.sort(reverse=True)
        parts: list[bytes | memoryview] = [encode_var_uint(len(behind))]
        for client in behind:
            known = vector.get(client, 0)
            if known:
                self._pieces[client].write_from(known, parts)
            else:
                self._pieces[client].write_all(parts)
        parts.append(self.deletes.encode() if deletes else NO_IDS)
        return b"".join(parts)

    def structs_from(self, client: int, clock: int) -> Iterator[Struct]:
        """A client's structs from the one that holds ``clock`` on. The log must not change meanwhile."""
        pieces = self._pieces.get(client)
        return iter(()) if pieces is None else pieces.structs_from(clock)

    def fold(self) -> None:
        """Squash the tail into the base.

        Costs as much as the tail is long, and now and then a copy of what was folded.
        """
        for pieces in self._pieces.values():
            if pieces.tail:
                self._encoded = None
                self._structs_bytes -= pieces.bytes_total
                _fold(pieces)
                self._structs_bytes += pieces.bytes_total
        self.tail_bytes = 0

    def adopt(self, base: bytes, index: bytes) -> bytes | None:
        """Exchange what this log holds for a compacted base, and keep what the base does not cover.

        Returns:
            What the base had and this log had not, as an update: nobody here has seen it yet.
            None if there is nothing.
        """
        new = DocumentLog.open(base, index, (), self._bounds)
        waiting = [run for runs in self._pending.runs.values() for run in runs]
        rest = [self.since(new.state_vector)]
        rest += [
            write_sections([(run.client, run.clock, _count(run), run.raw())], array("q")) for run in waiting
        ]
        gained = new.beyond(self)
        new.extend_trusted(rest)
        for name in self._CONTENT:
            setattr(self, name, getattr(new, name))
        if self.advanced is not None:
            known = self.state_vector
            self.advanced.update(c for c, end in new.state_vector.items() if end > known.get(c, 0))
        self.state_vector.clear()
        self.state_vector.update(new.state_vector)
        return gained

    def beyond(self, other: DocumentLog) -> bytes | None:
        """What this log holds and the other does not, as an update; None if there is nothing.

        What waits in this log for its earlier parts is left out.
        """
        fresh: array[int] = array("q")
        for span in self.deletes.subtract(other.deletes):
            fresh.extend(span)
        known = other.state_vector
        if not fresh and all(end <= known.get(client, 0) for client, end in self.state_vector.items()):
            return None
        return self.since(known)

    def index(self) -> bytes:
        """An index for the base that this log was just opened with; empty if none can be made."""
        base = b""
        for pieces in self._pieces.values():
            if pieces.tail or len(pieces.chunks) != 1 or (base and pieces.chunks[0].data is not base):
                return b""
            base = pieces.chunks[0].data
        return b"" if not base else self._index_for(base)

    def _index_for(self, base: bytes) -> bytes:
        inspected = inspect(base, UNBOUNDED)
        ends = [section.until for section in inspected.sections]
        runs = []
        for run in runs_of(inspected):
            known = self.state_vector.get(run.client, 0)
            if run.end <= known:
                continue
            at, clock = run.at, run.clock
            for struct in read_structs(base, at, run.until, clock):
                at, clock = struct.at, struct.clock
                if struct.end > known:
                    break
            runs.append(Run(run.client, clock, run.end, base, at, run.until))
        return write_index(base, Contents(self._pieces, runs, ends[-1] if ends else 1))

    def _take_contents(self, base: bytes, contents: Contents) -> None:
        self._pieces = contents.pieces
        for client, pieces in contents.pieces.items():
            last = read_struct(base, pieces.chunks[0].last_at, pieces.chunks[0].last_clock)
            self.state_vector[client] = last.end
            self._structs_bytes += pieces.bytes_total
            if pieces.depths:
                self._nested = True
        spans, _ = read_spans(base, contents.deletes_at)
        self.deletes = IdSet.of_spans(spans)
        self._encoded = None if contents.pending else base
        if contents.pending:
            integration = self._start(trusted=True)
            integration.run(contents.pending)
            self._finish(integration, keep_data=True)

    def _add_trusted(self, update: bytes, keep_data: bool = False) -> None:
        inspected = inspect(update, UNBOUNDED)
        if keep_data or not self._follows(inspected):
            self._integrate(inspected, trusted=True, keep_data=keep_data)
            return
        try:
            self._append(inspected.sections, update)
        except MalformedError:
            self._integrate(inspected, trusted=True)
            return
        if inspected.spans:
            self._delete(inspected.spans)
        self._encoded = None

    def _start(self, trusted: bool) -> Integration:
        return Integration(
            self._pieces, self.state_vector, self._pending, self._bounds.nesting_depth_max, trusted
        )

    def _integrate(self, inspected: Inspected, trusted: bool, keep_data: bool = False) -> Novelty:
        """The general way of ``add``: structs that overlap, wait for each other, or set others free."""
        integration = self._start(trusted)
        try:
            integration.run(runs_of(inspected))
            fresh = self._fresh_deletes(inspected.spans)
            if not integration.ends and not integration.left and not fresh:
                return _NOTHING_NEW
            if not trusted:
                self._check_size(inspected)
                self._check_pending(integration)
        except (MalformedError, TooBigError):
            integration.undo()
            raise
        sections = self._finish(integration, keep_data)
        if fresh:
            self._delete(fresh)
        self._encoded = None
        if integration.whole and not integration.released and inspected.plain and fresh is inspected.spans:
            return Novelty(inspected.data, inspected.data)
        update = write_sections(sections, fresh) if sections or fresh else None
        return Novelty(update, inspected.data if integration.left or integration.released else update)

    def _finish(self, integration: Integration, keep_data: bool = False) -> list[tuple[int, int, int, bytes]]:
        """Commit an attempt; what it brought, as sections. ``keep_data``: its bytes stay in memory anyway."""
        integration.commit()
        if self.advanced is not None:
            self.advanced.update(integration.ends)
        sections = []
        for client, chunks in integration.chunks.items():
            pieces = self._pieces[client]
            clock, count = chunks[0].clock, 0
            raws = []
            for chunk in chunks:
                raw = chunk.data[chunk.at : chunk.until]
                raws.append(raw)
                count += chunk.count
                self._put(pieces, chunk, raw, keep_data)
            sections.append((client, clock, count, b"".join(raws)))
            if pieces.depths:
                self._nested = True
        return sections

    def _put(self, pieces: ClientPieces, chunk: Chunk, raw: bytes, keep_data: bool) -> None:
        size = len(raw)
        pieces.count += chunk.count
        pieces.bytes_total += size
        self._structs_bytes += size
        if not pieces.tail and (size >= _CHUNK_FROM_BYTES or (keep_data and not pieces.chunks)):
            # a chunk keeps all of its bytes object alive, so it must be a good part of it
            pieces.chunks.append(chunk if keep_data or size * 2 > len(chunk.data) else chunk.moved(raw))
            return
        pieces.tail.append(raw)
        pieces.tail_clocks.append(chunk.clock)
        pieces.tail_counts.append(chunk.count)
        self.tail_bytes += size

    def _follows(self, inspected: Inspected) -> bool:
        """Whether each struct comes right after what is known, needs nothing else, and sets nobody free."""
        if not inspected.plain:
            return False
        vector, pending = self.state_vector, self._pending
        for section in inspected.sections:
            if section.clock != vector.get(section.client, 0):
                return False
            needs = section.needs
            for index in range(0, len(needs), 2):
                if needs[index + 1] >= vector.get(needs[index], 0):
                    return False
            if pending.blocked and pending.awaits(section.client, section.end):
                return False
        return True

    def _append(self, sections: Sequence[Section], data: bytes) -> None:
        """Add sections that follow what is known.

        Raises:
            MalformedError: They hang too deep; then nothing is added.
        """
        for section in sections:
            if section.nests or (self._nested and section.anchors):
                self._note_depths(sections)
                break
        if self.advanced is not None:
            self.advanced.update([section.client for section in sections])
        for section in sections:
            client = section.client
            pieces = self._pieces.get(client)
            if pieces is None:
                pieces = self._pieces[client] = ClientPieces(client)
            raw = data[section.at : section.until]
            size = len(raw)
            pieces.count += section.count
            pieces.bytes_total += size
            self._structs_bytes += size
            self.state_vector[client] = section.end
            if size >= _CHUNK_FROM_BYTES and not pieces.tail:
                # much at once is a whole document or a paste, and squashed as it is
                pieces.chunks.append(Chunk.uncharted(raw, section.clock, section.count))
                continue
            pieces.tail.append(raw)
            pieces.tail_clocks.append(section.clock)
            pieces.tail_counts.append(section.count)
            self.tail_bytes += size

    def _fresh_deletes(self, spans: array[int]) -> array[int]:
        """The deletions that are new; the very same object if all are."""
        deletes = self.deletes
        if len(spans) == 3:
            return spans if not deletes.touches(*spans) else self._uncovered(IdSet.of_spans(spans))
        if not spans:
            return spans
        known = False
        for index in range(0, len(spans), 3):
            if deletes.touches(spans[index], spans[index + 1], spans[index + 2]):
                known = True
                break
        return self._uncovered(IdSet.of_spans(spans)) if known else spans

    def _uncovered(self, wanted: IdSet) -> array[int]:
        fresh: array[int] = array("q")
        for span in wanted.subtract(self.deletes):
            fresh.extend(span)
        return fresh

    def _delete(self, spans: array[int]) -> None:
        if len(spans) == 3:
            self.deletes.add(spans[0], spans[1], spans[2])
        else:
            self.deletes.union(IdSet.of_spans(spans))

    def _check_size(self, inspected: Inspected) -> None:
        if self.bytes_total + len(inspected.data) > self._bounds.document_bytes_max:
            raise TooBigError("document too big")
        vector = self.state_vector
        if len(vector) + len(inspected.sections) > self._bounds.state_vector_entries_max:
            new = sum(section.client not in vector for section in inspected.sections)
            if len(vector) + new > self._bounds.state_vector_entries_max:
                raise TooBigError("too many clients have written to the document")

    def _check_pending(self, integration: Integration) -> None:
        weight = self._pending.weight + integration.weight_left()
        if integration.left and weight > self._bounds.pending_bytes_max:
            raise TooBigError("too much waits for edits that have not come")

    def _note_depths(self, sections: Sequence[Section]) -> None:
        """Note how deep the structs of these sections hang.

        Raises:
            MalformedError: Too deep; then nothing is noted.
        """
        made: list[tuple[ClientPieces, int, int]] = []
        new: dict[int, ClientPieces] = {}
        for section in sections:
            pieces = self._pieces.get(section.client) or ClientPieces(section.client)
            new[section.client] = pieces
            made.append((pieces, len(pieces.depths), pieces.depths[-1] if pieces.depths else 0))
            anchors = section.anchors
            for index in range(0, len(anchors), 4):
                clock, kind, client, at = anchors[index : index + 4]
                depth = 0
                if kind & ~HOLDS_TYPE != ROOT:
                    other = new.get(client) or self._pieces[client]
                    depth = other.depth_at(at) + (kind & ~HOLDS_TYPE == INSIDE)
                if depth + (kind >= HOLDS_TYPE) > self._bounds.nesting_depth_max:
                    for touched, count, last in made:
                        del touched.depths[count:]
                        del touched.depth_clocks[count:]
                        if count:
                            touched.depths[-1] = last
                    raise MalformedError("shared types nested too deep")
                pieces.set_depth(clock, depth)
        self._pieces.update(new)
        self._nested = True


def _count(run: Run) -> int:
    return sum(1 for _ in read_structs(run.data, run.at, run.until, run.clock))


def _fold(pieces: ClientPieces) -> None:
    squasher = Squasher(pieces.client)
    clock = pieces.tail_clocks[0]
    if pieces.chunks:
        last = pieces.chunks[-1]
        last.chart()
        if last.until - last.last_at <= _REOPEN_BELOW_BYTES:
            clock = last.last_clock
            squasher.add(read_struct(last.data, last.last_at, clock))
            shorter = last.without_last()
            if shorter.count:
                pieces.chunks[-1] = shorter
            else:
                pieces.chunks.pop()
    for raw, start in zip(pieces.tail, pieces.tail_clocks, strict=True):
        for struct in read_structs(raw, 0, len(raw), start):
            squasher.add(struct)
    data = squasher.finish()
    chunk = Chunk(data, 0, clock)
    chunk.until = len(data)
    chunk.count = squasher.count
    chunk.last_at, chunk.last_clock = squasher.last_at, squasher.last_clock
    chunk.marks = squasher.marks
    pieces.chunks.append(chunk)
    while len(pieces.chunks) > 1 and pieces.chunks[-1].size * 2 >= pieces.chunks[-2].size:
        right = pieces.chunks.pop()
        pieces.chunks[-1] = join_chunks(pieces.chunks[-1], right)
    pieces.tail.clear()
    pieces.tail_clocks.clear()
    pieces.tail_counts.clear()
    pieces.count = sum(chunk.count for chunk in pieces.chunks)
    pieces.bytes_total = sum(chunk.size for chunk in pieces.chunks)
