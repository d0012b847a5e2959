"""Recorded editing sessions: the updates that each person's client sent, with the times between them.

Format, after gunzip: records of ``u32 milliseconds, u8 person, u32 length, update`` (little-endian) until the
end; the one root is a Y.Text. A person is one client with one client id.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.errors import BenchError
from bench.generator.edits import Edit
from bench.generator.updates import walk
from bench.profile import Cumulative
from bench.scenario import Timing

_RECORD: Final = struct.Struct("<IBI")


@dataclass(frozen=True, slots=True)
class Record:
    """One update of a session."""

    at_ms: int
    person: int
    update: bytes


def read_session(path: Path) -> list[Record]:
    """All records of a file.

    Raises:
        BenchError: It cannot be read, or is not a session.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise BenchError(f"{path}: {error}") from None
    records, at = [], 0
    while at < len(data):
        if len(data) - at < _RECORD.size:
            raise BenchError(f"{path}: not a recorded session")
        at_ms, person, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if len(data) - at < length:
            raise BenchError(f"{path}: ends inside an update")
        records.append(Record(at_ms, person, data[at : at + length]))
        at += length
    if not records:
        raise BenchError(f"{path}: an empty session")
    return records


def write_session(path: Path, records: Iterable[Record]) -> None:
    """Write a file that ``read_session`` reads."""
    raw = b"".join(_RECORD.pack(r.at_ms, r.person, len(r.update)) + r.update for r in records)
    path.write_bytes(gzip.compress(raw, mtime=0))


@dataclass(slots=True)
class Session:
    """A session made ready: for each person the messages, and each one's share of the way."""

    clients: list[int] = field(default_factory=list)
    """Client ids, by person."""
    edits: list[list[Edit]] = field(default_factory=list)
    places: list[list[float]] = field(default_factory=list)
    """How many of all messages come before each one; not whole numbers where gaps are kept."""


def prepare(records: Sequence[Record], timing: Timing, gap_max_s: float) -> Session:
    """Find out what each message is known by, and when it comes."""
    session = Session()
    persons: dict[int, int] = {}
    places = _places(records, timing, gap_max_s)
    for record, place in zip(records, places, strict=True):
        at = persons.setdefault(record.person, len(persons))
        if at == len(session.edits):
            session.clients.append(-1)
            session.edits.append([])
            session.places.append([])
        walked = walk(record.update)
        if len(walked.ranges) > 1 or not (walked.ranges or walked.deletes):
            raise BenchError("a recorded update is not one message of one person")
        if walked.ranges:
            client, _, end = walked.ranges[0]
            if session.clients[at] not in {-1, client}:
                raise BenchError("a person of a recorded session has several client ids")
            session.clients[at] = client
            edit = Edit(record.update, end)
        else:
            client, clock, _ = walked.deletes[0]
            edit = Edit(record.update, 0, (client, clock))
        session.edits[at].append(edit)
        session.places[at].append(place)
    for at, client in enumerate(session.clients):
        if client == -1:
            session.clients[at] = 2**31 + at  # only deletes: it needs an id for its presence
    return session


def _places(records: Sequence[Record], timing: Timing, gap_max_s: float) -> list[float]:
    if timing is Timing.EVEN or records[-1].at_ms == records[0].at_ms:
        return [float(at) for at in range(len(records))]
    passed, before = [0.0], records[0].at_ms
    for record in records[1:]:
        passed.append(passed[-1] + min(max(0, record.at_ms - before) / 1000, gap_max_s))
        before = record.at_ms
    scale = len(records) / (passed[-1] or 1.0)
    return [at_s * scale for at_s in passed]


class Part:
    """One person's part of a session, in one room."""

    __slots__ = ("_at", "_edits", "client", "places")

    def __init__(self, session: Session, person: int) -> None:
        self.client = session.clients[person]
        self.places = session.places[person]
        self._edits = session.edits[person]
        self._at = 0

    def next(self) -> Edit | None:
        """The next message; None at the end."""
        if self._at >= len(self._edits):
            return None
        self._at += 1
        return self._edits[self._at - 1]

    def times(self, cumulative: Cumulative) -> Iterable[float]:
        """When the messages are due; ``cumulative`` is that of the whole room."""
        for place in self.places:
            at_s = cumulative.time_at(place)
            if at_s is None:
                return
            yield at_s
