"""The history of documents in SQLite: what each call reads and writes inside a transaction of its caller.

Knows tables and places on the line; knows nothing of files, threads and locks. Who writes holds the one write
lock, so the ids that follow the last ones are nobody else's.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Sequence

from persistence.base import (
    DocumentDump,
    DumpedCheckpoint,
    DumpedSegment,
    DumpedVersion,
    HistoryPart,
    HistorySize,
    NewCheckpoint,
    NewSegment,
    SegmentInfo,
    StoredDocument,
    VersionInfo,
)

ID_MAX = (1 << 63) - 1

LAST_ID = "select seq from sqlite_sequence where name = ?"
INSERT_SEGMENT = """
insert into doc_segment (id, doc_id, from_ms, to_ms, updates_count, bytes_total, authors, data)
values (?, ?, ?, ?, ?, ?, ?, ?)
"""
INSERT_CHECKPOINT = """
insert or replace into doc_checkpoint (id, doc_id, at_ms, bytes_total, data) values (?, ?, ?, ?, ?)
"""
# The snapshot that a compaction is about to replace, if it holds what is not on the line.
KEEP_SNAPSHOT = """
insert into doc_checkpoint (id, doc_id, at_ms, bytes_total, data)
select :id, doc_id, :at_ms, length(data), data from doc_snapshot where doc_id = :doc_id and not in_history
"""
LIST_SEGMENTS = """
select id, from_ms, to_ms, authors, updates_count, bytes_total
from doc_segment where doc_id = :doc_id and id < :before order by id desc limit :limit
"""
# Places on the line.
PLACE_OF = """
select id from doc_segment where doc_id = :doc_id and id = :id
union select id from doc_checkpoint where doc_id = :doc_id and id = :id
"""
LAST_PLACE = """
select max(id) from (
    select max(id) as id from doc_segment where doc_id = :doc_id
    union all select max(id) from doc_checkpoint where doc_id = :doc_id
)
"""
PLACE_AT = """
select max(id) from (
    select max(id) as id from doc_segment where doc_id = :doc_id and to_ms <= :at_ms
    union all
    select max(id) from doc_checkpoint as c
    where doc_id = :doc_id and at_ms <= :at_ms and not exists (select 1 from doc_segment where id = c.id)
)
"""
READ_CHECKPOINT = """
select id, data from doc_checkpoint where doc_id = ? and id <= ? order by id desc limit 1
"""
READ_SEGMENTS = "select data from doc_segment where doc_id = ? and id > ? and id <= ? order by id"
SIZE = """
select segments.number, segments.bytes,
       (select coalesce(sum(bytes_total), 0) from doc_segment
        where doc_id = :doc_id and id > coalesce(checkpoints.last, 0)),
       checkpoints.number, checkpoints.bytes, versions.number, versions.bytes
from (select count(*) as number, coalesce(sum(bytes_total), 0) as bytes
      from doc_segment where doc_id = :doc_id) as segments,
     (select count(*) as number, coalesce(sum(bytes_total), 0) as bytes, max(id) as last
      from doc_checkpoint where doc_id = :doc_id) as checkpoints,
     (select count(*) as number, coalesce(sum(bytes_total), 0) as bytes
      from doc_version where doc_id = :doc_id) as versions
"""
EXPIRED = """
select name from doc
where name > :after and id in (
    select doc_id from doc_segment where to_ms < :before_ms
    union select doc_id from doc_version where not pinned and at_ms < :before_ms
)
order by name limit :limit
"""
HAS_SEGMENT = "select count(*) from doc_segment where doc_id = ? and id = ?"
TRIM_SEGMENTS = "delete from doc_segment where doc_id = ? and id <= ?"
TRIM_CHECKPOINTS = "delete from doc_checkpoint where doc_id = ? and id <= ?"
TRIM_VERSIONS = "delete from doc_version where doc_id = ? and not pinned and at_ms < ?"
FORGET = [
    f"delete from {table} where doc_id = ?"  # noqa: S608 - the names stand here
    for table in ("doc_segment", "doc_checkpoint", "doc_version")
]

INSERT_VERSION = """
insert into doc_version (doc_id, name, author, at_ms, pinned, bytes_total, data) values (?, ?, ?, ?, ?, ?, ?)
"""
LIST_VERSIONS = """
select id, name, at_ms, author, pinned, bytes_total
from doc_version where doc_id = :doc_id and id < :before order by id desc limit :limit
"""
READ_VERSION = "select data from doc_version where doc_id = ? and id = ?"
PIN_VERSION = "update doc_version set pinned = ? where doc_id = ? and id = ?"
RENAME_VERSION = "update doc_version set name = ? where doc_id = ? and id = ?"
DELETE_VERSION = "delete from doc_version where doc_id = ? and id = ?"

DUMP_DOCUMENT = "select created_at_ms, changed_at_ms from doc where id = ?"
DUMP_SEGMENTS = """
select id, data, from_ms, to_ms, authors, updates_count from doc_segment where doc_id = ? order by id
"""
DUMP_CHECKPOINTS = "select id, data, at_ms from doc_checkpoint where doc_id = ? order by id"
DUMP_VERSIONS = "select name, at_ms, author, pinned, data from doc_version where doc_id = ? order by id"


def last_id(connection: sqlite3.Connection, table: str) -> int:
    """The highest id that a table ever gave."""
    found = connection.execute(LAST_ID, (table,)).fetchone()
    return int(found[0]) if found else 0


def authors_text(authors: Sequence[str]) -> str:
    """How authors are stored."""
    return json.dumps(list(authors)) if authors else "[]"


def authors_of(text: str) -> tuple[str, ...]:
    """What ``authors_text`` stored."""
    return () if text == "[]" else tuple(json.loads(text))


def add(
    connection: sqlite3.Connection,
    doc_id: int,
    segments: Sequence[NewSegment],
    checkpoint: NewCheckpoint | None,
) -> None:
    """Put what a compaction gives at the end of the line. The snapshot must not be replaced yet."""
    place = _last_place(connection)
    if segments:
        place += 1
        connection.execute(KEEP_SNAPSHOT, {"id": place, "doc_id": doc_id, "at_ms": segments[0].from_ms})
    for new in segments:
        place += 1
        _insert_segment(connection, doc_id, place, new)
    if checkpoint is not None:
        _insert_checkpoint(connection, doc_id, place if segments else place + 1, checkpoint)


def list_segments(
    connection: sqlite3.Connection, doc_id: int, before: int | None, limit: int
) -> list[SegmentInfo]:
    """See the contract."""
    rows = connection.execute(
        LIST_SEGMENTS,
        {"doc_id": doc_id, "before": ID_MAX if before is None else before, "limit": max(0, limit)},
    )
    return [
        SegmentInfo(place, from_ms, to_ms, authors_of(authors), count, bytes_total)
        for place, from_ms, to_ms, authors, count, bytes_total in rows
    ]


def read(
    connection: sqlite3.Connection, doc_id: int, segment: int | None, at_ms: int | None
) -> HistoryPart | None:
    """See the contract."""
    if segment is not None:
        place = connection.execute(PLACE_OF, {"doc_id": doc_id, "id": segment}).fetchone()
    elif at_ms is not None:
        place = connection.execute(PLACE_AT, {"doc_id": doc_id, "at_ms": at_ms}).fetchone()
    else:
        place = connection.execute(LAST_PLACE, {"doc_id": doc_id}).fetchone()
    if place is None or place[0] is None:
        return None
    start, data = connection.execute(READ_CHECKPOINT, (doc_id, place[0])).fetchone() or (0, None)
    rows = connection.execute(READ_SEGMENTS, (doc_id, start, place[0]))
    return HistoryPart(data, [row[0] for row in rows])


def size(connection: sqlite3.Connection, doc_id: int) -> HistorySize:
    """See the contract."""
    return HistorySize(*connection.execute(SIZE, {"doc_id": doc_id}).fetchone())


def expired(connection: sqlite3.Connection, before_ms: int, limit: int, after: str) -> list[str]:
    """See the contract."""
    rows = connection.execute(EXPIRED, {"before_ms": before_ms, "limit": max(0, limit), "after": after})
    return [row[0] for row in rows]


def trim(
    connection: sqlite3.Connection,
    doc_id: int,
    before_ms: int,
    upto: int | None,
    base: NewCheckpoint | None,
) -> bool:
    """See the contract."""
    if upto is not None and base is not None:
        if not connection.execute(HAS_SEGMENT, (doc_id, upto)).fetchone()[0]:
            return False
        connection.execute(TRIM_SEGMENTS, (doc_id, upto))
        connection.execute(TRIM_CHECKPOINTS, (doc_id, upto))
        _insert_checkpoint(connection, doc_id, upto, base)
    connection.execute(TRIM_VERSIONS, (doc_id, before_ms))
    return True


def forget(connection: sqlite3.Connection, doc_id: int) -> None:
    """Remove all of a document's history."""
    for statement in FORGET:
        connection.execute(statement, (doc_id,))


def add_version(connection: sqlite3.Connection, doc_id: int, version: DumpedVersion) -> int:
    """Keep a named version; its id."""
    data = bytes(version.data)
    values = (doc_id, version.name, version.author, version.at_ms, bool(version.pinned), len(data), data)
    return connection.execute(INSERT_VERSION, values).lastrowid or 0


def list_versions(
    connection: sqlite3.Connection, doc_id: int, before: int | None, limit: int
) -> list[VersionInfo]:
    """See the contract."""
    rows = connection.execute(
        LIST_VERSIONS,
        {"doc_id": doc_id, "before": ID_MAX if before is None else before, "limit": max(0, limit)},
    )
    return [
        VersionInfo(version, name, at_ms, author, bool(pinned), bytes_total)
        for version, name, at_ms, author, pinned, bytes_total in rows
    ]


def read_version(connection: sqlite3.Connection, doc_id: int, version: int) -> bytes | None:
    """See the contract."""
    found = connection.execute(READ_VERSION, (doc_id, version)).fetchone()
    return found[0] if found else None


def dump(connection: sqlite3.Connection, doc_id: int, stored: StoredDocument) -> DocumentDump:
    """Everything of a document."""
    created_at_ms, changed_at_ms = connection.execute(DUMP_DOCUMENT, (doc_id,)).fetchone()
    places: list[int] = []
    segments: list[DumpedSegment] = []
    for place, data, from_ms, to_ms, authors, count in connection.execute(DUMP_SEGMENTS, (doc_id,)):
        places.append(place)
        segments.append(DumpedSegment(data, from_ms, to_ms, authors_of(authors), count))
    checkpoints = [
        DumpedCheckpoint(data, at_ms, bisect_right(places, place))
        for place, data, at_ms in connection.execute(DUMP_CHECKPOINTS, (doc_id,))
    ]
    versions = [
        DumpedVersion(name, at_ms, author, bool(pinned), data)
        for name, at_ms, author, pinned, data in connection.execute(DUMP_VERSIONS, (doc_id,))
    ]
    return DocumentDump(stored.room, stored, created_at_ms, changed_at_ms, segments, checkpoints, versions)


def fill(connection: sqlite3.Connection, doc_id: int, dump: DocumentDump) -> None:
    """Write the history of a dump."""
    for place, entry in enumerate(dump.line(), _last_place(connection) + 1):
        if isinstance(entry, DumpedSegment):
            _insert_segment(connection, doc_id, place, entry)
        else:
            _insert_checkpoint(connection, doc_id, place, entry)
    for version in dump.versions:
        add_version(connection, doc_id, version)


def _last_place(connection: sqlite3.Connection) -> int:
    return max(last_id(connection, "doc_segment"), last_id(connection, "doc_checkpoint"))


def _insert_segment(
    connection: sqlite3.Connection, doc_id: int, place: int, new: NewSegment | DumpedSegment
) -> None:
    data = bytes(new.data)
    values = (
        place,
        doc_id,
        new.from_ms,
        new.to_ms,
        new.updates_count,
        len(data),
        authors_text(new.authors),
        data,
    )
    connection.execute(INSERT_SEGMENT, values)


def _insert_checkpoint(
    connection: sqlite3.Connection, doc_id: int, place: int, new: NewCheckpoint | DumpedCheckpoint
) -> None:
    data = bytes(new.data)
    connection.execute(INSERT_CHECKPOINT, (place, doc_id, new.at_ms, len(data), data))
